"""Conv, ConvTranspose, Gemm and MatMul: nn.Conv2d, nn.ConvTranspose2d and nn.Linear."""

from __future__ import annotations

from collections.abc import Sequence

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Module, Node, Weight, call, emits


def per_axis(values: Sequence[int]) -> int | tuple[int, ...]:
    """One number where all axes agree, as people write it."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def pad_order(begin: Sequence[int], end: Sequence[int]) -> tuple[int, ...]:
    """The argument of F.pad: last axis first, before and after."""
    return tuple(pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair)


def split_pads(node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Explicit pads of ``rank`` axes as (before, after)."""
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise CannotEmit(f"auto_pad {node.get('auto_pad', '')} must become explicit pads first")
    pads = node.get("pads", (0,) * (2 * rank))
    return tuple(pads[:rank]), tuple(pads[rank:])


def spatial_rank(node: Node) -> int:
    """1, 2 or 3; CannotEmit for what PyTorch has no module for."""
    rank = node.rank() - 2
    if not 1 <= rank <= 3:
        raise CannotEmit(f"PyTorch has 1, 2 and 3 spatial axes, the input has shape {node.shape()}")
    return rank


@emits("Conv")
def conv(node: Node) -> Code:
    rank = spatial_rank(node)
    begin, end = split_pads(node, rank)
    options = _window_options(node, rank)
    padded = "{0}"
    if begin == end:
        options = {"stride": options.pop("stride", None), "padding": per_axis(begin) if any(begin) else None} | options
    else:
        padded = f"F.pad({{0}}, {pad_order(begin, end)})"
    if not _owns_weights(node):
        arguments = "".join(f", {key}={value!r}" for key, value in options.items() if value is not None)
        bias = ", {2}" if node.has(2) else ""
        return Code(f"F.conv{rank}d({padded}, {{1}}{bias}{arguments})")
    filters, per_group, *kernel = node.shape(1)
    module = Module(
        f"nn.Conv{rank}d",
        {
            "in_channels": per_group * node.get("group", 1),
            "out_channels": filters,
            "kernel_size": per_axis(kernel),
        },
        _present(options | {"bias": None if node.has(2) else False}),
        _weight_and_bias(node),
    )
    return call(module, f"{{module}}({padded})")


@emits("ConvTranspose")
def conv_transpose(node: Node) -> Code:
    if not _owns_weights(node):
        raise CannotEmit("the weight of a transposed convolution must be a constant")
    if "output_shape" in node.attributes:
        raise CannotEmit("output_shape must become explicit pads first")
    rank = spatial_rank(node)
    begin, end = split_pads(node, rank)
    channels, per_group, *kernel = node.shape(1)
    options = _window_options(node, rank)
    extra = tuple(node.get("output_padding", (0,) * rank))
    strides, dilations = node.get("strides", (1,) * rank), node.get("dilations", (1,) * rank)
    crop = "{module}({0})"
    if begin != end:
        # PyTorch pads both sides alike: compute everything, then cut what the pads take away.
        cut = pad_order([-pad for pad in begin], [more - pad for more, pad in zip(extra, end, strict=True)])
        crop = f"F.pad({{module}}({{0}}), {cut})"
        if any(more > pad for more, pad in zip(extra, end, strict=True)):
            raise CannotEmit(f"output_padding {extra} beyond uneven pads {begin}, {end}")
        begin, extra = (0,) * rank, (0,) * rank
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise CannotEmit(f"output_padding {extra} must be smaller than the stride or the dilation")
    options = {
        "stride": options.pop("stride", None),
        "padding": per_axis(begin) if any(begin) else None,
        "output_padding": per_axis(extra) if any(extra) else None,
    } | options
    module = Module(
        f"nn.ConvTranspose{rank}d",
        {
            "in_channels": channels,
            "out_channels": per_group * node.get("group", 1),
            "kernel_size": per_axis(kernel),
        },
        _present(options | {"bias": None if node.has(2) else False}),
        _weight_and_bias(node),
    )
    return call(module, crop)


@emits("Gemm")
def gemm(node: Node) -> Code:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    transposed = bool(node.get("transB", 0))
    outputs = node.out_shape()[1]
    bias_fits = not node.has(2) or (node.is_constant(2) and beta == 1.0 and node.shape(2) in ((outputs,), (1, outputs)))
    if node.is_constant(1) and bias_fits and alpha == 1.0 and not node.get("transA", 0) and not node.is_constant(0):
        return call(_linear(node, not transposed, (outputs,)))
    left = "{0}.T" if node.get("transA", 0) else "{0}"
    right = "{1}.T" if transposed else "{1}"
    product = f"{left} @ {right}" if alpha == 1.0 else f"{alpha!r} * ({left} @ {right})"
    if not node.has(2):
        return Code(product)
    return Code(f"{product} + {{2}}" if beta == 1.0 else f"{product} + {beta!r} * {{2}}")


@emits("MatMul")
def matmul(node: Node) -> Code:
    if node.is_constant(1) and node.rank(1) == 2 and not node.is_constant(0):
        return call(_linear(node, True, None))
    return Code("{0} @ {1}")


def _linear(node: Node, transpose: bool, bias_shape: tuple[int, ...] | None) -> Module:
    weight = Weight.of(node.inputs[1], transpose=transpose)
    tensors = {"weight": weight}
    if node.has(2):
        tensors["bias"] = Weight.of(node.inputs[2], bias_shape)
    return Module(
        "nn.Linear",
        {"in_features": weight.shape[1], "out_features": weight.shape[0]},
        {} if "bias" in tensors else {"bias": False},
        tensors,
    )


def _owns_weights(node: Node) -> bool:
    return node.is_constant(1) and (not node.has(2) or node.is_constant(2))


def _weight_and_bias(node: Node) -> dict[str, Weight]:
    tensors = {"weight": Weight.of(node.inputs[1])}
    if node.has(2):
        tensors["bias"] = Weight.of(node.inputs[2])
    return tensors


def _window_options(node: Node, rank: int) -> dict[str, object]:
    strides, dilations = node.get("strides", (1,) * rank), node.get("dilations", (1,) * rank)
    return {
        "stride": per_axis(strides) if set(strides) != {1} else None,
        "dilation": per_axis(dilations) if set(dilations) != {1} else None,
        "groups": node.get("group", 1) if node.get("group", 1) != 1 else None,
    }


def _present(options: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in options.items() if value is not None}
