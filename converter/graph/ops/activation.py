"""Activations: mostly one numpy expression each, and the quantities that its usual float32 formula rounds."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from converter.graph.ops.common import (
    Array,
    Arrays,
    Infos,
    broadcast,
    exact,
    normal_axis,
    optional,
    rounded,
    rounded_sum,
    same,
)
from converter.graph.ops.registry import Attributes, Inferred, Op, register

#: Of SELU (Klambauer et al. 2017), the values in the ONNX specification.
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _activation(
    name: str,
    function: Callable[[Attributes, Array], Array],
    terms: Callable[[Attributes, Array, Array], tuple[Any, ...]] | None,
) -> None:
    """Register y = function(attributes, x); ``terms(attributes, x, y)`` are the quantities that float32 rounds."""

    def rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Any]:
        return [rounded(*terms(attributes, inputs[0], outputs[0]))] if terms else [0.0]

    register(Op(name, "", same, lambda attributes, inputs: [function(attributes, inputs[0])], rounding))


def erf(x: Array) -> Array:
    """The error function to about 1e-15: its Taylor series where abs(x) < 2.5, the continued fraction of erfc beyond.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.6 and 7.1.14.
    """
    wide = np.asarray(x, np.float64)
    magnitude = np.abs(wide)
    small = np.minimum(magnitude, 2.5)
    term = total = 2.0 / sqrt(np.pi) * small * np.exp(-np.square(small))
    for n in range(1, 60):
        term = term * 2.0 * np.square(small) / (2 * n + 1)
        total = total + term
    large = np.clip(magnitude, 2.5, 30.0)
    fraction = np.zeros_like(large)
    for n in range(60, 0, -1):
        fraction = n / 2.0 / (large + fraction)
    tail = 1.0 - np.exp(-np.square(large)) / sqrt(np.pi) / (large + fraction)
    return np.copysign(np.where(magnitude < 2.5, total, tail), wide).astype(x.dtype)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decay) / (1 + decay)


def _gelu(attributes: Attributes, x: Array) -> Array:
    if attributes.get("approximate", "none") == "tanh":
        return 0.5 * x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / sqrt(2.0)))


def _elu(alpha: float, x: Array) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_terms(alpha: float, x: Array, y: Array) -> tuple[Array, Array]:
    """Runtimes compute exp(x) - 1, which cancels; positive values pass untouched."""
    return np.where(x > 0, 0, y), np.where(x > 0, 0, alpha * np.exp(np.minimum(x, 0)))


_activation("Relu", lambda a, x: np.maximum(x, 0), None)
_activation(
    "LeakyRelu",
    lambda a, x: np.where(x >= 0, x, a.get("alpha", 0.01) * x),
    lambda a, x, y: (np.where(x >= 0, 0, y), np.where(x >= 0, 0, y)),
)
_activation("Elu", lambda a, x: _elu(a.get("alpha", 1.0), x), lambda a, x, y: _elu_terms(a.get("alpha", 1.0), x, y))
_activation(
    "Selu",
    lambda a, x: a.get("gamma", SELU_GAMMA) * _elu(a.get("alpha", SELU_ALPHA), x),
    lambda a, x, y: (y, *_elu_terms(a.get("gamma", SELU_GAMMA) * a.get("alpha", SELU_ALPHA), x, y)),
)
# The constant: half the scale of tanh(x / 2) / 2 + 1 / 2 (Caffe), or of a rational approximation (ONNX Runtime).
_activation("Sigmoid", lambda a, x: sigmoid(x), lambda a, x, y: (y, 0.5))
_activation("Tanh", lambda a, x: np.tanh(x), lambda a, x, y: (2 * y,))
_activation(
    "HardSigmoid",
    lambda a, x: np.clip(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
    lambda a, x, y: (np.where((y > 0) & (y < 1), a.get("alpha", 0.2) * x, 0), np.where((y > 0) & (y < 1), y, 0)),
)
_activation(
    "HardSwish",
    lambda a, x: x * np.clip(x / 6 + 0.5, 0, 1),
    lambda a, x, y: tuple(np.where(np.abs(x) < 3, term, 0) for term in (x * x / 6, y, y, 0.5 * x)),
)
# log(1 + exp(x)): the 1 + rounds, which for negative x is all there is.
_activation("Softplus", lambda a, x: np.logaddexp(x, 0), lambda a, x, y: (2 * y, np.minimum(1, np.exp(-np.abs(x)) + 1)))
_activation("Softsign", lambda a, x: x / (1 + np.abs(x)), lambda a, x, y: (y, y))
_activation("Gelu", _gelu, lambda a, x, y: (2 * y, x))
_activation("Erf", lambda a, x: erf(x), lambda a, x, y: (2 * y,))


def _prelu_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    x, slope = inputs[0], inputs[1]
    if broadcast(x.shape, slope.shape) != x.shape:
        raise ValueError(f"slope {slope.shape} does not broadcast to the input {x.shape}")
    return [Inferred(x.shape, x.dtype)]


register(
    Op(
        "PRelu",
        "",
        _prelu_infer,
        lambda a, i: [np.where(i[0] >= 0, i[0], i[1] * i[0])],
        lambda a, i, o: [rounded(np.where(i[0] >= 0, 0, o[0]))],
    )
)


def _clip(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, low, high = inputs[0], optional(inputs, 1), optional(inputs, 2)
    x = x if low is None else np.maximum(x, low)
    return [x if high is None else np.minimum(x, high)]


register(Op("Clip", "", same, _clip, exact))


def _softmax_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    normal_axis(attributes.get("axis", -1), len(inputs[0].shape))
    return same(attributes, inputs)


def _shifted(attributes: Attributes, x: Array) -> tuple[Array, Array]:
    """x minus its maximum along the axis, and the sum of the exponentials of that."""
    axis = attributes.get("axis", -1)
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted, np.exp(shifted).sum(axis=axis, keepdims=True)


def _softmax(attributes: Attributes, inputs: Arrays) -> list[Array]:
    shifted, total = _shifted(attributes, inputs[0])
    return [np.exp(shifted) / total]


def _log_softmax(attributes: Attributes, inputs: Arrays) -> list[Array]:
    shifted, total = _shifted(attributes, inputs[0])
    return [shifted - np.log(total)]


def _total_rounding(attributes: Attributes, shifted: Array) -> Array:
    """Relative error of the sum of the exponentials: its own additions, and the rounded exponents of its terms.

    Along an axis that is not the last, runtimes add all the terms one by one.
    """
    axis = attributes.get("axis", -1)
    share = np.exp(shifted) / np.exp(shifted).sum(axis=axis, keepdims=True)
    squares = np.square(share).sum(axis=axis, keepdims=True)
    exponents = np.square(share * shifted).sum(axis=axis, keepdims=True)
    return np.hypot(rounded_sum(shifted.shape[axis], squares, np.ones_like(squares)), rounded(np.sqrt(exponents)))


def _softmax_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    """The subtraction of the maximum rounds the exponent; then exp, sum and division round the result."""
    shifted, y = _shifted(attributes, inputs[0])[0], outputs[0]
    return [np.hypot(rounded(y * shifted, 2 * y), y * _total_rounding(attributes, shifted))]


def _log_softmax_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    """Some runtimes subtract log(sum) from the maximum first: the input's own size is rounded too."""
    shifted, total = _shifted(attributes, inputs[0])
    own = rounded(shifted, outputs[0], np.log(total), 1.0)
    return [np.hypot(own, _total_rounding(attributes, shifted))]


register(Op("Softmax", "", _softmax_infer, _softmax, _softmax_rounding))
register(Op("LogSoftmax", "", _softmax_infer, _log_softmax, _log_softmax_rounding))
