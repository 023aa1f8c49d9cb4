"""Why a layer is wrong, found by trying: what the usual mistakes would have computed, compared with what came out.

A suspect is a change of one node (its attributes, weights or operator). The piece of the graph that makes the wrong
tensor is evaluated in float64 with that change, from the inputs that the runtime really had; the first change that
explains the tensor within the verdict's own bounds is the likely cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from converter.graph.evaluate import evaluate, local
from converter.graph.model import Model, Origin, attributes_of, shape_of
from converter.parity.figures import Agreement, Multiples
from converter.parity.segment import Change, Segment, constant_input
from converter.parity.side import Arrays
from converter.parity.verdict import Cause

#: Evaluations that a search may cost; a longer piece of graph is searched from its end.
TRIALS = 400
EPSILONS = (1e-3, 1e-5, 2e-5, 1e-4, 1e-6, 2e-3, 0.0)
SLOPES = (0.01, 0.1, 0.2, 0.3, 0.25, 0.0)


@dataclass(frozen=True)
class Evidence:
    """A wrong tensor: its name, what the runtime gave, and the tensors of that runtime which it was made from."""

    name: str
    actual: np.ndarray
    starts: Arrays


class Suspect(NamedTuple):
    """A mistake in words, and the change of a node that makes it."""

    text: str
    change: Change


def frontier(model: Model, known: Mapping[str, np.ndarray], name: str) -> Arrays:
    """The nearest known tensors that ``name`` is made from."""
    return {start: known[start] for start in Segment.of(model, known, name).starts if start in known}


def find_cause(model: Model, evidence: Evidence, multiples: Multiples) -> Cause | None:
    """The first usual mistake that explains the evidence; None where none does."""
    segment = Segment.of(model, evidence.starts, evidence.name)
    expected, noise = local(model, evidence.starts, [evidence.name])[evidence.name]
    before = _distance(evidence.actual, expected, noise)

    def explains(trial: np.ndarray) -> Agreement | None:
        agreement = _agreement(evidence.actual, trial, noise if trial.shape == expected.shape else _unit(trial))
        return agreement if agreement.within(multiples) else None

    for text, trial in (*_trials(segment, evidence), *_outputs(evidence.actual, expected)):
        if found := explains(trial):
            return Cause(text, before, max(found.rms, found.worst_slice))
    return None


def _trials(segment: Segment, evidence: Evidence) -> Iterator[tuple[str, np.ndarray]]:
    """What each suspect of each node, the last node first, would have computed."""
    budget = TRIALS
    for node in reversed(segment.nodes):
        where = Origin.of(node)
        for text, change in _suspects(node):
            if budget == 0:
                return
            budget -= 1
            try:
                trial = segment.build({node: change})
                result = evaluate(trial, evidence.starts, [evidence.name])[evidence.name]
            except ValueError:
                continue  # this mistake cannot be made here: the shapes do not fit
            yield (text if len(segment.nodes) == 1 else f"{where.layer}: {text}"), result


# -- the usual mistakes, by operator --------------------------------------------------------------------------------

_makers: dict[str, list[Callable[[ir.Node], Iterator[Suspect]]]] = {}


def _of(*operators: str) -> Callable:
    def register(maker: Callable[[ir.Node], Iterator[Suspect]]) -> Callable[[ir.Node], Iterator[Suspect]]:
        for operator in operators:
            _makers.setdefault(operator, []).append(maker)
        return maker

    return register


def _suspects(node: ir.Node) -> Iterator[Suspect]:
    for maker in _makers.get(node.op_type, ()):
        yield from maker(node)


def _attribute(text: str, **attributes: object) -> Suspect:
    return Suspect(text, Change(attributes=attributes))


def _input(text: str, index: int, array: np.ndarray | None) -> Suspect:
    return Suspect(text, Change(inputs={index: array}))


@_of("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization")
def _epsilon(node: ir.Node) -> Iterator[Suspect]:
    right = attributes_of(node).get("epsilon", 1e-5)
    for epsilon in (*EPSILONS, right * 10, right / 10):
        if not np.isclose(epsilon, right):
            yield _attribute(f"epsilon {epsilon:g} instead of {right:g}", epsilon=float(epsilon))


@_of("BatchNormalization")
def _statistics(node: ir.Node) -> Iterator[Suspect]:
    scale, bias, _, variance = (constant_input(node, index) for index in (1, 2, 3, 4))
    if variance is None or scale is None or bias is None:
        return
    yield Suspect("mean and beta are swapped", Change(order=(0, 1, 3, 2, 4)))
    yield _input("gamma is dropped", 1, np.ones_like(scale))
    yield _input("beta is dropped", 2, np.zeros_like(bias))
    yield _input("the mean is not subtracted", 3, np.zeros_like(bias))
    yield _input("the variance is used as a standard deviation", 4, np.square(variance))
    yield _input("the standard deviation is used as a variance", 4, np.sqrt(np.abs(variance)))


@_of("Conv", "ConvTranspose", "Gemm", "MatMul")
def _weights(node: ir.Node) -> Iterator[Suspect]:
    weight, bias = constant_input(node, 1), constant_input(node, 2)
    if bias is not None:
        yield _input("the bias is dropped", 2, np.zeros_like(bias))
    if weight is None:
        return
    yield _input("the weights are rounded to float16", 1, weight.astype(np.float16).astype(weight.dtype))
    yield _input("the weights are rounded to bfloat16", 1, _bfloat16(weight))
    if weight.ndim > 2:
        spatial = tuple(range(2, weight.ndim))
        yield _input("the kernels are flipped (convolution for cross-correlation)", 1, np.flip(weight, spatial))
        if weight.shape[1] in (3, 4) and node.op_type == "Conv":
            order = [2, 1, 0, 3][: weight.shape[1]]
            yield _input("the input's channels are in reverse order (RGB for BGR)", 1, weight[:, order])
        if weight.ndim == 4 and weight.shape[2] == weight.shape[3]:
            yield _input("height and width of the kernels are exchanged", 1, weight.swapaxes(2, 3))
    elif weight.shape[0] == weight.shape[1]:
        yield _input("the weight is transposed", 1, weight.T)


@_of("Gemm")
def _flatten_order(node: ir.Node) -> Iterator[Suspect]:
    weight, flatten = constant_input(node, 1), node.inputs[0].producer()
    if weight is None or flatten is None or flatten.op_type not in ("Flatten", "Reshape"):
        return
    shape = shape_of(flatten.inputs[0])
    if len(shape) != 4 or shape[1] * shape[2] * shape[3] not in weight.shape:
        return
    rows = attributes_of(node).get("transB", 0) == 1
    channels_last = np.arange(np.prod(shape[1:])).reshape(shape[1:]).transpose(1, 2, 0).ravel()
    for order in (channels_last, np.argsort(channels_last)):
        permuted = weight[:, order] if rows else weight[order]
        yield _input("the input is flattened in the order height, width, channel", 1, permuted)


@_of("Conv", "MaxPool", "AveragePool")
def _padding(node: ir.Node) -> Iterator[Suspect]:
    attributes = attributes_of(node)
    pads = attributes.get("pads")
    if pads:
        half = len(pads) // 2
        begins, ends = np.array(pads[:half]), np.array(pads[half:])
        for text, shift in (("end", 1), ("beginning", -1)):
            moved = (*np.maximum(begins - shift, 0), *np.maximum(ends + shift, 0))
            yield _attribute(f"the padding is at the {text} (SAME)", pads=tuple(map(int, moved)))
        yield _attribute("the padding is left out", pads=(0,) * len(pads))
        total = [int(both) for both in begins + ends]
        yield _attribute("all padding is at the end", pads=(*(0,) * half, *total))
        yield _attribute("all padding is at the beginning", pads=(*total, *(0,) * half))


@_of("AveragePool")
def _divisor(node: ir.Node) -> Iterator[Suspect]:
    included = attributes_of(node).get("count_include_pad", 0)
    text = "the average leaves out the padding" if included else "the average counts the padding"
    yield _attribute(text, count_include_pad=1 - included)


@_of("MaxPool", "AveragePool")
def _rounding(node: ir.Node) -> Iterator[Suspect]:
    ceil = attributes_of(node).get("ceil_mode", 0)
    yield _attribute("the size is rounded down" if ceil else "the size is rounded up", ceil_mode=1 - ceil)
    if node.op_type == "MaxPool":
        yield Suspect("an average instead of a maximum", Change(op="AveragePool", attributes={"storage_order": None}))


@_of("Relu", "LeakyRelu")
def _slope(node: ir.Node) -> Iterator[Suspect]:
    right = attributes_of(node).get("alpha", 0.01) if node.op_type == "LeakyRelu" else 0.0
    for slope in SLOPES:
        if not np.isclose(slope, right):
            change = Change(op="LeakyRelu", attributes={"alpha": float(slope)})
            yield Suspect(f"negative slope {slope:g} instead of {right:g}", change)
    yield Suspect("the activation is left out", Change(op="Identity", attributes={"alpha": None}))


@_of("Elu")
def _alpha(node: ir.Node) -> Iterator[Suspect]:
    yield _attribute("alpha 1", alpha=1.0)


@_of("LRN")
def _lrn(node: ir.Node) -> Iterator[Suspect]:
    attributes = attributes_of(node)
    alpha, size = attributes.get("alpha", 1e-4), attributes["size"]
    yield _attribute("alpha is divided by the size once too often", alpha=float(alpha / size))
    yield _attribute("alpha is not divided by the size", alpha=float(alpha * size))
    yield _attribute("the bias k is taken as 1", bias=1.0)


@_of("Softmax", "LogSoftmax", "Concat")
def _axis(node: ir.Node) -> Iterator[Suspect]:
    for axis in range(1, len(shape_of(node.outputs[0]))):
        yield _attribute(f"axis {axis}", axis=axis)


@_of("Concat", "Sub", "Div")
def _operands(node: ir.Node) -> Iterator[Suspect]:
    yield Suspect("the inputs are in reverse order", Change(order=tuple(reversed(range(len(node.inputs))))))


@_of("Resize")
def _corners(node: ir.Node) -> Iterator[Suspect]:
    for mode in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        yield _attribute(f"corners as {mode}", coordinate_transformation_mode=mode)
    for mode in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
        yield _attribute(f"nearest by {mode}", nearest_mode=mode)


# -- mistakes that show in the output, whatever made it -------------------------------------------------------------


def _outputs(actual: np.ndarray, expected: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Permuted, scaled or shifted outputs: what was expected, changed so."""
    if actual.shape != expected.shape or actual.ndim < 2 or not np.isfinite(actual).all() or not actual.size:
        return
    if expected.ndim == 4:
        if expected.shape[2] == expected.shape[3]:
            yield "height and width are exchanged", expected.swapaxes(2, 3)
        yield "it is upside down", expected[:, :, ::-1]
        yield "left and right are exchanged", expected[..., ::-1]
    order = _permutation(np.moveaxis(actual, 1, 0), np.moveaxis(expected, 1, 0))
    if not np.array_equal(order, np.arange(len(order))):
        yield "the channels (or classes) are in another order", np.take(expected, order, axis=1)
    power = float(np.square(expected).sum())
    if power:
        factor = float((actual * expected).sum()) / power
        yield f"it is multiplied by {factor:.6g}", expected * factor
    axes = (0, *range(2, expected.ndim))
    if expected.size > 4 * expected.shape[1]:
        gap, mean = (actual - expected).mean(axis=axes, keepdims=True), expected.mean(axis=axes, keepdims=True)
        yield "a constant of each channel is off (bias or mean)", expected + gap
        energy = np.square(expected).sum(axis=axes, keepdims=True)
        factor = (actual * expected).sum(axis=axes, keepdims=True) / np.where(energy == 0, 1, energy)
        yield "a factor of each channel is off (gamma or variance)", expected * factor
        spread = np.square(expected - mean).sum(axis=axes, keepdims=True)
        slope = (actual * (expected - mean)).sum(axis=axes, keepdims=True) / np.where(spread == 0, 1, spread)
        yield (
            "a factor of each channel is off before its constant (gamma or variance)",
            mean + gap + slope * (expected - mean),
        )


def _permutation(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The order of the expected rows that comes nearest to the actual ones, by a random projection of each."""
    direction = np.random.default_rng(0).standard_normal(int(np.prod(actual.shape[1:])))
    order = np.empty(len(actual), np.int64)
    order[np.argsort(actual.reshape(len(actual), -1) @ direction)] = np.argsort(
        expected.reshape(len(expected), -1) @ direction
    )
    return order


# -- comparison -----------------------------------------------------------------------------------------------------


def _agreement(actual: np.ndarray, value: np.ndarray, noise: np.ndarray) -> Agreement:
    agreement = Agreement()
    agreement.add(actual, value, noise)
    return agreement


def _distance(actual: np.ndarray, value: np.ndarray, noise: np.ndarray) -> float:
    agreement = _agreement(actual, value, noise)
    return float("inf") if agreement.problems else max(agreement.rms, agreement.worst_slice)


def _unit(value: np.ndarray) -> np.ndarray:
    """A noise for a trial of another shape than expected: a few roundings of its largest value."""
    return np.full(value.shape, 2.0**-21 * np.abs(value).max(initial=0.0))


def _bfloat16(array: np.ndarray) -> np.ndarray:
    """Rounded to the nearest bfloat16: the upper half of a float32."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)
