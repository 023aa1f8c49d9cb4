"""Convolution, Deconvolution, Im2col: windows over the axes behind the channel axis."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ..message import Message
from ..parameters import Parameter
from .context import LayerContext, constant_array, require
from .registry import layer


class Window(NamedTuple):
    """Per spatial axis: kernel, stride, pad (the same at both ends) and dilation."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    def attributes(self) -> dict[str, tuple[int, ...]]:
        """As ONNX spells them."""
        return {"strides": self.stride, "pads": self.pad * 2, "dilations": self.dilation}


def read_window(context: LayerContext, message: Message, axes: int) -> Window:
    """The window of a ConvolutionParameter over ``axes`` spatial axes, by Caffe's rules for its three spellings."""

    def repeated(name: str, default: int | None) -> tuple[int, ...]:
        values = message.all(name)
        if len(values) == 1 or (not values and default is not None):
            return (values[0] if values else default,) * axes
        if len(values) != axes:
            raise context.error(f"has {len(values)} values of {name} for {axes} spatial axes")
        return tuple(values)

    def spelt(name: str, height: str, width: str, default: int | None) -> tuple[int, ...]:
        if not (message.has(height) or message.has(width)):
            return repeated(name, default)
        if axes != 2 or message.all(name):
            raise context.error(f"{height} and {width} are for two spatial axes and exclude {name}")
        return (message.get(height) or 0, message.get(width) or 0)

    window = Window(
        spelt("kernel_size", "kernel_h", "kernel_w", None),
        spelt("stride", "stride_h", "stride_w", 1),
        spelt("pad", "pad_h", "pad_w", 0),
        repeated("dilation", 1),
    )
    if not all(min(sizes) > 0 for sizes in (window.kernel, window.stride, window.dilation)):
        raise context.error(
            f"kernel {window.kernel}, stride {window.stride} and dilation {window.dilation} must be positive"
        )
    return window


def _common(context: LayerContext) -> tuple[Message, Window, int, int, int]:
    """Checks shared by both directions: message, window, channels, num_output, group."""
    first = context.expect((1, None), (1, None))
    if len(context.bottoms) != context.count:
        raise context.error(f"has {len(context.bottoms)} bottoms and {context.count} tops")
    message, shape = context.param("convolution_param"), context.shape(first)
    axis = context.axis(message.get("axis"), len(shape))
    require(axis == 1, f"axis {axis} as the channel axis", "only axis 1 can be converted")
    require(len(shape) > 2, f"no spatial axis in its bottom of shape {shape}")
    if any(context.shape(other) != shape for other in context.bottoms):
        raise context.error("its bottoms have different shapes")
    outputs, group = message.get("num_output") or 0, message.get("group")
    if outputs < 1 or group < 1:
        raise context.error(f"num_output {outputs} and group {group} must be positive")
    return message, read_window(context, message, len(shape) - 2), shape[1], outputs, group


def _weights(context: LayerContext, message: Message, shape: tuple[int, ...], outputs: int) -> list[ir.Value]:
    wanted = [Parameter("weight", shape, message.get("weight_filler"))]
    if message.get("bias_term"):
        wanted.append(Parameter("bias", (outputs,), message.get("bias_filler")))
    return context.weights(*wanted)


@layer("Convolution", "DepthwiseConvolution", "ConvolutionDepthwise")
def convolution(context: LayerContext) -> list[ir.Value]:
    """Cross-correlation; the depthwise types of forks are it with one group per channel."""
    message, window, channels, outputs, group = _common(context)
    if context.layer.type != "Convolution" and not message.has("group"):
        group = channels
    if channels % group or outputs % group:
        raise context.error(f"group {group} does not divide {channels} channels and {outputs} outputs")
    weights = _weights(context, message, (outputs, channels // group, *window.kernel), outputs)
    return [context.op("Conv", x, *weights, group=group, **window.attributes()) for x in context.bottoms]


@layer("Deconvolution")
def deconvolution(context: LayerContext) -> list[ir.Value]:
    """Transposed convolution; the weight is (channels, num_output/group, kernel...)."""
    message, window, channels, outputs, group = _common(context)
    if channels % group or outputs % group:
        raise context.error(f"group {group} does not divide {channels} channels and {outputs} outputs")
    weights = _weights(context, message, (channels, outputs // group, *window.kernel), outputs)
    return [context.op("ConvTranspose", x, *weights, group=group, **window.attributes()) for x in context.bottoms]


@layer("Im2col")
def im2col(context: LayerContext) -> ir.Value:
    """Every window's values as channels (channel, ky, kx): a grouped convolution with one-hot kernels."""
    x = context.expect(rank=(3, None))
    message, shape = context.param("convolution_param"), context.shape(x)
    require(context.axis(message.get("axis"), len(shape)) == 1, "a channel axis other than 1")
    window = read_window(context, message, len(shape) - 2)
    taps = int(np.prod(window.kernel, dtype=object))
    require(shape[1] * taps * taps < 2**26, f"a window of {taps} values over {shape[1]} channels")
    one_hot = np.tile(
        np.eye(taps, dtype=np.float32).reshape(taps, 1, *window.kernel), (shape[1],) + (1,) * (len(shape) - 1)
    )
    return context.op("Conv", x, constant_array(context, one_hot, "weight"), group=shape[1], **window.attributes())
