"""MaxPool, AveragePool and the global ones."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np

from converter.graph.ops.common import Array, Arrays, Infos, exact, rounded_sum
from converter.graph.ops.registry import Attributes, Inferred, Op, register
from converter.graph.ops.windows import Windows


def _windows(attributes: Attributes) -> Windows:
    windows = Windows.of(attributes, attributes["kernel_shape"])
    if any(pad >= extent for pad, extent in zip(windows.begin + windows.end, windows.extents * 2, strict=True)):
        raise ValueError(f"padding {windows.begin}, {windows.end} must be smaller than the kernel {windows.kernel}")
    return windows


def _sizes(attributes: Attributes, shape: tuple[int, ...]) -> tuple[int, ...]:
    return _windows(attributes).output_sizes(shape[2:], bool(attributes.get("ceil_mode", 0)))


def _max_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    shape = (*inputs[0].shape[:2], *_sizes(attributes, inputs[0].shape))
    return [Inferred(shape, inputs[0].dtype), Inferred(shape, "int64")]


def _max_pool(attributes: Attributes, inputs: Arrays) -> list[Array]:
    """Values and Indices (into the flattened N, C, ... input; the first of equal maxima, as ONNX Runtime has it)."""
    if attributes.get("storage_order", 0):
        raise ValueError("MaxPool with storage_order 1 is not understood")
    x = inputs[0]
    windows, sizes = _windows(attributes), _sizes(attributes, x.shape)
    padded = windows.padded(x, sizes, -np.inf)
    best, arg = np.full((*x.shape[:2], *sizes), -np.inf, x.dtype), np.zeros((*x.shape[:2], *sizes), np.int32)
    for number, (_, region) in enumerate(windows.taps(sizes)):
        values = padded[region]
        arg[values > best] = number
        np.maximum(best, values, out=best)
    return [best, _flat_indices(arg, windows, x.shape)]


def _flat_indices(arg: Array, windows: Windows, shape: tuple[int, ...]) -> Array:
    """From the number of a tap in its window to the position in the flattened input."""
    flat = np.arange(prod(shape[:2])).reshape(*shape[:2], *(1,) * len(windows.kernel))
    for axis, within in enumerate(np.unravel_index(arg, windows.kernel)):
        starts = np.arange(arg.shape[2 + axis]) * windows.strides[axis] - windows.begin[axis]
        starts = starts.reshape(-1, *(1,) * (len(windows.kernel) - 1 - axis))
        flat = flat * shape[2 + axis] + starts + within * windows.dilations[axis]
    return flat


def _average_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    return [Inferred((*inputs[0].shape[:2], *_sizes(attributes, inputs[0].shape)), inputs[0].dtype)]


def _divisor(attributes: Attributes, shape: tuple[int, ...]) -> Array:
    """Elements that each window counts: those of the padded input (count_include_pad) or of the input alone."""
    windows, sizes = _windows(attributes), _sizes(attributes, shape)
    pad = 1 if attributes.get("count_include_pad", 0) else 0
    spans = zip(shape[2:], windows.begin, windows.end, sizes, strict=True)
    counts = [
        windows.counts(axis, n, -pad * begin, size + pad * end) for axis, (size, begin, end, n) in enumerate(spans)
    ]
    return reduce(np.multiply.outer, counts)


def _average_pool(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x = inputs[0]
    windows, sizes = _windows(attributes), _sizes(attributes, x.shape)
    padded = windows.padded(x, sizes, 0)
    total = np.zeros((*x.shape[:2], *sizes), x.dtype)
    for _, region in windows.taps(sizes):
        total += padded[region]
    return [total / _divisor(attributes, x.shape).astype(x.dtype)]


def _average_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    divisor = _divisor(attributes, inputs[0].shape)
    squares = _average_pool(attributes, [np.square(inputs[0])])[0] / divisor
    return [rounded_sum(prod(attributes["kernel_shape"]), squares, outputs[0])]


def _global_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    shape = inputs[0].shape
    if len(shape) < 3:
        raise ValueError(f"global pooling needs spatial axes, the input is {shape}")
    return [Inferred((*shape[:2], *(1,) * (len(shape) - 2)), inputs[0].dtype)]


def _spatial(x: Array) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _global_average_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    x = inputs[0]
    count = prod(x.shape[2:])
    return [rounded_sum(count, np.square(x).mean(axis=_spatial(x), keepdims=True) / count, outputs[0])]


register(Op("MaxPool", "", _max_infer, _max_pool, exact))
register(Op("AveragePool", "", _average_infer, _average_pool, _average_rounding))
register(Op("GlobalMaxPool", "", _global_infer, lambda a, i: [i[0].max(axis=_spatial(i[0]), keepdims=True)], exact))
register(
    Op(
        "GlobalAveragePool",
        "",
        _global_infer,
        lambda a, i: [i[0].mean(axis=_spatial(i[0]), keepdims=True)],
        _global_average_rounding,
    )
)
