"""Layers that change the size of the planes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .context import LayerContext, require
from .registry import layer


@layer("Upsample")
def upsample(context: LayerContext) -> ir.Value:
    """Every value ``scale`` times along height and width."""
    message = context.param("upsample_param")
    require(
        len(context.bottoms) == 1,
        "it takes pooling positions (SegNet's unpooling), which only the plain nearest Upsample is not",
        "cut the net before it with --output",
    )
    spelt = [
        name
        for name in ("scale_h", "scale_w", "pad_out_h", "pad_out_w", "upsample_h", "upsample_w")
        if message.has(name)
    ]
    require(not spelt, f"{', '.join(spelt)} of a private fork", "scale alone is understood")
    x = context.expect(rank=4)
    scale = message.get("scale")
    require(message.get("dims_num") == 4, f"dims_num {message.get('dims_num')}", "only 4 is understood")
    if scale < 1:
        raise context.error(f"scale {scale} must be positive")
    attributes = dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return context.op("Resize", x, None, context.constant([1, 1, scale, scale], "float32"), **attributes)


@layer("Interp")
def interp(context: LayerContext) -> ir.Value:
    """Bilinear with aligned corners, after a negative pad has cut the edges (DeepLab, PSPNet)."""
    x = context.expect(rank=4)
    message, (height, width) = context.param("interp_param"), context.shape(x)[2:]
    begin, end = message.get("pad_beg"), message.get("pad_end")
    if begin > 0 or end > 0:
        raise context.error("pad_beg and pad_end must not be positive")
    height, width = height + begin + end, width + begin + end
    if min(height, width) < 1:
        raise context.error(f"pad_beg {begin} and pad_end {end} leave nothing of the bottom")
    if begin or end:
        edges = ([-begin, -begin], [height - begin, width - begin], [2, 3])
        x = context.op("Slice", x, *map(context.constant, edges))
    target = _interp_size(context, height, width)
    if target == (height, width):
        return context.op("Identity", x)
    shape = context.shape(x)
    attributes = dict(mode="linear", coordinate_transformation_mode="align_corners")
    return context.op("Resize", x, None, None, context.constant([*shape[:2], *target]), **attributes)


@layer("BilinearInterpolate")
def bilinear_interpolate(context: LayerContext) -> ir.Value:
    """Bilinear to a size or by a factor, with corners aligned or half a pixel off and clamped at the edges."""
    x = context.expect(rank=4)
    message, shape = context.param("bilinear_interpolate_param"), context.shape(x)
    sized = message.has("dst_h") or message.has("dst_w")
    if sized == message.has("scale_factor"):
        raise context.error("wants either dst_h and dst_w or scale_factor")
    if sized:
        target = message.get("dst_h") or shape[2], message.get("dst_w") or shape[3]
    else:
        target = tuple(int(np.float32(side) * np.float32(message.get("scale_factor"))) for side in shape[2:])
    require(min(*target, *shape[2:]) > 1, f"from {shape[2:]} to {target}: Caffe reads beyond a side of 1")
    mode = "align_corners" if message.get("align_corners") else "half_pixel"
    sizes = context.constant([*shape[:2], *target])
    return context.op("Resize", x, None, None, sizes, mode="linear", coordinate_transformation_mode=mode)


@layer("PixelShuffle")
def pixel_shuffle(context: LayerContext) -> ir.Value:
    """Channels (C, dy, dx) spread over the plane."""
    x = context.expect(rank=4)
    factor = context.param("pixelshuffle_param").get("upscale_factor") or 0
    if factor < 1 or context.shape(x)[1] % (factor * factor):
        raise context.error(f"upscale_factor {factor} does not fit {context.shape(x)[1]} channels")
    return context.op("DepthToSpace", x, blocksize=factor, mode="CRD")


@layer("Pad")
def pad(context: LayerContext) -> ir.Value:
    """Rows and columns added by a constant, by repeating the edge, or mirrored without the edge."""
    x, message = context.expect(rank=4), context.param("pad_param")
    up, down, left, right = (message.get(f"pad_{side}") for side in "udlr")
    if min(up, down, left, right) < 0:
        raise context.error("pads must not be negative")
    mode = {"CONSTANT": "constant", "REPLICATE": "edge", "REFLECT": "reflect"}[message.get("pad_type")]
    sides = context.shape(x)[2:]
    if mode == "reflect" and (max(up, down) >= sides[0] or max(left, right) >= sides[1]):
        raise context.error(f"its pads mirror more than a plane of {sides} holds")
    pads = context.constant([0, 0, up, left, 0, 0, down, right])
    value = [context.scalar(message.get("pad_value"))] if mode == "constant" else []
    return context.op("Pad", x, pads, *value, mode=mode)


def _interp_size(context: LayerContext, height: int, width: int) -> tuple[int, int]:
    """The output size: given, or first shrunk, then zoomed."""
    message = context.param("interp_param")
    shrink, zoom = message.get("shrink_factor"), message.get("zoom_factor")
    if message.has("height") and message.has("width"):
        target = message.get("height"), message.get("width")
    elif message.has("shrink_factor") or message.has("zoom_factor"):
        if min(shrink, zoom) < 1:
            raise context.error(f"shrink_factor {shrink} and zoom_factor {zoom} must be positive")
        shrunk = ((length - 1) // shrink + 1 for length in (height, width))
        target = tuple(length + (length - 1) * (zoom - 1) for length in shrunk)
    else:
        raise context.error("gives neither height and width nor shrink_factor or zoom_factor")
    if min(target) < 1:
        raise context.error(f"its output size {target} must be positive")
    return target
