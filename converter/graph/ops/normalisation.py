"""Normalisations: by stored statistics (BatchNormalization), by the input's own, and across neighbouring channels."""

from __future__ import annotations

from math import prod

import numpy as np

from converter.graph.ops.common import (
    Array,
    Arrays,
    Infos,
    broadcast,
    normal_axes,
    normal_axis,
    optional,
    rounded,
    rounded_sum,
    same,
)
from converter.graph.ops.registry import Attributes, Inferred, Op, register


def _lrn_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    if attributes["size"] < 1 or len(inputs[0].shape) < 2:
        raise ValueError(f"LRN over {attributes['size']} channels of {inputs[0].shape} makes no sense")
    return same(attributes, inputs)


def _lrn_base(attributes: Attributes, x: Array) -> Array:
    """bias + alpha / size * sum of squares over the window, which the ends of the channel axis clip."""
    channels, size = x.shape[1], attributes["size"]
    squares, total = np.square(x), np.zeros_like(x)
    for offset in range(max(-((size - 1) // 2), 1 - channels), min(size // 2, channels - 1) + 1):
        first, last = max(0, -offset), min(channels, channels - offset)
        total[:, first:last] += squares[:, first + offset : last + offset]
    return attributes.get("bias", 1.0) + attributes.get("alpha", 1e-4) / size * total


def _lrn(attributes: Attributes, inputs: Arrays) -> list[Array]:
    return [inputs[0] * _lrn_base(attributes, inputs[0]) ** -attributes.get("beta", 0.75)]


def _lrn_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    """Caffe and ONNX Runtime slide the window: each channel's base is the one before, plus a square, minus a square.

    So the errors of all the bases before add up. The power multiplies the relative error of its base by beta.
    """
    base = _lrn_base(attributes, inputs[0])
    drift = np.sqrt(2 * np.cumsum(np.square(base), axis=1)) / base
    return [rounded(2 * outputs[0], attributes.get("beta", 0.75) * drift * outputs[0])]


register(Op("LRN", "", _lrn_infer, _lrn, _lrn_rounding))


def _per_channel(values: Array, rank: int) -> Array:
    return values.reshape(-1, *(1,) * (rank - 2))


def _channels_fit(inputs: Infos, names: str) -> None:
    x = inputs[0].shape
    if len(x) < 2:
        raise ValueError(f"the input {x} has no channel axis")
    for name, info in zip(names.split(), inputs[1:], strict=True):
        if info.shape != (x[1],):
            raise ValueError(f"{name} {info.shape} must be ({x[1]},): the input {x} has {x[1]} channels")


def _batch_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    _channels_fit(inputs, "scale bias mean variance")
    if attributes.get("training_mode", 0):
        raise ValueError("BatchNormalization in training mode has no meaning here")
    return same(attributes, inputs)


def _batch(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, *statistics = inputs
    scale, bias, mean, variance = (_per_channel(values, x.ndim) for values in statistics)
    return [(x - mean) * (scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))) + bias]


def _batch_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    """Runtimes fold it to a * x + b with b = bias - mean * a: both terms round at their own size, and so does a."""
    x, *statistics = inputs
    scale, bias, mean, variance = (_per_channel(values, x.ndim) for values in statistics)
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return [rounded(1.5 * x * factor, 1.5 * mean * factor, bias, outputs[0])]


register(Op("BatchNormalization", "", _batch_infer, _batch, _batch_rounding))


def _standardise(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + epsilon)


def _standardise_rounding(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """x - mean rounds at its own size and by the error of the mean; E[x**2] - mean**2 loses mean**2 / variance."""
    count = prod(x.shape[axis] for axis in axes)
    mean = x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt(x.var(axis=axes, keepdims=True) + epsilon)
    unit, level = (x - mean) / deviation, mean / deviation
    mean_error = rounded_sum(count, np.square(x).mean(axis=axes, keepdims=True) / count, mean)
    return np.hypot(rounded(2 * unit, unit * np.square(level)), mean_error / deviation)


def _instance_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    _channels_fit(inputs, "scale bias")
    return same(attributes, inputs)


def _instance(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, scale, bias = inputs
    unit = _standardise(x, tuple(range(2, x.ndim)), attributes.get("epsilon", 1e-5))
    return [unit * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)]


def _instance_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    x, scale, bias = inputs
    error = _standardise_rounding(x, tuple(range(2, x.ndim)), attributes.get("epsilon", 1e-5))
    return [np.hypot(error * _per_channel(scale, x.ndim), rounded(outputs[0], _per_channel(bias, x.ndim)))]


register(Op("InstanceNormalization", "", _instance_infer, _instance, _instance_rounding))


def _layer_axes(attributes: Attributes, rank: int) -> tuple[int, ...]:
    return tuple(range(normal_axis(attributes.get("axis", -1), rank), rank))


def _layer_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    shape = inputs[0].shape
    inner = shape[_layer_axes(attributes, len(shape))[0] :]
    for info in inputs[1:]:
        if info is not None and broadcast(info.shape, inner) != inner:
            raise ValueError(f"scale or bias {info.shape} does not fit the normalised axes {inner}")
    return same(attributes, inputs)


def _layer(attributes: Attributes, inputs: Arrays) -> list[Array]:
    out = _standardise(inputs[0], _layer_axes(attributes, inputs[0].ndim), attributes.get("epsilon", 1e-5)) * inputs[1]
    return [out if optional(inputs, 2) is None else out + inputs[2]]


def _layer_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    x, bias = inputs[0], optional(inputs, 2)
    error = _standardise_rounding(x, _layer_axes(attributes, x.ndim), attributes.get("epsilon", 1e-5))
    return [np.hypot(error * inputs[1], rounded(outputs[0], 0 if bias is None else bias))]


register(Op("LayerNormalization", "", _layer_infer, _layer, _layer_rounding))


def _grouped(attributes: Attributes, x: Array) -> Array:
    return x.reshape(x.shape[0], attributes["num_groups"], -1)


def _group_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    _channels_fit(inputs, "scale bias")
    if attributes["num_groups"] < 1 or inputs[0].shape[1] % attributes["num_groups"]:
        raise ValueError(f"{inputs[0].shape[1]} channels cannot be divided into {attributes['num_groups']} groups")
    return same(attributes, inputs)


def _group(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, scale, bias = inputs
    unit = _standardise(_grouped(attributes, x), (2,), attributes.get("epsilon", 1e-5)).reshape(x.shape)
    return [unit * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)]


def _group_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    x, scale, bias = inputs
    error = _standardise_rounding(_grouped(attributes, x), (2,), attributes.get("epsilon", 1e-5)).reshape(x.shape)
    return [np.hypot(error * _per_channel(scale, x.ndim), rounded(outputs[0], _per_channel(bias, x.ndim)))]


register(Op("GroupNormalization", "", _group_infer, _group, _group_rounding))

#: Added to the standard deviation by MeanVarianceNormalization (its function body in the ONNX specification).
MVN_EPSILON = 1e-9


def _mvn_axes(attributes: Attributes, rank: int) -> tuple[int, ...]:
    return normal_axes(attributes.get("axes", (0, 2, 3)), rank)


def _mvn_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    _mvn_axes(attributes, len(inputs[0].shape))
    return same(attributes, inputs)


def _mvn(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, axes = inputs[0], _mvn_axes(attributes, inputs[0].ndim)
    return [(x - x.mean(axis=axes, keepdims=True)) / (x.std(axis=axes, keepdims=True) + MVN_EPSILON)]


def _mvn_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    return [_standardise_rounding(inputs[0], _mvn_axes(attributes, inputs[0].ndim), MVN_EPSILON**2)]


register(Op("MeanVarianceNormalization", "", _mvn_infer, _mvn, _mvn_rounding))
