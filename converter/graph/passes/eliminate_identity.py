"""Identity, and reshapes to the shape that is already there, go away."""

from __future__ import annotations

import onnx_ir as ir

from converter.graph.model import shape_of
from converter.graph.passes.common import is_initializer, require_static_shapes, take_over


class EliminateIdentity(ir.passes.InPlacePass):
    """Requires static shapes. Ensures that what is left of such nodes names a graph output that needs the name.

    Of the two names the input's survives; where the input is private to the hub, the output's does.
    """

    def requires(self, model: ir.Model) -> None:
        require_static_shapes(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if not _changes_nothing(node):
                continue
            before, after = node.inputs[0], node.outputs[0]
            if _may_be_renamed(before):
                take_over(before, after)
            elif after.is_graph_output():
                continue
            else:
                after.replace_all_uses_with(before)
                model.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if _changes_nothing(node) and not node.outputs[0].is_graph_output():
                raise ir.passes.PostconditionError(f"{node.name} still does nothing")


def _changes_nothing(node: ir.Node) -> bool:
    if node.domain or node.op_type not in ("Identity", "Reshape", "Flatten"):
        return False
    return shape_of(node.inputs[0]) == shape_of(node.outputs[0])


def _may_be_renamed(value: ir.Value) -> bool:
    """A private value has no name that anyone asks for."""
    private = value.metadata_props.get("converter.private")
    return bool(private) and not is_initializer(value) and not value.is_graph_output()
