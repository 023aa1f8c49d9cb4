"""Conv, ConvTranspose, Gemm, MatMul: sums of products."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from converter.graph.ops.common import Array, Arrays, Infos, broadcast, optional, rounded_sum
from converter.graph.ops.registry import Attributes, Inferred, Op, register
from converter.graph.ops.windows import Windows

#: Bytes of the largest column buffer that a convolution makes at once.
BUFFER = 1 << 26


def _per_channel(bias: Array, rank: int) -> Array:
    return bias.reshape(-1, *(1,) * (rank - 2))


def _conv_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    x, weight, bias = inputs[0].shape, inputs[1].shape, optional(inputs, 2)
    group = attributes.get("group", 1)
    if len(x) < 3 or len(x) != len(weight):
        raise ValueError(f"input {x} and weight {weight} must have the same rank, at least 3")
    if x[1] != weight[1] * group:
        raise ValueError(f"input {x} has {x[1]} channels, weight {weight} with group {group} needs {weight[1] * group}")
    if weight[0] % group:
        raise ValueError(f"{weight[0]} output channels cannot be divided into {group} groups")
    if bias is not None and bias.shape != (weight[0],):
        raise ValueError(f"bias {bias.shape} must be ({weight[0]},)")
    sizes = Windows.of(attributes, weight[2:]).output_sizes(x[2:])
    return [Inferred((x[0], weight[0], *sizes), inputs[0].dtype)]


def _conv(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, weight, bias = inputs[0], inputs[1], optional(inputs, 2)
    group = attributes.get("group", 1)
    windows = Windows.of(attributes, weight.shape[2:])
    sizes = windows.output_sizes(x.shape[2:])
    padded = windows.padded(x, sizes, 0)
    convolve = _depthwise if weight.shape[1] == 1 and group > 1 else _columns
    out = convolve(padded, weight, group, windows, sizes)
    if bias is not None:
        out += _per_channel(bias, out.ndim)
    return [out]


def _depthwise(x: Array, weight: Array, group: int, windows: Windows, sizes: tuple[int, ...]) -> Array:
    """One shifted multiply-add for each position in the kernel."""
    multiplier = weight.shape[0] // group
    weight = weight.reshape(group, multiplier, *windows.kernel)
    out = np.zeros((x.shape[0], group, multiplier, *sizes), x.dtype)
    for position, region in windows.taps(sizes):
        out += x[region][:, :, None] * _per_tap(weight[(..., *position)], len(sizes))
    return out.reshape(x.shape[0], -1, *sizes)


def _per_tap(weight: Array, rank: int) -> Array:
    return weight.reshape(*weight.shape, *(1,) * rank)


def _columns(x: Array, weight: Array, group: int, windows: Windows, sizes: tuple[int, ...]) -> Array:
    """Columns of all windows times the weights, as many samples (or rows of one sample) at once as BUFFER holds."""
    samples, channels = x.shape[:2]
    rank = len(sizes)
    outer, inner = x.strides[:2], x.strides[2:]
    taps = [stride * d for stride, d in zip(inner, windows.dilations, strict=True)]
    steps = [stride * s for stride, s in zip(inner, windows.strides, strict=True)]
    view = as_strided(x, (samples, channels, *windows.kernel, *sizes), (*outer, *taps, *steps), writeable=False)
    matrix = weight.reshape(group, weight.shape[0] // group, -1)
    out = np.empty((samples, weight.shape[0], *sizes), np.result_type(x, weight))
    row = max(1, channels * prod(windows.kernel) * prod(sizes[1:]) * x.itemsize)
    rows = min(sizes[0], max(1, BUFFER // row))
    batch = max(1, BUFFER // (row * rows)) if rows == sizes[0] else 1
    for first in range(0, samples, batch):
        for top in range(0, sizes[0], rows):
            part = view[(slice(first, first + batch), *(slice(None),) * (1 + rank), slice(top, top + rows))]
            product = matrix @ part.reshape(part.shape[0], group, matrix.shape[2], -1)
            out[first : first + batch, :, top : top + rows] = product.reshape(
                part.shape[0], -1, part.shape[2 + rank], *sizes[1:]
            )
    return out


def _rounding(
    evaluate: Callable[[Attributes, Arrays], list[Array]], terms: Callable[[Attributes, Arrays], int]
) -> Callable[[Attributes, Arrays, list[Array]], list[Array]]:
    """Of a sum of ``terms(attributes, inputs)`` products and a bias; ``evaluate`` also sums their squares."""

    def rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
        squared = [None if array is None else np.square(array) for array in inputs]
        return [rounded_sum(terms(attributes, inputs), evaluate(attributes, squared)[0], outputs[0])]

    return rounding


def _conv_terms(attributes: Attributes, inputs: Arrays) -> int:
    return prod(inputs[1].shape[1:]) + 1


def _transpose_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    x, weight, bias = inputs[0].shape, inputs[1].shape, optional(inputs, 2)
    group = attributes.get("group", 1)
    if len(x) < 3 or len(x) != len(weight):
        raise ValueError(f"input {x} and weight {weight} must have the same rank, at least 3")
    if x[1] != weight[0] or x[1] % group:
        raise ValueError(f"input {x} has {x[1]} channels in {group} groups, weight {weight} needs {weight[0]}")
    channels = weight[1] * group
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"bias {bias.shape} must be ({channels},)")
    return [Inferred((x[0], channels, *_transpose_sizes(attributes, x, weight)), inputs[0].dtype)]


def _transpose_sizes(attributes: Attributes, x: tuple[int, ...], weight: tuple[int, ...]) -> tuple[int, ...]:
    if "output_shape" in attributes:
        raise ValueError("output_shape must have been turned into explicit pads")
    windows = Windows.of(attributes, weight[2:])
    extra = attributes.get("output_padding", (0,) * len(windows.kernel))
    sizes = tuple(
        stride * (size - 1) + more + extent - begin - end
        for size, stride, more, extent, begin, end in zip(
            x[2:], windows.strides, extra, windows.extents, windows.begin, windows.end, strict=True
        )
    )
    if min(sizes) < 1:
        raise ValueError(f"the padding leaves nothing: output would be {sizes}")
    return sizes


def _conv_transpose(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, weight, bias = inputs[0], inputs[1], optional(inputs, 2)
    group = attributes.get("group", 1)
    windows = Windows.of(attributes, weight.shape[2:])
    sizes = _transpose_sizes(attributes, x.shape, weight.shape)
    samples, channels, *spatial = x.shape
    filters = weight.shape[1]
    matrix = weight.reshape(group, channels // group, -1).swapaxes(1, 2)
    full = [
        max(s * (size - 1) + extent, begin + out)
        for size, s, extent, begin, out in zip(
            spatial, windows.strides, windows.extents, windows.begin, sizes, strict=True
        )
    ]
    canvas = np.zeros((samples, group * filters, *full), np.result_type(x, weight))
    batch = max(1, BUFFER // max(1, prod(weight.shape[1:]) * group * prod(spatial) * x.itemsize))
    for first in range(0, samples, batch):
        part = x[first : first + batch]
        product = matrix @ part.reshape(part.shape[0], group, channels // group, -1)
        product = product.reshape(part.shape[0], group * filters, *windows.kernel, *spatial)
        for position, region in windows.taps(spatial):
            canvas[first : first + batch][region] += product[(slice(None), slice(None), *position)]
    crop = (slice(begin, begin + size) for begin, size in zip(windows.begin, sizes, strict=True))
    out = canvas[(..., *crop)]
    return [out if bias is None else out + _per_channel(bias, out.ndim)]


def _transpose_terms(attributes: Attributes, inputs: Arrays) -> int:
    """Products per output element: the windows that overlap in it, times the channels of a group."""
    weight = inputs[1]
    strides = attributes.get("strides", (1,) * (weight.ndim - 2))
    overlap = prod(-(-k // s) for k, s in zip(weight.shape[2:], strides, strict=True))
    return weight.shape[0] // attributes.get("group", 1) * overlap + 1


def _gemm_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    a, b, c = inputs[0].shape, inputs[1].shape, optional(inputs, 2)
    if len(a) != 2 or len(b) != 2:
        raise ValueError(f"Gemm needs two matrices, not {a} and {b}")
    rows, inner = a[::-1] if attributes.get("transA") else a
    other, columns = b[::-1] if attributes.get("transB") else b
    if inner != other:
        raise ValueError(f"a row of the input has {inner} values, the weight {b} needs {other}")
    if c is not None and broadcast(c.shape, (rows, columns)) != (rows, columns):
        raise ValueError(f"bias {c.shape} does not fit the result ({rows}, {columns})")
    return [Inferred((rows, columns), inputs[0].dtype)]


def _gemm(attributes: Attributes, inputs: Arrays) -> list[Array]:
    a = inputs[0].T if attributes.get("transA") else inputs[0]
    b = inputs[1].T if attributes.get("transB") else inputs[1]
    out = a @ b
    if attributes.get("alpha", 1.0) != 1.0:
        out *= attributes["alpha"]
    if optional(inputs, 2) is not None:
        out = out + attributes.get("beta", 1.0) * inputs[2]
    return [out]


def _gemm_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    squared = [None if array is None else np.square(array) for array in inputs]
    scales = {key: attributes[key] ** 2 for key in ("alpha", "beta") if key in attributes}
    count = inputs[0].shape[0 if attributes.get("transA") else 1] + 1
    return [rounded_sum(count, _gemm(attributes | scales, squared)[0], outputs[0])]


def _matmul_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    a, b = inputs[0].shape, inputs[1].shape
    if not a or not b or a[-1] != b[-2 if len(b) > 1 else 0]:
        raise ValueError(f"shapes {a} and {b} cannot be multiplied")
    batch = broadcast(a[:-2], b[:-2])
    return [Inferred((*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ())), inputs[0].dtype)]


def _matmul(attributes: Attributes, inputs: Arrays) -> list[Array]:
    return [np.asarray(inputs[0] @ inputs[1])]


register(Op("Conv", "", _conv_infer, _conv, _rounding(_conv, _conv_terms)))
register(Op("ConvTranspose", "", _transpose_infer, _conv_transpose, _rounding(_conv_transpose, _transpose_terms)))
register(Op("Gemm", "", _gemm_infer, _gemm, _gemm_rounding))
register(Op("MatMul", "", _matmul_infer, _matmul, _rounding(_matmul, lambda a, i: i[0].shape[-1])))
