"""Reductions over axes, ArgMax, ArgMin, TopK."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from converter.graph.ops.common import (
    Array,
    Arrays,
    Infos,
    constant,
    exact,
    integers,
    normal_axes,
    normal_axis,
    rounded,
    rounded_sum,
)
from converter.graph.ops.registry import Attributes, Inferred, Op, register


def _axes(attributes: Attributes, axes: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """No axes mean all of them, or none at all with noop_with_empty_axes."""
    if axes:
        return normal_axes(axes, rank)
    return () if attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))


def _reduced(attributes: Attributes, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    if attributes.get("keepdims", 1):
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _reduction(name: str, function: Callable[..., Array], rounding: Callable[..., Array] | None) -> None:
    """Register ``function(x, axis=, keepdims=)``; ``rounding(x, y, count, axis=, keepdims=)`` for ``count`` values."""

    def infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
        axes = _axes(attributes, constant(inputs, 1, "axes"), len(inputs[0].shape))
        return [Inferred(_reduced(attributes, inputs[0].shape, axes), inputs[0].dtype)]

    def along(attributes: Attributes, inputs: Arrays) -> dict[str, Any]:
        axes = _axes(attributes, integers(inputs, 1), inputs[0].ndim)
        return {"axis": axes, "keepdims": bool(attributes.get("keepdims", 1))}

    def evaluate(attributes: Attributes, inputs: Arrays) -> list[Array]:
        return [np.asarray(function(inputs[0], **along(attributes, inputs)))]

    def round_(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Any]:
        where = along(attributes, inputs)
        count = prod(inputs[0].shape[axis] for axis in where["axis"])
        return [rounding(inputs[0], outputs[0], count, **where) if rounding else 0.0]

    register(Op(name, "", infer, evaluate, round_))


def _squares(x: Array, **where: Any) -> Array:
    return np.sum(np.square(x), **where)


_reduction("ReduceSum", np.sum, lambda x, y, n, **where: rounded_sum(n, _squares(x, **where), y))
_reduction("ReduceMean", np.mean, lambda x, y, n, **where: rounded_sum(n, _squares(x, **where) / n**2, y))
_reduction(
    "ReduceL1",
    lambda x, **where: np.sum(np.abs(x), **where),
    lambda x, y, n, **where: rounded_sum(n, _squares(x, **where), y),
)
_reduction("ReduceSumSquare", _squares, lambda x, y, n, **where: rounded_sum(n, _squares(np.square(x), **where), y))
# The root halves the relative error of the sum below it.
_reduction(
    "ReduceL2",
    lambda x, **where: np.sqrt(_squares(x, **where)),
    lambda x, y, n, **where: np.hypot(
        rounded_sum(n, _squares(np.square(x), **where), y * y) / (2 * y + (y == 0)), rounded(y)
    ),
)
_reduction("ReduceProd", np.prod, lambda x, y, n, **where: rounded(y * np.sqrt(n)))
_reduction("ReduceMax", np.max, None)
_reduction("ReduceMin", np.min, None)


def _arg(name: str, function: Callable[..., Array]) -> None:
    def infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
        shape = inputs[0].shape
        return [Inferred(_reduced(attributes, shape, (normal_axis(attributes.get("axis", 0), len(shape)),)), "int64")]

    def evaluate(attributes: Attributes, inputs: Arrays) -> list[Array]:
        axis, keepdims = attributes.get("axis", 0), bool(attributes.get("keepdims", 1))
        if not attributes.get("select_last_index", 0):
            return [np.asarray(function(inputs[0], axis=axis, keepdims=keepdims))]
        last = inputs[0].shape[axis] - 1
        return [np.asarray(last - function(np.flip(inputs[0], axis), axis=axis, keepdims=keepdims))]

    register(Op(name, "", infer, evaluate, exact))


_arg("ArgMax", np.argmax)
_arg("ArgMin", np.argmin)


def _top_k_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    shape, (count,) = inputs[0].shape, constant(inputs, 1, "k")
    axis = normal_axis(attributes.get("axis", -1), len(shape))
    if not 0 <= count <= shape[axis]:
        raise ValueError(f"the top {count} of {shape[axis]} values do not exist")
    shape = (*shape[:axis], count, *shape[axis + 1 :])
    return [Inferred(shape, inputs[0].dtype), Inferred(shape, "int64")]


def _top_k(attributes: Attributes, inputs: Arrays) -> list[Array]:
    """Sorted; of equal values the one with the lower index first."""
    x, axis = inputs[0], attributes.get("axis", -1)
    order = np.argsort(-x if attributes.get("largest", 1) else x, axis=axis, kind="stable")
    order = np.take(order, np.arange(int(inputs[1].item())), axis=axis)
    return [np.take_along_axis(x, order, axis), order]


register(Op("TopK", "", _top_k_infer, _top_k, exact))
