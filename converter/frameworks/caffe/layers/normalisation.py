"""Batch, local response and mean-variance normalisation, and the per-channel Scale and Bias that go with them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..parameters import Parameter
from .context import LayerContext, constant_array, require
from .registry import layer


@layer("BatchNorm")
def batch_norm(context: LayerContext) -> ir.Value:
    """(x - mean) / sqrt(variance + eps); both are stored as sums, to be divided by the third blob (0 gives zeros)."""
    x = context.expect(rank=(2, None))
    message, channels = context.param("batch_norm_param"), context.shape(x)[1]
    require(
        not message.has("use_global_stats") or message.get("use_global_stats"),
        "use_global_stats is false: it would normalise by the statistics of each batch",
        "set use_global_stats to true if the net was trained that way",
    )
    mean, variance, factor = context.sources(
        Parameter("running_mean", (channels,), None),
        Parameter("running_var", (channels,), None),
        Parameter("scale_factor", (1,), None),
    )

    def divided(source: object) -> object:
        def read() -> np.ndarray:
            divisor = factor.read().reshape(())
            scale = np.float32(0) if divisor == 0 else np.float32(1) / divisor
            return source.read().reshape(channels) * scale

        return read

    unit, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return context.op(
        "BatchNormalization",
        x,
        constant_array(context, unit, "weight"),
        constant_array(context, zero, "bias"),
        context.computed("running_mean", divided(mean), (channels,)),
        context.computed("running_var", divided(variance), (channels,)),
        epsilon=message.get("eps"),
    )


def _span(context: LayerContext, shape: tuple[int, ...], axis: int, number: int) -> tuple[int, tuple[int, ...]]:
    """Canonical axis and the shape of a weight over ``number`` axes from there on (-1: all the rest)."""
    axis = context.axis(axis, len(shape))
    if number < -1 or axis + max(number, 0) > len(shape):
        raise context.error(f"num_axes {number} from axis {axis} reaches beyond a blob of shape {shape}")
    return axis, shape[axis:] if number == -1 else shape[axis : axis + number]


def _second_bottom(context: LayerContext, shape: tuple[int, ...], axis: int) -> tuple[ir.Value, tuple[int, ...], int]:
    """The second bottom, made to broadcast from ``axis``; its own shape and the canonical axis."""
    other = context.bottoms[1]
    size = context.shape(other)
    axis, span = _span(context, shape, axis, len(size)) if size else (0, ())
    if span != size:
        raise context.error(f"its second bottom has shape {size}, axis {axis} of the first wants {span}")
    wide = _broadcast(size, axis, len(shape))
    if wide == size:
        return other, size, axis
    # A leading batch axis stays open: 0 copies it.
    target = [0 if axis == 0 and index == 0 and size else length for index, length in enumerate(wide)]
    return context.op("Reshape", other, context.constant(target)), size, axis


def _broadcast(size: tuple[int, ...], axis: int, rank: int) -> tuple[int, ...]:
    """``size`` with the ones behind it that broadcasting against a blob of ``rank`` axes from ``axis`` needs."""
    return size + (1,) * (rank - axis - len(size))


@layer("Scale")
def scale(context: LayerContext) -> ir.Value:
    """x * scale (+ bias), broadcast from ``axis``; the scale is learned, or the second bottom."""
    x = context.expect(bottoms=(1, 2))
    message, shape = context.param("scale_param"), context.shape(x)
    filler = message.get("filler") if message.has("filler") else 1.0
    bias_filler = message.get("bias_filler")
    if len(context.bottoms) == 2:
        factor, size, axis = _second_bottom(context, shape, message.get("axis"))
        wanted = []
    else:
        axis, size = _span(context, shape, message.get("axis"), message.get("num_axes"))
        wanted = [Parameter("weight", size, filler)]
    if message.get("bias_term"):
        wanted.append(Parameter("bias", size, bias_filler))
    weights = context.weights(*wanted, shapes=[_broadcast(size, axis, len(shape))] * len(wanted))
    if len(context.bottoms) == 1:
        factor = weights.pop(0)
    y = context.op("Mul", x, factor)
    return context.op("Add", y, *weights) if weights else y


@layer("Bias")
def bias(context: LayerContext) -> ir.Value:
    """x + bias, broadcast from ``axis``; the bias is learned, or the second bottom."""
    x = context.expect(bottoms=(1, 2))
    message, shape = context.param("bias_param"), context.shape(x)
    if len(context.bottoms) == 2:
        return context.op("Add", x, _second_bottom(context, shape, message.get("axis"))[0])
    axis, size = _span(context, shape, message.get("axis"), message.get("num_axes"))
    wanted = Parameter("bias", size, message.get("filler"))
    return context.op("Add", x, *context.weights(wanted, shapes=[_broadcast(size, axis, len(shape))]))


@layer("LRN")
def local_response(context: LayerContext) -> ir.Value:
    """Across channels: x / (k + alpha/n * sum of squares)^beta; within: k is ignored and the mean is over n x n."""
    x = context.expect(rank=4)
    message = context.param("lrn_param")
    size, alpha, beta = message.get("local_size"), message.get("alpha"), message.get("beta")
    if size % 2 == 0:
        raise context.error(f"local_size {size} must be odd")
    if message.get("norm_region") == "ACROSS_CHANNELS":
        return context.op("LRN", x, size=size, alpha=alpha, beta=beta, bias=message.get("k"))
    around = (size - 1) // 2
    mean = context.op(
        "AveragePool",
        context.op("Mul", x, x),
        kernel_shape=(size, size),
        strides=(1, 1),
        pads=(around,) * 4,
        count_include_pad=1,
    )
    return context.op("Mul", x, context.op("Pow", context.affine(mean, alpha, 1.0), context.scalar(-beta)))


@layer("MVN")
def mean_variance(context: LayerContext) -> ir.Value:
    """(x - mean) / (sqrt(variance) + eps) over each plane, or over each whole image with ``across_channels``."""
    x = context.expect(rank=(1, 4))
    message, rank = context.param("mvn_param"), len(context.shape(x))
    if rank < 4:  # Caffe's result has four axes
        x = context.op("Unsqueeze", x, context.constant(range(rank, 4)))
    axes = context.constant(range(1 if message.get("across_channels") else 2, 4))
    centred = context.op("Sub", x, context.op("ReduceMean", x, axes, keepdims=1))
    if not message.get("normalize_variance"):
        return centred
    variance = context.op("ReduceMean", context.op("Mul", centred, centred), axes, keepdims=1)
    deviation = context.op("Add", context.op("Sqrt", variance), context.scalar(message.get("eps")))
    return context.op("Div", centred, deviation)


@layer("Normalize")
def normalize(context: LayerContext) -> ir.Value:
    """x / sqrt(sum of squares + eps) * scale, over each position's channels or over the whole image (SSD)."""
    x = context.expect(rank=(2, 4))
    message, shape = context.param("norm_param"), context.shape(x)
    shared = message.get("channel_shared")
    filler = message.get("scale_filler") if message.has("scale_filler") else 1.0
    wanted = Parameter("weight", () if shared else (shape[1],), filler)
    weight = context.weights(wanted, shapes=[() if shared else (shape[1],) + (1,) * (len(shape) - 2)])[0]
    axes = context.constant(range(1, len(shape)) if message.get("across_spatial") else [1])
    squares = context.op("ReduceSum", context.op("Mul", x, x), axes, keepdims=1)
    norm = context.op("Sqrt", context.op("Add", squares, context.scalar(message.get("eps"))))
    return context.op("Mul", context.op("Div", x, norm), weight)
