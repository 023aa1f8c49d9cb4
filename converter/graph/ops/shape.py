"""Operators that move, select or repeat values: exact in any precision."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from converter.graph.ops.common import (
    Array,
    Arrays,
    Infos,
    broadcast,
    constant,
    exact,
    hollow,
    integers,
    normal_axes,
    normal_axis,
    optional,
    same,
)
from converter.graph.ops.registry import Attributes, Inferred, Op, register


def _view(name: str, apply: Callable[[Attributes, Array, list[tuple[int, ...] | None]], Array], *operands: str) -> None:
    """Register an operator whose result is a view of its first input; the others are the small integer ``operands``.

    Shapes are inferred by doing it to an array that takes no memory.
    """

    def infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
        numbers = [constant(inputs, index + 1, what) for index, what in enumerate(operands)]
        return [Inferred(apply(attributes, hollow(inputs[0]), numbers).shape, inputs[0].dtype)]

    def evaluate(attributes: Attributes, inputs: Arrays) -> list[Array]:
        return [apply(attributes, inputs[0], [integers(inputs, index + 1) for index in range(len(operands))])]

    register(Op(name, "", infer, evaluate, exact))


def _transpose(attributes: Attributes, x: Array, _: list[tuple[int, ...] | None]) -> Array:
    order = attributes.get("perm", tuple(range(x.ndim))[::-1])
    if len(normal_axes(order, x.ndim)) != x.ndim:
        raise ValueError(f"perm {tuple(order)} does not fit the input {x.shape}")
    return x.transpose(order)


def _slice(attributes: Attributes, x: Array, operands: list[tuple[int, ...] | None]) -> Array:
    starts, ends, axes, steps = operands
    axes = normal_axes(range(len(starts)) if axes is None else axes, x.ndim)
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError("starts, ends, axes and steps must have one number each per axis, steps not 0")
    region = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        region[axis] = slice(start, end, step)
    return x[tuple(region)]


def _squeeze(attributes: Attributes, x: Array, operands: list[tuple[int, ...] | None]) -> Array:
    axes = operands[0]
    axes = [axis for axis, size in enumerate(x.shape) if size == 1] if axes is None else normal_axes(axes, x.ndim)
    if any(x.shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {tuple(axes)} of {x.shape} are not all of size 1")
    return x.squeeze(tuple(axes))


def _unsqueeze(attributes: Attributes, x: Array, operands: list[tuple[int, ...] | None]) -> Array:
    return np.expand_dims(x, normal_axes(operands[0], x.ndim + len(operands[0])))


def _expand(attributes: Attributes, x: Array, operands: list[tuple[int, ...] | None]) -> Array:
    return np.broadcast_to(x, broadcast(x.shape, operands[0]))


_view("Identity", lambda attributes, x, operands: x)
_view("Transpose", _transpose)
_view("Slice", _slice, "starts", "ends", "axes", "steps")
_view("Squeeze", _squeeze, "axes")
_view("Unsqueeze", _unsqueeze, "axes")
_view("Expand", _expand, "shape")
register(Op("Dropout", "", same, lambda a, i: [i[0]], exact))


def _reshaped(attributes: Attributes, shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """0 copies the size at its place, one -1 takes what is left."""
    if not attributes.get("allowzero", 0):
        if any(size == 0 and axis >= len(shape) for axis, size in enumerate(target)):
            raise ValueError(f"shape {target} copies an axis that the input {shape} lacks")
        target = tuple(shape[axis] if size == 0 else size for axis, size in enumerate(target))
    known, total = prod(size for size in target if size != -1), prod(shape)
    if min(target, default=0) < -1 or target.count(-1) > 1:
        raise ValueError(f"shape {target} cannot be reshaped to")
    if -1 in target and known and total % known == 0:
        target = tuple(total // known if size == -1 else size for size in target)
    if prod(target) != total or -1 in target:
        raise ValueError(f"{total} values of shape {shape} do not fit into shape {target}")
    return target


def _reshape_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    return [Inferred(_reshaped(attributes, inputs[0].shape, constant(inputs, 1, "shape")), inputs[0].dtype)]


def _reshape(attributes: Attributes, inputs: Arrays) -> list[Array]:
    return [inputs[0].reshape(_reshaped(attributes, inputs[0].shape, integers(inputs, 1)))]


def _flattened(attributes: Attributes, shape: tuple[int, ...]) -> tuple[int, int]:
    axis = attributes.get("axis", 1)
    axis = axis if axis == len(shape) else normal_axis(axis, len(shape))
    return prod(shape[:axis]), prod(shape[axis:])


register(Op("Reshape", "", _reshape_infer, _reshape, exact))
register(
    Op(
        "Flatten",
        "",
        lambda a, i: [Inferred(_flattened(a, i[0].shape), i[0].dtype)],
        lambda a, i: [i[0].reshape(_flattened(a, i[0].shape))],
        exact,
    )
)


def _concat_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    first = inputs[0].shape
    axis = normal_axis(attributes["axis"], len(first))
    for info in inputs[1:]:
        if info.shape[:axis] + info.shape[axis + 1 :] != first[:axis] + first[axis + 1 :] or not info.shape:
            raise ValueError(f"shapes {first} and {info.shape} cannot be joined along axis {axis}")
    return [Inferred((*first[:axis], sum(info.shape[axis] for info in inputs), *first[axis + 1 :]), inputs[0].dtype)]


def _pieces(attributes: Attributes, shape: tuple[int, ...], sizes: tuple[int, ...] | None) -> tuple[int, ...]:
    """Sizes of the parts along the axis: as given, or ``num_outputs`` equal ones (the last may be smaller)."""
    size = shape[normal_axis(attributes.get("axis", 0), len(shape))]
    if sizes is None:
        count = attributes.get("num_outputs", 0)
        if not 1 <= count <= max(size, 1):
            raise ValueError(f"an axis of {size} cannot be split into {count} parts")
        part = -(-size // count)
        sizes = (part,) * (count - 1) + (size - part * (count - 1),)
    if sum(sizes) != size or min(sizes) < 0:
        raise ValueError(f"parts of {sizes} do not make up an axis of {size}")
    return sizes


def _split_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    x = inputs[0]
    sizes = _pieces(attributes, x.shape, constant(inputs, 1, "sizes"))
    axis = normal_axis(attributes.get("axis", 0), len(x.shape))
    return [Inferred((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype) for size in sizes]


def _split(attributes: Attributes, inputs: Arrays) -> list[Array]:
    sizes = _pieces(attributes, inputs[0].shape, integers(inputs, 1))
    return np.split(inputs[0], np.cumsum(sizes)[:-1], attributes.get("axis", 0))


register(Op("Concat", "", _concat_infer, lambda a, i: [np.concatenate(i, a["axis"])], exact))
register(Op("Split", "", _split_infer, _split, exact))


def _tile_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    shape, repeats = inputs[0].shape, constant(inputs, 1, "repeats")
    if len(repeats) != len(shape) or min(repeats, default=0) < 0:
        raise ValueError(f"repeats {repeats} do not fit the input {shape}")
    return [Inferred(tuple(size * times for size, times in zip(shape, repeats, strict=True)), inputs[0].dtype)]


register(Op("Tile", "", _tile_infer, lambda a, i: [np.tile(i[0], integers(i, 1))], exact))


def _margins(shape: tuple[int, ...], pads: tuple[int, ...], axes: tuple[int, ...] | None) -> list[tuple[int, int]]:
    """(before, after) for every axis."""
    axes = normal_axes(range(len(shape)) if axes is None else axes, len(shape))
    if len(pads) != 2 * len(axes):
        raise ValueError(f"{len(axes)} axes need {2 * len(axes)} pads, not {len(pads)}")
    margins = [(0, 0)] * len(shape)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        margins[axis] = (before, after)
    return margins


def _pad_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    shape, mode = inputs[0].shape, attributes.get("mode", "constant")
    margins = _margins(shape, constant(inputs, 1, "pads"), constant(inputs, 3, "axes"))
    if mode not in ("constant", "reflect", "edge"):
        raise ValueError(f'Pad with mode "{mode}" is not understood')
    if mode == "reflect" and any(max(margin) >= max(size, 1) for margin, size in zip(margins, shape, strict=True)):
        raise ValueError(f"an axis of {shape} cannot be mirrored by as much as {margins}")
    sizes = tuple(size + sum(margin) for size, margin in zip(shape, margins, strict=True))
    if min(sizes, default=1) < 0:
        raise ValueError(f"pads {margins} remove more than {shape} has")
    return [Inferred(sizes, inputs[0].dtype)]


def _pad(attributes: Attributes, inputs: Arrays) -> list[Array]:
    """Negative pads remove."""
    x, fill, mode = inputs[0], optional(inputs, 2), attributes.get("mode", "constant")
    margins = _margins(x.shape, integers(inputs, 1), integers(inputs, 3))
    kept = tuple(slice(max(0, -a), size - max(0, -b)) for (a, b), size in zip(margins, x.shape, strict=True))
    added = [(max(0, a), max(0, b)) for a, b in margins]
    if mode != "constant":
        return [np.pad(x[kept], added, mode)]
    return [np.pad(x[kept], added, constant_values=0 if fill is None else fill.item())]


register(Op("Pad", "", _pad_infer, _pad, exact))


def _gather_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    shape, indices = inputs[0].shape, inputs[1]
    axis = normal_axis(attributes.get("axis", 0), len(shape))
    if indices.constant is not None and np.any((indices.constant < -shape[axis]) | (indices.constant >= shape[axis])):
        raise ValueError(f"an index is outside the {shape[axis]} entries of axis {axis}")
    return [Inferred((*shape[:axis], *indices.shape, *shape[axis + 1 :]), inputs[0].dtype)]


def _compress_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    """The upper bound: every entry kept."""
    shape = inputs[0].shape
    if "axis" not in attributes:
        return [Inferred((min(prod(shape), prod(inputs[1].shape)),), inputs[0].dtype)]
    axis = normal_axis(attributes["axis"], len(shape))
    return [Inferred((*shape[:axis], min(shape[axis], *inputs[1].shape), *shape[axis + 1 :]), inputs[0].dtype)]


register(Op("Gather", "", _gather_infer, lambda a, i: [np.take(i[0], i[1], a.get("axis", 0))], exact))
register(Op("Compress", "", _compress_infer, lambda a, i: [np.compress(i[1], i[0], a.get("axis"))], exact))


def _depth_to_space_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    (samples, channels, height, width), block = _image(inputs[0].shape), attributes["blocksize"]
    if block < 1 or channels % block**2:
        raise ValueError(f"{channels} channels cannot be spread over blocks of {block}x{block}")
    return [Inferred((samples, channels // block**2, height * block, width * block), inputs[0].dtype)]


def _depth_to_space(attributes: Attributes, inputs: Arrays) -> list[Array]:
    (n, c, h, w), b = inputs[0].shape, attributes["blocksize"]
    if attributes.get("mode", "DCR") == "DCR":
        blocks = inputs[0].reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = inputs[0].reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return [blocks.reshape(n, c // b**2, h * b, w * b)]


def _space_to_depth_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    (samples, channels, height, width), block = _image(inputs[0].shape), attributes["blocksize"]
    if block < 1 or height % block or width % block:
        raise ValueError(f"an image of {height}x{width} cannot be cut into blocks of {block}x{block}")
    return [Inferred((samples, channels * block**2, height // block, width // block), inputs[0].dtype)]


def _space_to_depth(attributes: Attributes, inputs: Arrays) -> list[Array]:
    (n, c, h, w), b = inputs[0].shape, attributes["blocksize"]
    blocks = inputs[0].reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return [blocks.reshape(n, c * b**2, h // b, w // b)]


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 4:
        raise ValueError(f"needs a 4-D input, not {shape}")
    return shape


register(Op("DepthToSpace", "", _depth_to_space_infer, _depth_to_space, exact))
register(Op("SpaceToDepth", "", _space_to_depth_infer, _space_to_depth, exact))
