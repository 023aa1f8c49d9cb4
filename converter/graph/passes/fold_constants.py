"""Nodes that compute with constants alone become constants."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from converter.graph import ops
from converter.graph.model import attributes_of, constant_of, shape_of
from converter.graph.passes.common import drop_if_unused, is_initializer, require_static_shapes

#: Larger results stay computed: they would swell the weights.
LARGEST = 1 << 20


class FoldConstants(ir.passes.InPlacePass):
    """Evaluated in float64 by the operator table, then rounded once. Requires static shapes.

    Ensures that no node up to LARGEST elements has only constants as inputs, graph outputs excepted.
    """

    def requires(self, model: ir.Model) -> None:
        require_static_shapes(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if _is_constant(node):
                _fold(model.graph, node)
                modified = True
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if _is_constant(node):
                raise ir.passes.PostconditionError(f"{node.name} computes a constant")


def _is_constant(node: ir.Node) -> bool:
    given = [value for value in node.inputs if value is not None]
    return (
        bool(given)
        and all(map(is_initializer, given))
        and all(prod(shape_of(value)) <= LARGEST for value in [*given, *node.outputs])
        and not any(value.is_graph_output() for value in node.outputs)
    )


def _fold(graph: ir.Graph, node: ir.Node) -> None:
    arrays = [None if value is None else _wide(constant_of(value)) for value in node.inputs]
    results = ops.find(node.op_type, node.domain).evaluate(attributes_of(node), arrays)
    inputs, outputs = list(node.inputs), list(node.outputs)
    for value, array in zip(outputs, results, strict=False):
        dtype, name = value.dtype, value.name
        tensor = ir.Tensor(np.ascontiguousarray(array, dtype.numpy()).reshape(np.shape(array)), name=name)
        constant = ir.Value(name=None, shape=ir.Shape(tensor.shape), type=ir.TensorType(dtype), const_value=tensor)
        value.replace_all_uses_with(constant)
        value.name = None
        constant.name = name
        if constant.uses():
            graph.register_initializer(constant)
    graph.remove(node, safe=True)
    for value in inputs:
        if value is not None:
            drop_if_unused(graph, value)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
