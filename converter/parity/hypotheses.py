"""The usual mistakes of a conversion, as changes to one hub node: a function for each family of operators.

``@mistakes("Conv", ...)`` registers a function of (node, starts) that yields (what went wrong in words, Change).
``starts`` are the tensors that the runtime really had where the segment begins. A change that does not fit the node
raises ValueError when it is evaluated, and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
import onnx_ir as ir

from converter.graph.model import attributes_of
from converter.parity.segment import Change, constant_input
from converter.parity.side import Arrays

Changes = Iterator[tuple[str, Change]]

_mistakes: dict[str, list[Callable[[ir.Node, Arrays], Changes]]] = {}


def mistakes(*operators: str) -> Callable[[Callable[[ir.Node, Arrays], Changes]], Callable]:
    """Register a function for these operators."""

    def decorate(function: Callable[[ir.Node, Arrays], Changes]) -> Callable:
        for operator in operators:
            _mistakes.setdefault(operator, []).append(function)
        return function

    return decorate


def changes(node: ir.Node, starts: Arrays) -> Changes:
    """Every change worth trying in ``node``, the most usual first."""
    for function in _mistakes.get(node.op_type, ()):
        yield from function(node, starts)
    yield from _weights_rounded(node)
    yield from _weights_moved(node)
    if node.inputs and node.op_type not in ("Identity", "Dropout"):
        yield "the layer is missing: its input is passed on", Change(op="Identity", order=(0,))


def _attribute(node: ir.Node, name: str, default: object, values: tuple, words: str = "") -> Changes:
    """Other values for one attribute."""
    current = attributes_of(node).get(name, default)
    for value in dict.fromkeys(values):
        if value != current:
            shown, old = (f"{v:.6g}" if isinstance(v, float) else str(v) for v in (value, current))
            yield f"{words or name} {shown} in place of {old}", Change({name: value})


@mistakes("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization")
def _epsilon(node: ir.Node, starts: Arrays) -> Changes:
    current = float(attributes_of(node).get("epsilon", 1e-5))
    usual = (1e-3, 1e-4, 1e-5, 2e-5, 1e-6, 1e-7, 1e-8, 1e-12, 0.0)
    values = tuple(value for value in usual if not np.isclose(value, current, rtol=1e-5, atol=0.0))
    yield from _attribute(node, "epsilon", 1e-5, (*values, current * 10, current / 10))


@mistakes("BatchNormalization")
def _statistics(node: ir.Node, starts: Arrays) -> Changes:
    epsilon = float(attributes_of(node).get("epsilon", 1e-5))
    scale, shift, mean, variance = (constant_input(node, index) for index in range(1, 5))
    if scale is None or shift is None or mean is None or variance is None:
        return
    yield "mean and beta are exchanged", Change(order=(0, 1, 3, 2, 4))
    yield "gamma is left out (taken as 1)", Change(inputs={1: np.ones_like(scale)})
    yield "beta is left out", Change(inputs={2: np.zeros_like(shift)})
    yield "the mean is left out", Change(inputs={3: np.zeros_like(mean)})
    yield "gamma and variance are exchanged", Change(order=(0, 4, 2, 3, 1))
    wide = variance.astype(np.float64)
    with np.errstate(all="ignore"):
        yield "the variance is taken for a standard deviation", Change(inputs={4: wide**2})
        yield "the standard deviation is taken for the variance", Change(inputs={4: np.sqrt(wide)})
        yield (
            "the inverse standard deviation is taken for the variance",
            Change(inputs={4: 1 / np.sqrt(wide + epsilon)}),
        )
        for outside in dict.fromkeys((epsilon, 1e-6, 1e-5, 1e-3)):
            as_variance = (np.sqrt(wide) + outside) ** 2 - epsilon
            yield f"epsilon {outside:.6g} is added outside the square root", Change(inputs={4: as_variance})
    x = starts.get(node.inputs[0].name)
    if x is not None and x.ndim >= 2:
        axes = (0, *range(2, x.ndim))
        batch = {3: x.mean(axis=axes, dtype=np.float64), 4: x.var(axis=axes, dtype=np.float64)}
        yield "statistics of the batch in place of the stored ones (training mode)", Change(inputs=batch)


@mistakes("Conv", "ConvTranspose", "MaxPool", "AveragePool")
def _padding(node: ir.Node, starts: Arrays) -> Changes:
    attributes = attributes_of(node)
    rank = len(node.inputs[0].shape) - 2
    pads = tuple(attributes.get("pads", (0,) * 2 * rank))
    begin, end = np.array(pads[:rank]), np.array(pads[rank:])
    total, none = begin + end, np.zeros(rank, int)
    pairs = ((end, begin), (none, total), (total, none), (none, end), (begin, none), (none, none),
             (total // 2, total - total // 2), (begin + 1, end), (begin, end + 1), (begin + 1, end + 1))  # fmt: skip
    for other in dict.fromkeys((*map(int, first), *map(int, last)) for first, last in pairs):
        if other != pads:
            yield f"padding {other} in place of {pads} (begin, then end)", Change({"pads": other})
    yield from _attribute(node, "ceil_mode", 0, (0, 1)) if "Pool" in node.op_type else ()


@mistakes("AveragePool")
def _average(node: ir.Node, starts: Arrays) -> Changes:
    yield from _attribute(node, "count_include_pad", 0, (0, 1))
    yield "maximum in place of average", Change({"count_include_pad": None}, op="MaxPool")
    for text, change in list(_padding(node, starts)):
        for include in (0, 1):
            yield f"{text}, count_include_pad {include}", Change({**change.attributes, "count_include_pad": include})


@mistakes("MaxPool")
def _maximum(node: ir.Node, starts: Arrays) -> Changes:
    yield "average in place of maximum", Change({"storage_order": None}, op="AveragePool")


@mistakes("Conv", "ConvTranspose", "Gemm")
def _bias(node: ir.Node, starts: Arrays) -> Changes:
    bias = constant_input(node, 2)
    if bias is not None:
        yield "the bias is left out", Change(inputs={2: np.zeros_like(bias)})
        yield "the bias is added twice", Change(inputs={2: 2 * bias})


@mistakes("Conv", "ConvTranspose")
def _kernel(node: ir.Node, starts: Arrays) -> Changes:
    weight = constant_input(node, 1)
    if weight is None:
        return
    spatial = tuple(range(2, weight.ndim))
    yield "the kernels are flipped (convolution for correlation)", Change(inputs={1: np.flip(weight, spatial)})
    if weight.ndim == 4:
        yield "height and width of the kernels are exchanged", Change(inputs={1: weight.swapaxes(2, 3)})
    yield "the channels of the input are in reverse order (RGB for BGR)", Change(inputs={1: weight[:, ::-1]})
    yield "dilation is left out", Change({"dilations": None})
    if weight.shape[0] == weight.shape[1]:
        yield "input and output channels of the kernels are exchanged", Change(inputs={1: weight.swapaxes(0, 1)})
    hwio = weight.transpose(*spatial, 1, 0).reshape(weight.shape)
    yield "the kernels are stored in HWIO order and read as OIHW", Change(inputs={1: hwio})
    ohwi = weight.transpose(0, *spatial, 1).reshape(weight.shape)
    yield "the kernels are stored in OHWI order and read as OIHW", Change(inputs={1: ohwi})


@mistakes("Gemm", "MatMul")
def _matrix(node: ir.Node, starts: Arrays) -> Changes:
    weight = constant_input(node, 1)
    if weight is None or weight.ndim != 2:
        return
    rows = bool(attributes_of(node).get("transB"))
    by_output = weight if rows else weight.T

    def stored(matrix: np.ndarray) -> Change:
        return Change(inputs={1: matrix if rows else matrix.T})

    for channels, *sizes in _flattened_shapes(node):
        if np.prod(sizes) > 1 and channels > 1 and channels * np.prod(sizes) == by_output.shape[1]:
            last = by_output.reshape(-1, *sizes, channels)
            yield "flattened in NHWC order, weights in NCHW order", stored(
                np.moveaxis(last, -1, 1).reshape(by_output.shape))  # fmt: skip
            first = by_output.reshape(-1, channels, *sizes)
            yield "flattened in NCHW order, weights in NHWC order", stored(
                np.moveaxis(first, 1, -1).reshape(by_output.shape))  # fmt: skip
    if weight.shape[0] == weight.shape[1]:
        yield "the weight matrix is transposed", Change(inputs={1: weight.T})
    yield "the weight matrix has the right shape, but was stored transposed", Change(
        inputs={1: weight.T.reshape(weight.shape)})  # fmt: skip
    yield "the inputs are in reverse order", stored(by_output[:, ::-1])


def _flattened_shapes(node: ir.Node) -> Iterator[tuple[int, ...]]:
    """The shape (C, H, W) of an image that was flattened to be the input of ``node``."""
    value = node.inputs[0]
    while (producer := value.producer()) is not None and producer.op_type in (
        "Flatten Reshape Dropout Identity Squeeze Relu LeakyRelu".split()
    ):
        value = producer.inputs[0]
        if value.shape is not None and len(value.shape) > 2:
            yield tuple(int(size) for size in value.shape.numpy()[1:])
            return


@mistakes("LRN")
def _local_response(node: ir.Node, starts: Arrays) -> Changes:
    attributes = attributes_of(node)
    alpha, size = float(attributes.get("alpha", 1e-4)), int(attributes["size"])
    yield "alpha is not divided by the size", Change({"alpha": alpha * size})
    yield "alpha is divided by the size twice", Change({"alpha": alpha / size})
    yield from _attribute(node, "bias", 1.0, (1.0, 2.0, 0.0))
    yield from _attribute(node, "beta", 0.75, (0.75, 0.5, 1.0))
    yield from _attribute(node, "size", size, (3, 5, size // 2, 2 * size - 1, 2 * size + 1))


@mistakes("Relu")
def _relu(node: ir.Node, starts: Arrays) -> Changes:
    for slope in (0.01, 0.1, 0.2, 0.25, 0.3):
        yield f"negative values are scaled by {slope} in place of 0", Change({"alpha": slope}, op="LeakyRelu")
    limits = {1: np.float32(0), 2: np.float32(6)}
    yield "values are cut at 6 (ReLU6)", Change(inputs={i: np.asarray(v) for i, v in limits.items()}, op="Clip")


@mistakes("LeakyRelu")
def _leaky(node: ir.Node, starts: Arrays) -> Changes:
    slope = float(attributes_of(node).get("alpha", 0.01))
    usual = (0.01, 0.1, 0.2, 0.25, 0.3, 1 / 3, 1 / 5.5)
    others = tuple(value for value in usual if not np.isclose(value, slope, rtol=1e-5))
    yield from _attribute(node, "alpha", 0.01, (*others, 1 / slope if slope else 0.0), "slope of negative values")
    yield "negative values are cut (plain ReLU)", Change({"alpha": None}, op="Relu")


@mistakes("PRelu")
def _parametric(node: ir.Node, starts: Arrays) -> Changes:
    slope = constant_input(node, 1)
    if slope is not None and slope.size:
        yield "one slope is used for all channels", Change(inputs={1: np.full_like(slope, slope.flat[0])})
        for other in (0.25, 0.01, 0.0):
            yield f"slope {other} in place of the trained ones", Change(inputs={1: np.full_like(slope, other)})


@mistakes("Elu", "HardSigmoid", "Gelu", "DepthToSpace", "Pad", "Resize")
def _settings(node: ir.Node, starts: Arrays) -> Changes:
    yield from {
        "Elu": lambda: _attribute(node, "alpha", 1.0, (1.0, 0.1, 1.67326)),
        "HardSigmoid": lambda: _attribute(node, "alpha", 0.2, (0.2, 1 / 6)),
        "Gelu": lambda: _attribute(node, "approximate", "none", ("none", "tanh")),
        "DepthToSpace": lambda: _attribute(node, "mode", "DCR", ("DCR", "CRD")),
        "Pad": lambda: _attribute(node, "mode", "constant", ("constant", "reflect", "edge")),
        "Resize": lambda: _resize(node),
    }[node.op_type]()


def _resize(node: ir.Node) -> Changes:
    current = attributes_of(node)
    for mode in ("nearest", "linear"):
        for corners in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
            for nearest in (
                ("floor", "round_prefer_floor", "round_prefer_ceil", "ceil") if mode == "nearest" else (None,)
            ):
                new = {"mode": mode, "coordinate_transformation_mode": corners, "nearest_mode": nearest}
                if any(value is not None and current.get(key) != value for key, value in new.items()):
                    words = " ".join(value for value in new.values() if value)
                    yield f"resized with {words}", Change(new)


@mistakes("Softmax", "LogSoftmax")
def _probabilities(node: ir.Node, starts: Arrays) -> Changes:
    rank = len(node.inputs[0].shape)
    axis = int(attributes_of(node).get("axis", -1)) % rank
    for other in range(rank):
        if other != axis:
            yield f"over axis {other} in place of {axis}", Change({"axis": other})
    other = "LogSoftmax" if node.op_type == "Softmax" else "Softmax"
    yield f"{other} in place of {node.op_type}", Change(op=other)


@mistakes("Sigmoid", "Tanh")
def _squashing(node: ir.Node, starts: Arrays) -> Changes:
    for other in ("Sigmoid", "Tanh", "HardSigmoid"):
        if other != node.op_type:
            yield f"{other} in place of {node.op_type}", Change(op=other)


@mistakes("Clip")
def _clip(node: ir.Node, starts: Arrays) -> Changes:
    for index, bound in ((1, "lower"), (2, "upper")):
        if constant_input(node, index) is not None:
            yield f"the {bound} bound is left out", Change(inputs={index: None})


@mistakes("Sub", "Div", "Pow", "Concat")
def _operands(node: ir.Node, starts: Arrays) -> Changes:
    yield "the operands are in reverse order", Change(order=tuple(range(len(node.inputs)))[::-1])


@mistakes("ReduceMean", "ReduceSum", "ReduceMax", "GlobalAveragePool", "GlobalMaxPool", "Add", "Max", "Mul", "Sum")
def _another_operator(node: ir.Node, starts: Arrays) -> Changes:
    for other in {
        "ReduceMean": ("ReduceSum", "ReduceMax"), "ReduceSum": ("ReduceMean",), "ReduceMax": ("ReduceMean",),
        "GlobalAveragePool": ("GlobalMaxPool",), "GlobalMaxPool": ("GlobalAveragePool",),
        "Add": ("Mul", "Max", "Sub"), "Sum": ("Max",), "Max": ("Add",), "Mul": ("Add",),
    }[node.op_type]:  # fmt: skip
        yield f"{other} in place of {node.op_type}", Change(op=other)


@mistakes("Transpose")
def _transposed(node: ir.Node, starts: Arrays) -> Changes:
    order = attributes_of(node).get("perm")
    if order:
        yield "the inverse permutation of axes", Change({"perm": tuple(int(axis) for axis in np.argsort(order))})


@mistakes("ResettableLSTM", "ResettableRNN")
def _recurrent(node: ir.Node, starts: Arrays) -> Changes:
    continuation = node.inputs[1]
    ones = np.ones(tuple(continuation.shape.numpy()), np.float32)
    yield "the state is not reset at the start of a sequence", Change(inputs={1: ones})
    weights = {index: constant_input(node, index) for index in (2, 3, 4)}
    if any(weight is None for weight in weights.values()):
        return
    yield "the bias is left out", Change(inputs={4: np.zeros_like(weights[4])})
    if node.op_type == "ResettableLSTM" and all(not weight.shape[0] % 4 for weight in weights.values()):
        for order in list(permutations(range(4)))[1:]:
            gates = "".join("ifog"[index] for index in order)
            moved = {
                index: np.concatenate([np.split(weight, 4)[gate] for gate in order])
                for index, weight in weights.items()
            }
            yield f"gates in the order {gates} in place of ifog", Change(inputs=moved)


def _weights_rounded(node: ir.Node) -> Changes:
    weights = _weights(node)
    if not weights:
        return
    with np.errstate(over="ignore"):
        half = {index: weight.astype(np.float16).astype(np.float32) for index, weight in weights.items()}
    yield "the weights are rounded to float16", Change(inputs=half)
    bits = {index: np.ascontiguousarray(weight).view(np.uint32) for index, weight in weights.items()}
    brain = {i: ((b + 0x7FFF + ((b >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32) for i, b in bits.items()}
    yield "the weights are rounded to bfloat16", Change(inputs=brain)


def _weights_moved(node: ir.Node) -> Changes:
    for index, weight in _weights(node).items():
        if weight.ndim and weight.shape[0] > 1:
            yield f"constant input {index} is in reverse order", Change(inputs={index: weight[::-1]})
        yield f"constant input {index} is left out (zeros)", Change(inputs={index: np.zeros_like(weight)})


def _weights(node: ir.Node) -> dict[int, np.ndarray]:
    """The float32 weights of a node by position."""
    found = {index: constant_input(node, index) for index in range(len(node.inputs))}
    return {
        i: array for i, array in found.items() if array is not None and array.dtype == np.float32 and array.size > 1
    }
