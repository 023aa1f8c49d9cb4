"""Layers that move values about: joined, cut, reshaped, reordered, repeated, selected."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from .context import LayerContext, require
from .registry import layer


def _legacy_axis(context: LayerContext, message: object, old: str, rank: int) -> int:
    """``axis``, or the older field that means the same."""
    if message.has(old):
        if message.has("axis"):
            raise context.error(f"axis and {old} exclude each other")
        return context.axis(message.get(old), rank)
    return context.axis(message.get("axis"), rank)


@layer("Concat")
def concat(context: LayerContext) -> ir.Value:
    first = context.expect(bottoms=(1, None))
    axis = _legacy_axis(context, context.param("concat_param"), "concat_dim", len(context.shape(first)))
    return (
        context.op("Identity", first)
        if len(context.bottoms) == 1
        else context.op("Concat", *context.bottoms, axis=axis)
    )


@layer("Slice")
def slice_(context: LayerContext) -> list[ir.Value]:
    """One top per piece between the slice points; equal pieces without any."""
    x = context.expect(tops=(1, None))
    message, shape, count = context.param("slice_param"), context.shape(x), context.count
    axis = _legacy_axis(context, message, "slice_dim", len(shape))
    points = message.all("slice_point")
    if not points:
        if shape[axis] % count:
            raise context.error(f"axis {axis} of {shape} does not divide into {count} equal tops")
        points = range(shape[axis] // count, shape[axis], shape[axis] // count)
    edges = [0, *points, shape[axis]]
    sizes = [after - before for before, after in zip(edges, edges[1:], strict=False)]
    if len(sizes) != count or min(sizes) < 1:
        raise context.error(f"slice points {list(points)} do not cut axis {axis} of {shape} into {count} tops")
    if count == 1:
        return [context.op("Identity", x)]
    return list(context.op("Split", x, context.constant(sizes), outputs=count, axis=axis))


@layer("Split")
def split(context: LayerContext) -> list[ir.Value]:
    """The same blob under several names."""
    x = context.expect(tops=(1, None))
    return [context.op("Identity", x) for _ in range(context.count)]


@layer("Crop")
def crop(context: LayerContext) -> ir.Value:
    """The first bottom cut to the second's size from ``axis`` on, at one offset for all axes or one each."""
    x = context.expect(bottoms=2)
    message, shape, size = context.param("crop_param"), context.shape(x), context.shape(context.bottoms[1])
    axis = context.axis(message.get("axis"), len(shape))
    if len(size) != len(shape):
        raise context.error(f"its bottoms have shapes {shape} and {size}")
    axes, offsets = range(axis, len(shape)), message.all("offset") or [0]
    if len(offsets) not in (1, len(axes)):
        raise context.error(f"has {len(offsets)} offsets for {len(axes)} axes")
    starts = offsets * len(axes) if len(offsets) == 1 else offsets
    ends = [start + size[index] for start, index in zip(starts, axes, strict=True)]
    if any(end > shape[index] for end, index in zip(ends, axes, strict=True)):
        raise context.error(f"offset {offsets} and size {size} reach beyond {shape}")
    return context.op("Slice", x, *(context.constant(list(numbers)) for numbers in (starts, ends, axes)))


@layer("Flatten")
def flatten(context: LayerContext) -> ir.Value:
    """The axes ``axis`` to ``end_axis`` become one."""
    x = context.expect()
    message, shape = context.param("flatten_param"), context.shape(x)
    axis, end = (context.axis(message.get(name), len(shape)) for name in ("axis", "end_axis"))
    if end < axis:
        raise context.error(f"end_axis {end} comes before axis {axis}")
    if axis == 1 and end == len(shape) - 1:
        return context.op("Flatten", x, axis=1)
    return context.op("Reshape", x, context.constant([0] * axis + [-1, *shape[end + 1 :]]))


@layer("Reshape")
def reshape(context: LayerContext) -> ir.Value:
    """``shape`` replaces ``num_axes`` axes from ``axis`` on; 0 copies the axis at that place, -1 takes what is left.

    A negative axis counts from behind the last one, so that -1 appends.
    """
    x = context.expect()
    message, shape = context.param("reshape_param"), context.shape(x)
    rank, dims, number = len(shape), list(message.get("shape").all("dim")), message.get("num_axes")
    start = message.get("axis") + (rank + 1 if message.get("axis") < 0 else 0)
    end = rank if number == -1 else start + number
    if not 0 <= start <= end <= rank or number < -1:
        raise context.error(f"axis {message.get('axis')} and num_axes {number} do not fit a blob of shape {shape}")
    if min(dims, default=0) < -1 or dims.count(-1) > 1:
        raise context.error(f"shape {dims} must hold sizes, 0 (copy) or a single -1 (infer)")
    if any(size == 0 and start + index >= rank for index, size in enumerate(dims)):
        raise context.error(f"a 0 of shape {dims} copies an axis that {shape} does not have")
    rest, replaced = shape[end:], prod(shape[start:end])
    explicit = prod(shape[start + index] if size == 0 else size for index, size in enumerate(dims) if size != -1)
    if (-1 in dims and (explicit == 0 or replaced % explicit)) or (-1 not in dims and explicit != replaced):
        raise context.error(f"shape {dims} does not hold the {replaced} values of axes {start} to {end} of {shape}")
    return context.op("Reshape", x, context.constant([0] * start + dims + list(rest)))


@layer("Tile")
def tile(context: LayerContext) -> ir.Value:
    """The blob repeated ``tiles`` times along ``axis``."""
    x, message = context.expect(), context.param("tile_param")
    rank, tiles = len(context.shape(x)), message.get("tiles") or 0
    axis = context.axis(message.get("axis"), rank)
    if tiles < 1:
        raise context.error("tiles must be positive")
    return context.op("Tile", x, context.constant([tiles if index == axis else 1 for index in range(rank)]))


@layer("BatchReindex")
def batch_reindex(context: LayerContext) -> ir.Value:
    """The images that the second bottom (whole numbers as floats) lists, in its order."""
    x = context.expect(bottoms=2)
    indices = context.bottoms[1]
    if len(context.shape(indices)) != 1:
        raise context.error(f"its second bottom has shape {context.shape(indices)}, Caffe wants one axis")
    return context.op("Gather", x, context.op("Cast", indices, to=int(ir.DataType.INT64)), axis=0)


@layer("Filter")
def filter_(context: LayerContext) -> list[ir.Value]:
    """Of every bottom but the last the images for which the last one, the selector, is not 0."""
    context.expect(bottoms=(2, None), tops=(1, None))
    *inputs, selector = context.bottoms
    size = context.shape(selector)
    if context.count != len(inputs) or prod(size) != size[0] or any(context.shape(x)[0] != size[0] for x in inputs):
        raise context.error("wants one top per bottom before the selector, one selector value per image")
    flat = selector if len(size) == 1 else context.op("Reshape", selector, context.constant([-1]))
    chosen = context.op("Cast", flat, to=int(ir.DataType.BOOL))
    return [context.op("Compress", x, chosen, axis=0) for x in inputs]


@layer("Permute")
def permute(context: LayerContext) -> ir.Value:
    """Axes in another order; those not named follow in theirs."""
    x = context.expect()
    order, rank = list(context.param("permute_param").all("order")), len(context.shape(x))
    if len(set(order)) != len(order) or any(axis >= rank for axis in order):
        raise context.error(f"order {order} does not fit a blob of {rank} axes")
    order += [axis for axis in range(rank) if axis not in order]
    return context.op("Transpose", x, perm=order)


@layer("Unsqueeze")
def unsqueeze(context: LayerContext) -> ir.Value:
    """One more axis of size 1 at ``dim``; -1 is behind the last."""
    x, dim = context.expect(), context.param("unsqueeze_param").get("dim")
    if dim is None:
        raise context.error("dim must be given")
    return context.op("Unsqueeze", x, context.constant([context.axis(dim, len(context.shape(x)) + 1)]))


@layer("ShuffleChannel")
def shuffle_channel(context: LayerContext) -> ir.Value:
    """Channels (group, C/group) read as (C/group, group) (ShuffleNet)."""
    x = context.expect(rank=4)
    group, (_, channels, height, width) = context.param("shuffle_channel_param").get("group"), context.shape(x)
    require(group > 0 and channels % group == 0, f"group {group} does not divide {channels} channels")
    apart = context.op("Reshape", x, context.constant([0, group, channels // group, height, width]))
    turned = context.op("Transpose", apart, perm=(0, 2, 1, 3, 4))
    return context.op("Reshape", turned, context.constant([0, channels, height, width]))
