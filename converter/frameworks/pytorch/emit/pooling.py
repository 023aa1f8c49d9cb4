"""Pooling. PyTorch pads both sides alike and by at most half a kernel: what goes beyond is padded by F.pad."""

from __future__ import annotations

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Module, Node, call, emits
from converter.frameworks.pytorch.emit.convolution import pad_order, per_axis, spatial_rank, split_pads


@emits("MaxPool")
def max_pool(node: Node) -> Code:
    rank = spatial_rank(node)
    dilations = node.get("dilations", (1,) * rank)
    options = {"dilation": per_axis(dilations)} if set(dilations) != {1} else {}
    with_indices = len(node.ir.outputs) > 1 and node.ir.outputs[1].name
    padded, options = _window(node, rank, ", value=float('-inf')", options)
    if not with_indices:
        return call(Module(f"nn.MaxPool{rank}d", *options), f"{{module}}({padded})")
    if padded != "{0}" or node.get("storage_order", 0):
        raise CannotEmit("the positions of maxima with uneven padding or in column order")
    options[1]["return_indices"] = True
    module = Module(f"nn.MaxPool{rank}d", *options)
    return Code("max_pool_with_indices({module}, {0})", module, results=2, piece="max_pool_with_indices")


@emits("AveragePool")
def average_pool(node: Node) -> Code:
    rank = spatial_rank(node)
    if set(node.get("dilations", (1,))) != {1}:
        raise CannotEmit("PyTorch has no dilated average pooling")
    includes = bool(node.get("count_include_pad", 0))
    padded, (arguments, options) = _window(node, rank, "", {})
    if not includes and any(node.get("pads", ())):
        if padded != "{0}":
            raise CannotEmit("an average over uneven padding that does not count")
        options["count_include_pad"] = False
    return call(Module(f"nn.AvgPool{rank}d", arguments, options), f"{{module}}({padded})")


@emits("GlobalMaxPool")
def global_max_pool(node: Node) -> Code:
    return call(Module(f"nn.AdaptiveMaxPool{spatial_rank(node)}d", {"output_size": 1}))


@emits("GlobalAveragePool")
def global_average_pool(node: Node) -> Code:
    return call(Module(f"nn.AdaptiveAvgPool{spatial_rank(node)}d", {"output_size": 1}))


def _window(node: Node, rank: int, fill: str, more: dict) -> tuple[str, tuple[dict, dict]]:
    """The padded input, and the module's arguments; CannotEmit where PyTorch would make another number of windows."""
    kernel = tuple(node.attributes["kernel_shape"])
    strides = tuple(node.get("strides", (1,) * rank))
    begin, end = split_pads(node, rank)
    ceil = bool(node.get("ceil_mode", 0))
    inside = begin == end and all(2 * pad <= size for pad, size in zip(begin, kernel, strict=True))
    padding = begin if inside else (0,) * rank
    options = {"padding": per_axis(padding)} if any(padding) else {}
    options |= more | ({"ceil_mode": True} if ceil else {})
    # The stride is written even where it equals the kernel: people do not remember that this is the default.
    arguments = {"kernel_size": per_axis(kernel), "stride": per_axis(strides)}
    if inside or not (any(begin) or any(end)):
        return "{0}", (arguments, options)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, node.get("dilations", (1,) * rank), strict=True)]
    spans = zip(node.shape()[2:], extents, strides, begin, end, node.out_shape()[2:], strict=True)
    for size, extent, stride, before, after, wanted in spans:
        padded = size + before + after
        count = (padded - extent + (stride - 1 if ceil else 0)) // stride + 1
        if ceil and (count - 1) * stride >= padded:
            count -= 1
        if count != wanted:
            raise CannotEmit(f"a last window that starts inside the padding {begin}, {end}")
    return f"F.pad({{0}}, {pad_order(begin, end)}{fill})", (arguments, options)
