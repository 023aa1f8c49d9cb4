"""Layers that work on each element by itself."""

from __future__ import annotations

import math

import onnx_ir as ir

from ..parameters import Parameter
from .context import LayerContext, require
from .registry import layer


def _leaky(context: LayerContext, x: ir.Value, slope: float) -> ir.Value:
    return context.op("Relu", x) if slope == 0 else context.op("LeakyRelu", x, alpha=slope)


@layer("ReLU")
def relu(context: LayerContext) -> ir.Value:
    return _leaky(context, context.expect(), context.param("relu_param").get("negative_slope"))


@layer("ReLU6")
def relu6(context: LayerContext) -> ir.Value:
    """min(max(x, 0) + negative_slope * min(x, 0), threshold)."""
    x, message = context.expect(), context.param("relu6_param")
    slope, limit = message.get("negative_slope"), message.get("threshold")
    if slope == 0 and limit >= 0:
        return context.op("Clip", x, context.scalar(0.0), context.scalar(limit))
    return context.op("Min", _leaky(context, x, slope), context.scalar(limit))


@layer("PReLU")
def prelu(context: LayerContext) -> ir.Value:
    """max(x, 0) + slope * min(x, 0), one slope per channel or a single one."""
    x, message = context.expect(rank=(2, None)), context.param("prelu_param")
    shape, shared = context.shape(x), message.get("channel_shared")
    channels = 1 if shared else shape[1]
    filler = message.get("filler") if message.has("filler") else 0.25
    wanted = Parameter("weight", () if shared else (channels,), filler)
    return context.op("PRelu", x, *context.weights(wanted, shapes=[(channels,) + (1,) * (len(shape) - 2)]))


@layer("ELU")
def elu(context: LayerContext) -> ir.Value:
    return context.op("Elu", context.expect(), alpha=context.param("elu_param").get("alpha"))


@layer("Sigmoid")
def sigmoid(context: LayerContext) -> ir.Value:
    return context.op("Sigmoid", context.expect())


@layer("TanH")
def tanh(context: LayerContext) -> ir.Value:
    return context.op("Tanh", context.expect())


@layer("AbsVal")
def absolute(context: LayerContext) -> ir.Value:
    return context.op("Abs", context.expect())


@layer("BNLL")
def binomial_log_likelihood(context: LayerContext) -> ir.Value:
    """log(1 + e^x)."""
    return context.op("Softplus", context.expect())


@layer("HardSigmoid")
def hard_sigmoid(context: LayerContext) -> ir.Value:
    message = context.param("hardsigmoid_param")
    return context.op("HardSigmoid", context.expect(), alpha=message.get("alpha"), beta=message.get("beta"))


@layer("HardSwish")
def hard_swish(context: LayerContext) -> ir.Value:
    """x * clip(x/6 + 0.5, 0, 1)."""
    return context.op("HardSwish", context.expect())


@layer("Swish")
def swish(context: LayerContext) -> ir.Value:
    """x * sigmoid(beta * x)."""
    x = context.expect()
    return context.op("Mul", x, context.op("Sigmoid", context.affine(x, context.param("swish_param").get("beta"), 0.0)))


@layer("Clip")
def clip(context: LayerContext) -> ir.Value:
    x, message = context.expect(), context.param("clip_param")
    if not (message.has("min") and message.has("max")):
        raise context.error("clip_param wants min and max")
    return context.op("Clip", x, context.scalar(message.get("min")), context.scalar(message.get("max")))


@layer("Power")
def power(context: LayerContext) -> ir.Value:
    """(shift + scale * x)^power; power 0 gives 1."""
    x, message = context.expect(), context.param("power_param")
    exponent, scale, shift = message.get("power"), message.get("scale"), message.get("shift")
    if exponent * scale == 0:
        require(exponent == 0 or shift > 0 or (shift == 0 and exponent > 0), f"{shift} to the power {exponent}")
        return context.affine(x, 0.0, 1.0 if exponent == 0 else shift**exponent)
    y = context.affine(x, scale, shift)
    return y if exponent == 1 else context.op("Pow", y, context.scalar(exponent))


def _base(context: LayerContext, base: float) -> float:
    """The natural logarithm of a base (-1 stands for e)."""
    if base == -1:
        return 1.0
    if base <= 0:
        raise context.error(f"base {base} must be positive (or -1 for e)")
    return math.log(base)


@layer("Exp")
def exponential(context: LayerContext) -> ir.Value:
    """base^(shift + scale * x)."""
    x, message = context.expect(), context.param("exp_param")
    logarithm = _base(context, message.get("base"))
    return context.op("Exp", context.affine(x, logarithm * message.get("scale"), logarithm * message.get("shift")))


@layer("Log")
def logarithm(context: LayerContext) -> ir.Value:
    """The logarithm of shift + scale * x to that base."""
    x, message = context.expect(), context.param("log_param")
    base = _base(context, message.get("base"))
    if base == 0:
        raise context.error("base 1 has no logarithm")
    y = context.op("Log", context.affine(x, message.get("scale"), message.get("shift")))
    return context.affine(y, 1 / base, 0.0)


@layer("Threshold")
def threshold(context: LayerContext) -> ir.Value:
    """1 where x is greater than the threshold, else 0."""
    limit = context.scalar(context.param("threshold_param").get("threshold"))
    return context.op("Cast", context.op("Greater", context.expect(), limit), to=int(ir.DataType.FLOAT))


@layer("Dropout")
def dropout(context: LayerContext) -> ir.Value:
    """Nothing at inference; kept, so that the converted net can be trained."""
    ratio = context.param("dropout_param").get("dropout_ratio")
    if not 0 <= ratio < 1:
        raise context.error(f"dropout_ratio {ratio} is not between 0 and 1")
    return context.op("Dropout", context.expect(), context.scalar(ratio))


@layer("Softmax")
def softmax(context: LayerContext) -> ir.Value:
    x = context.expect()
    axis = context.axis(context.param("softmax_param").get("axis"), len(context.shape(x)))
    return context.op("Softmax", x, axis=axis)
