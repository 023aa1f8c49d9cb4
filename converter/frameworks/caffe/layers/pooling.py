"""Pooling and the spatial pyramid."""

from __future__ import annotations

import onnx_ir as ir

from ..message import Message
from .context import LayerContext, require
from .convolution import Window
from .registry import Refusal, layer


def read_window(context: LayerContext, message: Message) -> Window:
    """The window of a PoolingParameter."""

    def pair(name: str, height: str, width: str) -> tuple[int, int]:
        if not (message.has(height) or message.has(width)):
            size = message.get(name)
            if size is None:
                raise context.error(f"has neither {name} nor {height} and {width}")
            return size, size
        if message.has(name) or not (message.has(height) and message.has(width)):
            raise context.error(f"give either {name} or both {height} and {width}")
        return message.get(height), message.get(width)

    kernel = pair("kernel_size", "kernel_h", "kernel_w")
    stride, pad = pair("stride", "stride_h", "stride_w"), pair("pad", "pad_h", "pad_w")
    return Window(kernel, stride, pad, (1, 1))


def pool(
    context: LayerContext, x: ir.Value, method: str, window: Window, ceil: bool = True, mask: bool = False
) -> list[ir.Value]:
    """One pooling with Caffe's output size; with ``mask`` also the position of each maximum in its plane, as floats."""
    shape = context.shape(x)
    if min(*window.kernel, *window.stride) < 1:
        raise context.error(f"kernel {window.kernel} and stride {window.stride} must be positive")
    if any(pad >= kernel for pad, kernel in zip(window.pad, window.kernel, strict=True)):
        raise context.error(f"pad {window.pad} must be smaller than the kernel {window.kernel}")
    size = _output_size(context, shape[2:], window, ceil)
    attributes = dict(kernel_shape=window.kernel, strides=window.stride, pads=window.pad * 2, ceil_mode=int(ceil))
    if method == "AVE":
        results = [context.op("AveragePool", x, count_include_pad=1, **attributes)]
    elif mask:
        pooled, indices = context.op("MaxPool", x, outputs=2, **attributes)
        plane = context.constant(shape[2] * shape[3])
        results = [pooled, context.op("Cast", context.op("Mod", indices, plane), to=int(ir.DataType.FLOAT))]
    else:
        results = [context.op("MaxPool", x, **attributes)]
    found = context.shape(results[0])[2:]
    require(found == size, f"Caffe's output of {size} where every window after the edge is dropped gives {found}")
    return results


def _output_size(context: LayerContext, size: tuple[int, ...], window: Window, ceil: bool) -> tuple[int, ...]:
    """Caffe's rule: round up, then, only where some pad is set, drop a window that starts beyond input and pad."""
    outputs = []
    for length, kernel, stride, pad in zip(size, window.kernel, window.stride, window.pad, strict=True):
        span = length + 2 * pad - kernel
        count = (-(-span // stride) if ceil else span // stride) + 1
        if any(window.pad) and (count - 1) * stride >= length + pad:
            count -= 1
        if count < 1:
            raise context.error(f"kernel {window.kernel} does not fit into its bottom of size {size}")
        if (count - 1) * stride >= length + pad:
            raise Refusal(
                f"kernel {window.kernel} with stride {window.stride} on {size}: the last window lies outside the "
                "input, where Caffe gives -FLT_MAX or NaN",
                "give the pooling a pad, or another input size",
            )
        outputs.append(count)
    return tuple(outputs)


def _refuse_stochastic(method: str) -> None:
    require(
        method != "STOCHASTIC",
        "STOCHASTIC pooling draws at random in training and has no counterpart in other frameworks",
        "train with AVE or MAX pooling",
    )


@layer("Pooling")
def pooling(context: LayerContext) -> list[ir.Value] | ir.Value:
    """MAX and AVE pooling, over windows or the whole plane; a second top of MAX holds the positions."""
    message = context.param("pooling_param")
    method = message.get("pool")
    _refuse_stochastic(method)
    x = context.expect(rank=4, tops=(1, 2) if method == "MAX" else 1)
    ceil = message.get("ceil_mode") and message.get("round_mode") == "CEIL"
    if not message.get("global_pooling"):
        return pool(context, x, method, read_window(context, message), ceil, mask=context.count == 2)
    if any(message.has(name) for name in ("kernel_size", "kernel_h", "kernel_w")):
        raise context.error("global_pooling and a kernel size exclude each other")
    given = {message.get(name) for name in ("pad", "pad_h", "pad_w")} | {message.get("stride") - 1}
    if given != {0} or (message.get("stride_h") or 1, message.get("stride_w") or 1) != (1, 1):
        raise context.error("global_pooling wants pad 0 and stride 1")
    if context.count == 2:
        plane = Window(context.shape(x)[2:], (1, 1), (0, 0), (1, 1))
        return pool(context, x, method, plane, mask=True)
    return context.op("GlobalMaxPool" if method == "MAX" else "GlobalAveragePool", x)


@layer("SPP")
def spatial_pyramid(context: LayerContext) -> ir.Value:
    """Level i pools into 2^i x 2^i bins, each level with a kernel and pad of its own; then flattened and joined."""
    x = context.expect(rank=4)
    message = context.param("spp_param")
    method, height = message.get("pool"), message.get("pyramid_height") or 0
    _refuse_stochastic(method)
    if not 1 <= height <= 16:
        raise context.error(f"pyramid_height {height} is not between 1 and 16")
    levels = []
    for level in range(height):
        bins, size = 2**level, context.shape(x)[2:]
        kernel = tuple(-(-length // bins) for length in size)
        pad = tuple((k * bins - length + 1) // 2 for k, length in zip(kernel, size, strict=True))
        levels += pool(context, x, method, Window(kernel, kernel, pad, (1, 1)))
    if height == 1:
        return levels[0]
    return context.op("Concat", *(context.op("Flatten", level, axis=1) for level in levels), axis=1)
