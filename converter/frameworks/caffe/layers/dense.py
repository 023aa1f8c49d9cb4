"""InnerProduct and Embed: matrices of weights."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from ..parameters import Parameter
from .context import LayerContext
from .registry import layer


def linear(
    context: LayerContext,
    x: ir.Value,
    axis: int,
    weight: ir.Value,
    bias: ir.Value | None = None,
    transposed: bool = True,
) -> ir.Value:
    """x, flattened behind ``axis``, times a weight (outputs, K) (or (K, outputs) unless ``transposed``) plus bias."""
    shape = context.shape(x)
    matrix = x if len(shape) == 2 and axis == 1 else context.op("Flatten", x, axis=axis)
    result = context.op("Gemm", matrix, weight, *([] if bias is None else [bias]), transB=int(transposed))
    if axis == 1:
        return result
    outputs = context.shape(result)[1]
    # The batch axis is left open where something else pins the size.
    leading = [outputs] if axis == 0 else [-1, *shape[1:axis], outputs]
    return context.op("Reshape", result, context.constant(leading))


@layer("InnerProduct")
def inner_product(context: LayerContext) -> ir.Value:
    """Fully connected over everything from ``axis`` on; the weight is (n, K), or (K, n) with ``transpose``."""
    x = context.expect()
    message, shape = context.param("inner_product_param"), context.shape(x)
    axis = context.axis(message.get("axis"), len(shape))
    outputs, inputs = message.get("num_output") or 0, prod(shape[axis:])
    if outputs < 1:
        raise context.error("num_output must be positive")
    transpose = message.get("transpose")
    size = (inputs, outputs) if transpose else (outputs, inputs)
    wanted = [Parameter("weight", size, message.get("weight_filler"))]
    if message.get("bias_term"):
        wanted.append(Parameter("bias", (outputs,), message.get("bias_filler")))
    return linear(context, x, axis, *context.weights(*wanted), transposed=not transpose)


@layer("Embed")
def embed(context: LayerContext) -> ir.Value:
    """Row ``x`` of a table (input_dim, n); x holds whole numbers as floats."""
    x = context.expect()
    message = context.param("embed_param")
    rows, outputs = message.get("input_dim") or 0, message.get("num_output") or 0
    if rows < 1 or outputs < 1:
        raise context.error("input_dim and num_output must be positive")
    wanted = [Parameter("weight", (rows, outputs), message.get("weight_filler"))]
    if message.get("bias_term"):
        wanted.append(Parameter("bias", (outputs,), message.get("bias_filler")))
    table, *bias = context.weights(*wanted)
    found = context.op("Gather", table, context.op("Cast", x, to=int(ir.DataType.INT64)), axis=0)
    return context.op("Add", found, *bias) if bias else found
