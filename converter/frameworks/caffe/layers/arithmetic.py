"""Layers that combine blobs or reduce them: Eltwise, Axpy, Reduction, ArgMax."""

from __future__ import annotations

from functools import reduce

import onnx_ir as ir

from .context import LayerContext, require
from .registry import layer


@layer("Eltwise")
def eltwise(context: LayerContext) -> ir.Value:
    """SUM (with a coefficient per bottom), PROD or MAX of bottoms of one shape."""
    first = context.expect(bottoms=(2, None))
    message = context.param("eltwise_param")
    operation, coefficients = message.get("operation"), message.all("coeff")
    shapes = [context.shape(bottom) for bottom in context.bottoms]
    if len(set(shapes)) > 1:
        raise context.error(f"its bottoms have different shapes: {', '.join(map(str, shapes))}")
    if coefficients and (operation == "PROD" or len(coefficients) != len(shapes)):
        raise context.error(f"has {len(coefficients)} coefficients for {len(shapes)} bottoms ({operation})")
    if operation == "MAX":
        return context.op("Max", *context.bottoms)
    if operation == "PROD":
        return reduce(lambda product, bottom: context.op("Mul", product, bottom), context.bottoms[1:], first)
    pairs = zip(context.bottoms, coefficients or [1.0] * len(shapes), strict=True)
    terms = [context.affine(bottom, coefficient, 0.0) for bottom, coefficient in pairs]
    return context.op("Add" if len(terms) == 2 else "Sum", *terms)


@layer("Axpy")
def axpy(context: LayerContext) -> ir.Value:
    """a * x + y with one factor per image and channel: bottoms a (N, C[, 1, 1]), x and y (N, C, H, W) (SENet)."""
    factor = context.expect(bottoms=3)
    x, y = context.bottoms[1:]
    shape, size = context.shape(x), context.shape(factor)
    if len(shape) != 4 or context.shape(y) != shape or size not in (shape[:2], (*shape[:2], 1, 1)):
        raise context.error(f"its bottoms have shapes {size}, {shape} and {context.shape(y)}")
    if len(size) == 2:
        factor = context.op("Unsqueeze", factor, context.constant([2, 3]))
    return context.op("Add", context.op("Mul", x, factor), y)


_REDUCTIONS = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


@layer("Reduction")
def reduction(context: LayerContext) -> ir.Value:
    """Sum, sum of magnitudes or of squares, or mean over ``axis`` and all after it, times ``coeff``."""
    x, message = context.expect(), context.param("reduction_param")
    rank = len(context.shape(x))
    axis = context.axis(message.get("axis"), rank)
    y = context.op(_REDUCTIONS[message.get("operation")], x, context.constant(range(axis, rank)), keepdims=0)
    return context.affine(y, message.get("coeff"), 0.0)


@layer("ArgMax")
def argmax(context: LayerContext) -> ir.Value:
    """The top_k greatest, largest first, as float positions or values; of equal ones the last position comes first.

    With ``axis`` the result keeps its rank: positions along it, or values with ``out_max_val``. Without, each image is
    flattened and the result is (N, 1, top_k[, 1...]), or (N, 2, top_k[, 1...]) of positions and values.
    """
    x, message = context.expect(), context.param("argmax_param")
    shape, count, values = context.shape(x), message.get("top_k"), message.get("out_max_val")
    if message.has("axis"):
        axis = context.axis(message.get("axis"), len(shape))
    else:
        require(len(shape) > 1, "one image of one axis", "give the layer an axis")
        x, axis = context.op("Flatten", x, axis=1), 1
    length = context.shape(x)[axis]
    if not 1 <= count <= length:
        raise context.error(f"top_k {count} is not between 1 and {length}")
    greatest, positions = _greatest(context, x, axis, count)
    if message.has("axis"):
        return greatest if values else positions
    rank = max(len(shape), 3)
    parts = [positions, greatest] if values else [positions]
    target = context.constant([-1, 1, count, *[1] * (rank - 3)])
    parts = [context.op("Reshape", part, target) for part in parts]
    return context.op("Concat", *parts, axis=1) if values else parts[0]


def _greatest(context: LayerContext, x: ir.Value, axis: int, count: int) -> tuple[ir.Value, ir.Value]:
    """Values and float positions of the ``count`` greatest along ``axis``, which stays."""
    floats = int(ir.DataType.FLOAT)
    if count == 1:
        position = context.op("ArgMax", x, axis=axis, keepdims=1, select_last_index=1)
        greatest = context.op("ReduceMax", x, context.constant([axis]), keepdims=1)
        return greatest, context.op("Cast", position, to=floats)
    # TopK puts the first of equal values first, Caffe the last: search from the end.
    length = context.shape(x)[axis]
    whole = [context.constant([number]) for number in (length - 1, -length - 1, axis, -1)]
    greatest, found = context.op(
        "TopK", context.op("Slice", x, *whole), context.constant([count]), outputs=2, axis=axis
    )
    position = context.op("Sub", context.constant(length - 1), found)
    return greatest, context.op("Cast", position, to=floats)
