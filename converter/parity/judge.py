"""The verdict: every layer of both sides against float64, in units of what float32 can mean.

Two checks, both against the float64 evaluation of the hub graph:

* local, decisive for every tensor: the layer is evaluated in float64 from the inputs that this runtime really had. The
  error allowed is the float32 rounding of this layer alone, so conditioning plays no part.
* end to end, for outputs: the distance to the reference of the whole net, in units of its Monte Carlo noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from converter.errors import UsageError
from converter.graph.evaluate import local, reference
from converter.graph.model import Model
from converter.graph.shapes import batch_is_free, infer_shapes
from converter.parity.figures import Agreement, Multiples
from converter.parity.layout import Layout
from converter.parity.locate import Evidence, find_cause, frontier
from converter.parity.side import Arrays, Side
from converter.parity.ties import count_ties
from converter.parity.verdict import LayerFigure, SideFigure, Verdict

#: Elements of hub values that are evaluated before they are compared and forgotten.
CHUNK = 1 << 22
#: Elements of all hub values of one batch, where the batch is free to be larger than the model declares.
BATCH = 1 << 21
#: Monte Carlo samples when few of them called an output wrong: few samples can underestimate the noise.
MANY_SAMPLES = 16


@dataclass
class _Record:
    """What is known of one side so far."""

    side: Side
    agreement: dict[str, Agreement] = field(default_factory=dict)
    drift: dict[str, Agreement] = field(default_factory=dict)
    ties: dict[str, int] = field(default_factory=dict)
    evidence: Evidence | None = None

    def of(self, name: str) -> Agreement:
        return self.agreement.setdefault(name, Agreement())


def judge(
    model: Model,
    source: Side,
    target: Side,
    inputs: Arrays,
    *,
    multiples: Multiples | None = None,
    samples: int = 4,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Verdict:
    """Whether both sides compute what ``model`` says.

    ``inputs`` holds an array per graph input; along axis 0 it may be any multiple of the size that the model declares,
    and is judged in batches so that memory does not grow with it. ``samples`` and ``seed`` are those of the Monte Carlo
    noise. Raises UsageError where the inputs do not fit, and whatever the sides raise (WorkerFailed).
    """
    started = time.perf_counter()
    multiples = multiples or Multiples()
    layout = Layout.of(model)
    records = [_Record(source), _Record(target)]
    aligned = [name for name in layout.order if name in source.taps or name in target.taps or name in layout.outputs]
    amplification = {name: Agreement() for name in aligned if name not in layout.jumps}
    difference: dict[str, float] = {}
    done = 0
    for number, batch in enumerate(batches(model, inputs)):
        if progress:
            progress(f"judging sample {done + 1}")
        shapes = infer_shapes(model, {name: array.shape for name, array in batch.items()})
        captured = [_run(record, batch, aligned, layout, shapes) for record in records]
        for record, tensors in zip(records, captured, strict=True):
            _judge_layers(model, layout, record, batch, tensors, shapes, multiples)
        _judge_ends(model, layout, records, batch, captured, amplification, multiples, samples, seed + number)
        for name in captured[0].keys() & captured[1].keys():
            difference[name] = max(difference.get(name, 0.0), _difference(captured[0][name], captured[1][name]))
        done += _rows(batch)
    layers = [
        LayerFigure(
            name,
            layout.origin(name),
            layout.producer[name].op_type,
            layout.shape(name),
            *(_figure(record, name, layout, multiples) for record in records),
            difference=difference.get(name),
            amplification=amplification[name].amplification if name in amplification else None,
            is_output=name in layout.outputs,
        )
        for name in aligned
    ]
    verdict = Verdict(
        right=all(layer.right for layer in layers),
        source=source.name,
        target=target.name,
        layers=layers,
        samples=done,
        seconds=0.0,
        seed=seed,
        multiples=multiples,
        recorded=tuple(side.name for side in (source, target) if side.recorded),
        notes=_notes(records, layout),
    )
    if not verdict.right:
        _blame(verdict, model, records, multiples)
    verdict.seconds = time.perf_counter() - started
    return verdict


def batches(model: Model, inputs: Arrays) -> Iterator[Arrays]:
    """``inputs`` cut along axis 0 into what the model takes at once, cast to the declared types."""
    declared = model.input_shapes()
    if missing := declared.keys() - inputs.keys():
        raise UsageError(f"no data for input {sorted(missing)[0]}")
    counts = set()
    for name, shape in declared.items():
        given = np.shape(inputs[name])
        whole = bool(given) and bool(shape) and given[1:] == shape[1:] and given[0] and not given[0] % shape[0]
        if not whole and given != shape:
            raise UsageError(f"input {name} takes {shape}, the data is {given}")
        counts.add(given[0] // shape[0] if whole else 1)
    if len(counts) != 1:
        raise UsageError("the inputs do not hold the same number of samples")
    count = counts.pop()
    group = _group(model) if count > 1 else 1
    types = {value.name: value.dtype.numpy() for value in model.graph.inputs}
    for first in range(0, count, group):
        last = min(first + group, count)
        yield {
            name: np.ascontiguousarray(
                inputs[name][first * shape[0] : last * shape[0]] if shape else inputs[name], dtype=types[name]
            )
            for name, shape in declared.items()
        }


def _group(model: Model) -> int:
    """How many declared batches to judge at once."""
    if not batch_is_free(model):
        return 1
    elements = sum(prod(value.shape.numpy()) for node in model.graph for value in node.outputs if value.shape)
    return max(1, BATCH // max(1, elements))


def _rows(batch: Arrays) -> int:
    first = next(iter(batch.values()))
    return first.shape[0] if first.ndim else 1


def _run(record: _Record, batch: Arrays, aligned: list[str], layout: Layout, shapes: dict[str, Any]) -> Arrays:
    """What the side gives for ``batch``; what it should give and does not is recorded as a problem."""
    names = [name for name in aligned if name in record.side.taps]
    tensors = {name: np.asarray(array) for name, array in record.side.run(batch, names).items() if name in shapes}
    for name in names + layout.outputs:
        if name in layout.producer and name not in tensors:
            record.of(name).fail("the runtime does not give this tensor")
    return tensors


def _judge_layers(
    model: Model,
    layout: Layout,
    record: _Record,
    batch: Arrays,
    tensors: Arrays,
    shapes: dict[str, Any],
    multiples: Multiples,
) -> None:
    """The local check of every tensor of one side."""
    fitting = {
        name: array for name, array in tensors.items() if name in layout.dynamic or array.shape == tuple(shapes[name])
    }
    known = {**fitting, **batch}
    for chunk in _chunks([name for name in layout.order if name in tensors], shapes):
        for name, (value, noise) in local(model, known, chunk).items():
            agreement, actual = record.of(name), tensors[name]
            trial = Agreement()
            trial.add(actual, value, noise)
            if not trial.within(multiples):
                ties = count_ties(model, layout, known, name, actual, multiples)
                if ties is not None:
                    record.ties[name] = record.ties.get(name, 0) + ties
                    continue
                if record.evidence is None or layout.rank[name] < layout.rank[record.evidence.name]:
                    record.evidence = Evidence(name, actual, frontier(model, known, name))
            agreement.merge(trial)


def _judge_ends(
    model: Model,
    layout: Layout,
    records: list[_Record],
    batch: Arrays,
    captured: list[Arrays],
    amplification: dict[str, Agreement],
    multiples: Multiples,
    samples: int,
    seed: int,
) -> None:
    """The end-to-end check of both sides, against one reference."""
    expected = reference(model, batch, list(amplification), samples=samples, seed=seed)
    for name, agreement in amplification.items():
        value, noise = expected.values[name], expected.noise[name]
        agreement.add(value, value, noise)
        for record, tensors in zip(records, captured, strict=True):
            if name not in tensors:
                continue
            trial = Agreement()
            trial.add(tensors[name], value, noise)
            if name in layout.decisive and trial.drift > multiples.drift:
                again = reference(model, batch, [name], samples=MANY_SAMPLES, seed=seed + 1)
                trial = Agreement()
                trial.add(tensors[name], again.values[name], again.noise[name])
            record.drift.setdefault(name, Agreement()).merge(trial)


def _chunks(names: list[str], shapes: dict[str, Any]) -> Iterator[list[str]]:
    """``names`` in groups of at most CHUNK elements (or one name)."""
    group: list[str] = []
    size = 0
    for name in names:
        elements = prod(shapes[name])
        if group and size + elements > CHUNK:
            yield group
            group, size = [], 0
        group.append(name)
        size += elements
    if group:
        yield group


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    if first.shape != second.shape or not first.size:
        return float("inf") if first.shape != second.shape else 0.0
    with np.errstate(all="ignore"):
        gap = np.abs(first.astype(np.float64) - second.astype(np.float64))
    gap[(first == second) | (np.isnan(first) & np.isnan(second))] = 0.0
    return float(np.where(np.isnan(gap), np.inf, gap).max())


def _figure(record: _Record, name: str, layout: Layout, multiples: Multiples) -> SideFigure | None:
    if name not in record.agreement and name not in record.ties:
        return None
    agreement = record.of(name)
    drift = record.drift.get(name)
    ends = drift if name in layout.decisive else None
    problems = agreement.problems or (ends.problems if ends else [])
    return SideFigure(
        agreement.rms,
        agreement.worst_slice,
        agreement.largest,
        drift.drift if drift else None,
        agreement.within(multiples) and not problems and (ends is None or ends.drift <= multiples.drift),
        "; ".join(problems),
        record.ties.get(name, 0),
    )


def _notes(records: list[_Record], layout: Layout) -> list[str]:
    notes = []
    for record in records:
        for name, count in record.ties.items():
            notes.append(
                f"{record.side.name}: {count} element{'s' if count != 1 else ''} of {name} "
                f"({layout.origin(name)}) decided a tie within rounding the other way"
            )
        if record.side.recorded:
            notes.append(f"{record.side.label}: outputs recorded earlier, nothing ran")
    return notes


def _blame(verdict: Verdict, model: Model, records: list[_Record], multiples: Multiples) -> None:
    """Name the first wrong layer, the side, and what explains it. A wrong layer comes before a wrong end."""
    bad = next((layer for layer in verdict.layers if not _local(layer, records, multiples)), None)
    bad = bad or next(layer for layer in verdict.layers if not layer.right)
    wrong = [
        which
        for which, figure in (("source", bad.source), ("target", bad.target))
        if figure is not None and not figure.right
    ]
    verdict.first_bad, verdict.side = bad.name, wrong[0] if len(wrong) == 1 else "both"
    for record in records:
        if record.evidence is not None and record.evidence.name == bad.name:
            verdict.cause = find_cause(model, record.evidence, multiples)
            if verdict.cause is not None:
                return


def _local(layer: LayerFigure, records: list[_Record], multiples: Multiples) -> bool:
    """Whether the local checks of this tensor passed on both sides."""
    return all(record.agreement[layer.name].within(multiples) for record in records if layer.name in record.agreement)
