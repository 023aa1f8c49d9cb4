"""Nodes and initializers that no graph output needs go away."""

from __future__ import annotations

import onnx_ir as ir

from converter.graph.passes.common import drop_if_unused


class RemoveUnused(ir.passes.InPlacePass):
    """Ensures that every node and every initializer reaches a graph output. Inputs of the graph stay."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, modified = model.graph, False
        for node in reversed(list(graph)):
            if not _is_needed(node):
                graph.remove(node, safe=True)
                modified = True
        before = len(graph.initializers)
        for value in list(graph.initializers.values()):
            drop_if_unused(graph, value)
        return ir.passes.PassResult(model, modified or len(graph.initializers) != before)

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if not _is_needed(node):
                raise ir.passes.PostconditionError(f"{node.name} is not used")


def _is_needed(node: ir.Node) -> bool:
    return any(value.uses() or value.is_graph_output() for value in node.outputs)
