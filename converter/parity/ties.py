"""Decisions that two right runtimes may take differently: equal maxima, a score or box at the threshold."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from converter.graph import ops
from converter.graph.evaluate import local
from converter.graph.model import Model, attributes_of, constant_of
from converter.parity.detections import legal
from converter.parity.figures import Multiples, ratios
from converter.parity.layout import CHOICES, Layout, is_decision
from converter.parity.segment import Segment
from converter.parity.side import Arrays

#: Perturbed evaluations; an even decision goes the same way in all of them once in four thousand million.
TRIALS = 32
#: How far the inputs of a decision are moved, in standard deviations of their noise.
REACH = 4.0


def count_ties(
    model: Model, layout: Layout, known: Arrays, name: str, actual: np.ndarray, multiples: Multiples
) -> int | None:
    """Elements (for detections: rows) of ``actual`` that differ from the hub's value only by a tie.

    A tie is a decision that goes the other way when its inputs move by their own rounding. None where some
    difference is no tie, or the value does not depend on a decision of this segment.
    """
    if layout.producer[name].op_type == "DetectionOutput":
        return _detection_ties(model, known, layout.producer[name], actual)
    segment = Segment.of(model, known, name)
    decisions = [node for node in segment.nodes if is_decision(node)]
    if not decisions:
        return None
    centre, spread = _decision_inputs(model, known, decisions)
    if not centre:
        return None
    after = Segment.of(model, {*known, *centre}, name)
    trial = after.build()
    starts = {start: known[start] for start in after.starts if start not in centre}

    def decide(moves: Arrays) -> tuple[np.ndarray, np.ndarray]:
        return local(trial, starts | {key: centre[key] + moves.get(key, 0.0) for key in centre}, [name])[name]

    rng = np.random.default_rng(0)
    trials = [decide({})]
    trials += [decide({key: REACH * spread[key] * rng.standard_normal(spread[key].shape) for key in centre})
               for _ in range(TRIALS)]  # fmt: skip
    nudge = _nudge(after.nodes, centre, spread, actual)
    if nudge is not None:
        trials.append(decide(nudge))
    if len({value.shape for value, _ in trials}) > 1:
        return _size_ties(actual, trials, multiples)
    return _element_ties(actual, trials, local(model, known, [name])[name][1], multiples)


def _decision_inputs(model: Model, known: Arrays, decisions: list[ir.Node]) -> tuple[Arrays, Arrays]:
    """Value and noise of what the decisions are taken on."""
    centre, spread, unknown = {}, {}, []
    for node in decisions:
        for value in node.inputs:
            if value is None or value.const_value is not None:
                continue
            if value.name not in known:
                unknown.append(value.name)
            elif np.issubdtype(known[value.name].dtype, np.floating) and node.op_type in CHOICES:
                centre[value.name] = np.asarray(known[value.name], dtype=np.float64)
                # A known input is exact: only equal values tie.
                spread[value.name] = 2.0**-40 * np.abs(centre[value.name]) + 1e-300
    for name, (value, noise) in local(model, known, unknown).items() if unknown else ():
        if np.issubdtype(value.dtype, np.floating):
            centre[name], spread[name] = value, np.broadcast_to(noise, value.shape)
    return centre, spread


def _nudge(nodes: list[ir.Node], centre: Arrays, spread: Arrays, actual: np.ndarray) -> Arrays | None:
    """Moves the values that the runtime chose as largest up, so that of many equal ones it is they that win."""
    chooser = next((node for node in nodes if node.op_type in ("ArgMax", "ArgMin")), None)
    if chooser is None or chooser.inputs[0].name not in centre:
        return None
    name = chooser.inputs[0].name
    values = centre[name]
    axis = chooser.attributes["axis"].value if "axis" in chooser.attributes else 0
    shape = list(values.shape)
    shape[axis] = 1
    if actual.size != np.prod(shape):
        return None
    index = actual.reshape(shape).astype(np.int64)
    if index.min(initial=0) < 0 or index.max(initial=0) >= values.shape[axis]:
        return None
    step = np.zeros_like(values)
    chosen = np.take_along_axis(np.broadcast_to(spread[name], values.shape), index, axis)
    np.put_along_axis(step, index, REACH * chosen, axis)
    return {name: step if chooser.op_type == "ArgMax" else -step}


def _element_ties(
    actual: np.ndarray, trials: list[tuple[np.ndarray, np.ndarray]], noise: np.ndarray, multiples: Multiples
) -> int | None:
    """Each element must be what some trial has, within ``noise``; the first trial is the undisturbed one."""
    if actual.shape != trials[0][0].shape:
        return None
    matched = ratios(actual, trials[0][0], noise) <= multiples.rms
    count = int((~matched).sum())
    for value, _ in trials[1:]:
        matched |= ratios(actual, value, noise) <= multiples.rms
    return count if matched.all() else None


def _size_ties(actual: np.ndarray, trials: list[tuple[np.ndarray, np.ndarray]], multiples: Multiples) -> int | None:
    """Where the decisions change the size, all of ``actual`` must be what one trial has."""
    for value, noise in trials:
        if value.shape == actual.shape and (ratios(actual, value, noise) <= multiples.rms).all():
            return abs(actual.size - trials[0][0].size) or int((actual != trials[0][0]).sum())
    return None


def _detection_ties(model: Model, known: Arrays, node: ir.Node, actual: np.ndarray) -> int | None:
    """Rows that differ from the hub's, where the list as a whole is one that float32 could have made."""
    unknown = [value.name for value in node.inputs if value.const_value is None and value.name not in known]
    made = {name: value for name, (value, _) in local(model, known, unknown).items()} if unknown else {}
    operands = [
        constant_of(value) if value.const_value is not None else made.get(value.name, known.get(value.name))
        for value in node.inputs
    ]
    operands = [np.asarray(operand, np.float64) for operand in operands]
    if actual.ndim != 4 or actual.shape[:2] != (1, 1) or actual.shape[3] != 7:
        return None
    rows = actual[0, 0].astype(np.float64)
    if not legal(attributes_of(node), *operands, rows):
        return None
    nominal = ops.find(node.op_type, node.domain).evaluate(attributes_of(node), operands)[0][0, 0]
    return max(len(rows), len(nominal)) - int((rows[: len(nominal)] == nominal[: len(rows)]).all(axis=1).sum())
