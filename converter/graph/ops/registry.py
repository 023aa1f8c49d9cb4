"""The table of hub operators: for each, its shapes, its float64 evaluation and its float32 rounding, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

#: Unit roundoff of float32 (half the distance from 1 to the next larger number).
UNIT_ROUNDOFF = 2.0**-24

Attributes = dict[str, Any]


class TensorInfo(NamedTuple):
    """What shape inference knows of an input: shape, dtype name and, where it is a small constant, its values."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    constant: np.ndarray | None = None


class Inferred(NamedTuple):
    """Shape and dtype name of one output."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Op:
    """One hub operator.

    ``infer(attributes, inputs: list[TensorInfo | None]) -> list[Inferred]`` raises ValueError where shapes do not fit.
    ``evaluate(attributes, inputs: list[ndarray | None]) -> list[ndarray]`` computes in the dtype of its floating
    inputs (float64 for the reference).
    ``rounding(attributes, inputs, outputs) -> list[ndarray | float]`` is, per element of each output, the standard
    deviation of the error that evaluating this one operator in float32 makes (absolute units).
    """

    name: str
    domain: str
    infer: Callable[[Attributes, Sequence[TensorInfo | None]], list[Inferred]]
    evaluate: Callable[[Attributes, Sequence[np.ndarray | None]], list[np.ndarray]]
    rounding: Callable[[Attributes, Sequence[np.ndarray | None], list[np.ndarray]], list[Any]]


_table: dict[tuple[str, str], Op] = {}


def register(op: Op) -> None:
    """Add ``op`` to the table; registering a name twice raises."""
    if (op.domain, op.name) in _table:
        raise ValueError(f"operator {op.domain}::{op.name} is registered twice")
    _table[op.domain, op.name] = op


def find(name: str, domain: str = "") -> Op:
    """The operator; ValueError where the hub has none of that name."""
    try:
        return _table[domain, name]
    except KeyError:
        raise ValueError(f"the hub has no operator {f'{domain}::' if domain else ''}{name}") from None


def names() -> list[str]:
    """Every hub operator, sorted; those outside ONNX as "domain::name"."""
    return sorted(f"{domain}::{name}" if domain else name for domain, name in _table)


def infer(
    name: str, domain: str, attributes: Attributes, inputs: Sequence[TensorInfo | None]
) -> list[tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of the outputs of one node."""
    return find(name, domain).infer({k: v for k, v in attributes.items() if v is not None}, inputs)
