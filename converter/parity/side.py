"""One of the two models under judgement: a real runtime, or outputs that it recorded earlier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from converter.errors import UsageError

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Side:
    """How the judge asks one side for its tensors.

    ``run(inputs, names)`` takes arrays by the hub's names of the graph inputs and gives those of ``names`` (hub value
    names, hub layout) that it has. ``taps`` are all the hub values that can be asked for, graph outputs included.
    ``name`` is the framework, ``label`` what a reader of the report should know of the runtime ("Caffe 1.0, CPU").
    ``versions`` and ``files`` (by role) go into the certificate; ``recorded`` says that nothing runs live.
    """

    name: str
    label: str
    run: Callable[[Arrays, list[str]], Arrays]
    taps: frozenset[str]
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    recorded: bool = False


def recorded_side(
    name: str, label: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], **details: object
) -> Side:
    """A side that answers with ``outputs`` recorded earlier for ``inputs``, found again by the inputs' content.

    Every array has one row per sample along axis 0. Raises UsageError when it is asked about an input that was not
    recorded.
    """
    rows = {_digest(inputs, row): row for row in range(len(next(iter(inputs.values()))))}

    def run(batch: Arrays, names: list[str]) -> Arrays:
        count = len(next(iter(batch.values())))
        found = [rows.get(_digest({key: batch[key] for key in inputs}, row)) for row in range(count)]
        if None in found:
            raise UsageError(f"{label}: no output was recorded for sample {found.index(None)} of these inputs")
        return {key: outputs[key][found] for key in names if key in outputs}

    return Side(name, label, run, frozenset(outputs), recorded=True, **details)  # type: ignore[arg-type]


def _digest(inputs: Mapping[str, np.ndarray], row: int) -> tuple[bytes, ...]:
    return tuple(np.ascontiguousarray(inputs[key][row]).tobytes() for key in sorted(inputs))
