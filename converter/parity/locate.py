"""Why a layer is wrong: the usual mistakes are tried one by one, and what reproduces the runtime's output is named.

Every hypothesis is evaluated in float64 from the inputs that this runtime really had, and is held to the same bounds as
a right layer: a cause is named only where it explains the output down to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from converter.graph.evaluate import local
from converter.graph.model import Model
from converter.parity.figures import Agreement, Multiples
from converter.parity.hypotheses import changes
from converter.parity.relations import moved_inputs, related_outputs
from converter.parity.segment import Segment
from converter.parity.side import Arrays
from converter.parity.verdict import Cause

#: Nodes of one segment in which mistakes are looked for, the last ones; a side without inner tensors has only one.
LARGEST_SEGMENT = 60


@dataclass(frozen=True)
class Evidence:
    """A wrong tensor of one side: its name, what the runtime gave, and what it had at the start of that segment."""

    name: str
    actual: np.ndarray
    starts: Arrays


def frontier(model: Model, known: Arrays, name: str) -> Arrays:
    """The nearest known tensors that the value ``name`` is computed from."""
    return {start: known[start] for start in Segment.of(model, known, name).starts}


def find_cause(model: Model, evidence: Evidence, multiples: Multiples) -> Cause | None:
    """The hypothesis that explains the evidence best, None where none explains it within the bounds.

    Mistakes in a layer or in its inputs come first; a mere relation of the output to the right one (scaled, permuted)
    is named only where no mistake is found.
    """
    segment = Segment.of(model, evidence.starts, evidence.name)
    value, noise = _evaluate(segment.build(), evidence.starts, evidence.name)
    before = _distance(evidence.actual, value, noise)
    found: list[tuple[float, int, str]] = []
    for number, (text, trial, starts) in enumerate(_mistakes(model, segment, evidence)):
        try:
            result = _evaluate(trial, starts, evidence.name)
        except ValueError:
            continue  # The mistake is impossible in this layer: shapes do not fit.
        if _agreement(evidence.actual, *result).within(multiples):
            found.append((_distance(evidence.actual, *result), number, text))
    if not found and evidence.actual.shape == value.shape:
        for number, (text, *result) in enumerate(related_outputs(evidence.actual, value, noise)):
            if _agreement(evidence.actual, *result).within(multiples):
                found.append((_distance(evidence.actual, *result), number, text))
    if not found:
        return None
    after, _, text = _simplest(found)
    return Cause(text, before, after)


def _simplest(found: list[tuple[float, int, str]]) -> tuple[float, int, str]:
    """The first hypothesis among those that explain the output about as well as the best one does."""
    best = min(found)[0]
    return min((item for item in found if item[0] <= 2 * best + 0.5), key=lambda item: item[1])


def _mistakes(model: Model, segment: Segment, evidence: Evidence) -> Iterator[tuple[str, Model, Arrays]]:
    """Every hypothesis: in words, the changed piece of graph, the tensors that it starts from."""
    several = len(segment.nodes) > 1
    for node in segment.nodes[-LARGEST_SEGMENT:]:
        for text, change in changes(node, evidence.starts):
            where = f" (in {node.name})" if several else ""
            yield text + where, segment.build({node: change}), evidence.starts
    graph_inputs = {value.name for value in model.graph.inputs}
    plain = segment.build()
    for name in segment.starts:
        preprocessing = model.preprocessing if name in graph_inputs else None
        for text, array in moved_inputs(name, evidence.starts[name], preprocessing):
            yield text, plain, evidence.starts | {name: array}


def _evaluate(model: Model, starts: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        return local(model, starts, [name])[name]


def _agreement(actual: np.ndarray, value: np.ndarray, noise: np.ndarray) -> Agreement:
    agreement = Agreement()
    agreement.add(actual, value, noise)
    return agreement


def _distance(actual: np.ndarray, value: np.ndarray, noise: np.ndarray) -> float:
    agreement = _agreement(actual, value, noise)
    return float("inf") if agreement.problems else max(agreement.rms, agreement.worst_slice)
