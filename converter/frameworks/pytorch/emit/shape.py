"""Operators that only move values: written inline, without baking in the batch where the source did not."""

from __future__ import annotations

import numpy as np

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Module, Node, Weight, call, emits
from converter.frameworks.pytorch.emit.convolution import pad_order
from converter.graph.ops.common import normal_axes, normal_axis


@emits("Identity")
def identity(node: Node) -> Code:
    return Code("{0}")


@emits("Concat")
def concat(node: Node) -> Code:
    parts = ", ".join(f"{{{index}}}" for index in range(len(node.inputs)))
    comma = "," if len(node.inputs) == 1 else ""
    return Code(f"torch.cat(({parts}{comma}), dim={node.attributes['axis']})")


@emits("Split")
def split(node: Node) -> Code:
    axis, count = node.get("axis", 0), len(node.ir.outputs)
    sizes = tuple(node.out_shape(index)[axis] for index in range(count))
    if count == 1:
        return Code("{0}")
    how = f"chunk({count}" if len(set(sizes)) == 1 else f"split({sizes}"
    return Code(f"{{0}}.{how}, dim={axis})", results=count)


@emits("Slice")
def slice_(node: Node) -> Code:
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes") or tuple(range(len(starts)))
    steps = node.integers(4, "steps") or (1,) * len(starts)
    shape = node.shape()
    region, flipped = [":"] * len(shape), []
    for axis, start, end, step in zip(normal_axes(axes, len(shape)), starts, ends, steps, strict=True):
        size = shape[axis]
        if step < 0:
            if slice(start, end, step).indices(size) != (size - 1, -1, -1):
                raise CannotEmit(f"a slice with step {step} that is not the whole axis reversed")
            flipped.append(axis)
            continue
        first = "" if start == 0 or start <= -size else str(start)
        # An end at or beyond the axis means "to the end", whatever the size of the image.
        last = "" if end >= size else str(end)
        region[axis] = f"{first}:{last}" + (f":{step}" if step != 1 else "")
    while region and region[-1] == ":":
        region.pop()
    picked = f"{{0}}[{', '.join(region)}]" if region else "{0}"
    return Code(picked + (f".flip({', '.join(map(str, flipped))})" if flipped else ""))


@emits("Flatten")
def flatten(node: Node) -> Code:
    rank = node.rank()
    axis = node.get("axis", 1)
    axis = axis if axis >= 0 else axis + rank
    if axis == 0:
        return Code("{0}.reshape(1, -1)")
    if axis == rank:
        return Code("{0}.reshape(-1, 1)")
    if rank == 2:
        return Code("{0}")
    return Code("{0}.flatten(1)" if axis == 1 else f"{{0}}.flatten({axis}).flatten(0, {axis - 1})")


@emits("Reshape")
def reshape(node: Node) -> Code:
    if node.get("allowzero", 0):
        raise CannotEmit("allowzero 1")
    target, shape = node.integers(1, "the shape"), node.shape()
    kept = 0
    while kept < min(len(target), len(shape)) and target[kept] == 0:
        kept += 1
    # Whatever follows the axes that stay is flattened into one, or one axis is folded out.
    if kept and target[kept:] == (-1,) and kept < len(shape):
        return Code(f"{{0}}.flatten({kept})" if len(shape) > kept + 1 else "{0}")
    if kept and 0 not in target[kept:] and len(shape) == kept + 1 and len(target) > kept:
        return Code(f"{{0}}.unflatten({kept}, {target[kept:]})")
    sizes = [f"{{0}}.shape[{axis}]" if size == 0 else str(size) for axis, size in enumerate(target)]
    return Code(f"{{0}}.reshape({', '.join(sizes) if sizes else '()'})")


@emits("Transpose")
def transpose(node: Node) -> Code:
    order = node.get("perm", tuple(range(node.rank()))[::-1])
    return Code(f"{{0}}.permute({', '.join(map(str, order))})" if len(order) else "{0}")


@emits("Squeeze")
def squeeze(node: Node) -> Code:
    axes = node.integers(1, "axes")
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(node.shape()) if size == 1)
    return Code(f"{{0}}.squeeze({axes[0] if len(axes) == 1 else axes})" if axes else "{0}")


@emits("Unsqueeze")
def unsqueeze(node: Node) -> Code:
    axes = sorted(normal_axes(node.integers(1, "axes"), len(node.out_shape())))
    return Code("{0}" + "".join(f".unsqueeze({axis})" for axis in axes))


@emits("Expand")
def expand(node: Node) -> Code:
    wanted = node.integers(1, "the shape")
    shape = (1,) * (len(wanted) - node.rank()) + node.shape()
    wanted = (1,) * (len(shape) - len(wanted)) + wanted
    added = len(shape) - node.rank()
    sizes = [
        w if s == 1 and (w != 1 or axis < added) else -1 for axis, (s, w) in enumerate(zip(shape, wanted, strict=True))
    ]
    return Code(f"{{0}}.expand({', '.join(map(str, sizes))})")


@emits("Tile")
def tile(node: Node) -> Code:
    return Code(f"{{0}}.tile({node.integers(1, 'repeats')})")


@emits("Pad")
def pad(node: Node) -> Code:
    rank, mode = node.rank(), node.get("mode", "constant")
    axes = normal_axes(node.integers(3, "axes") or tuple(range(rank)), rank)
    pads = node.integers(1, "pads")
    begin, end = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        begin[axis], end[axis] = pads[position], pads[position + len(axes)]
    first = next((axis for axis in range(rank) if begin[axis] or end[axis]), rank)
    if first == rank:
        return Code("{0}")
    if mode == "constant":
        value = node.number(2, "the value of the padding")
        filled = "" if not value else f", value={value!r}"
        return Code(f"F.pad({{0}}, {pad_order(begin[first:], end[first:])}{filled})")
    if first < 2 or rank > 5 or min(begin + end) < 0:
        raise CannotEmit(f'padding of mode "{mode}" of the axes before the image, or removing')
    name = {"reflect": "reflect", "edge": "replicate"}[mode]
    return Code(f'F.pad({{0}}, {pad_order(begin[2:], end[2:])}, mode="{name}")')


@emits("Gather")
def gather(node: Node) -> Code:
    """A table of rows is an nn.Embedding."""
    axis = normal_axis(node.get("axis", 0), node.rank())
    if node.is_constant(0) and node.rank() == 2 and axis == 0 and not node.is_constant(1):
        rows, width = node.shape()
        tensors = {"weight": Weight.of(node.inputs[0])}
        arguments = {"num_embeddings": rows, "embedding_dim": width}
        return call(Module("nn.Embedding", arguments, {}, tensors), "{module}({1})")
    colons = ":, " * axis
    if node.is_constant(1) and node.shape(1) == ():
        return Code(f"{{0}}[{colons}{node.number(1, 'the index')}]")
    return Code(f"{{0}}[{colons}{{1}}]")


@emits("Compress")
def compress(node: Node) -> Code:
    if "axis" not in node.attributes:
        if np.prod(node.shape()) != node.shape(1)[0]:
            raise CannotEmit("a selection with fewer entries than the input has")
        return Code("{0}.flatten()[{1}]")
    axis = normal_axis(node.attributes["axis"], node.rank())
    if node.shape()[axis] != node.shape(1)[0]:
        raise CannotEmit("a selection with fewer entries than the axis has")
    return Code(f"{{0}}[{':, ' * axis}{{1}}]")


@emits("DepthToSpace")
def depth_to_space(node: Node) -> Code:
    """PyTorch has the order of CRD; in DCR the channel varies fastest."""
    block = node.attributes["blocksize"]
    if node.get("mode", "DCR") == "CRD":
        return call(Module("nn.PixelShuffle", {"upscale_factor": block}))
    return Code(f"F.pixel_shuffle({{0}}.unflatten(1, ({block**2}, -1)).transpose(1, 2).flatten(1, 2), {block})")


@emits("SpaceToDepth")
def space_to_depth(node: Node) -> Code:
    block = node.attributes["blocksize"]
    return Code(f"F.pixel_unshuffle({{0}}, {block}).unflatten(1, (-1, {block**2})).transpose(1, 2).flatten(1, 2)")
