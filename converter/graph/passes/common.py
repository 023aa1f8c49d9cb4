"""What several passes need."""

from __future__ import annotations

import json

import onnx_ir as ir

from converter.graph.model import Origin, shape_of

#: Metadata of a node that stands for several layers of the source: their names as a JSON list, the first one first.
LAYERS = "converter.layers"


def require_static_shapes(model: ir.Model) -> None:
    """Raise PreconditionError unless every value has a static shape (true of whatever GraphBuilder built)."""
    for node in model.graph:
        for value in node.outputs:
            try:
                shape_of(value)
            except ValueError as error:
                raise ir.passes.PreconditionError(str(error)) from error


def is_initializer(value: ir.Value | None) -> bool:
    """Whether ``value`` is a constant of the graph."""
    return value is not None and value.producer() is None and value.const_value is not None


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads ``value``, if it reads it once and nobody else, the graph's outputs included, does."""
    uses = value.uses()
    return next(iter(uses)).node if len(uses) == 1 and not value.is_graph_output() else None


def layers_of(node: ir.Node) -> list[str]:
    """Names of the source's layers that ``node`` stands for."""
    merged = node.metadata_props.get(LAYERS)
    return json.loads(merged) if merged else [Origin.of(node).layer]


def absorb(node: ir.Node, other: ir.Node) -> None:
    """``node`` now stands for ``other`` as well: both layers are named, file and line stay those of ``node``."""
    names = list(dict.fromkeys(layers_of(node) + layers_of(other)))
    types = list(dict.fromkeys(Origin.of(node).type.split(" + ") + Origin.of(other).type.split(" + ")))
    node.metadata_props[LAYERS] = json.dumps(names)
    node.metadata_props["converter.layer"] = " + ".join(names)
    node.metadata_props["converter.type"] = " + ".join(types)


def take_over(value: ir.Value, later: ir.Value) -> None:
    """``value`` replaces ``later`` everywhere and goes by its name; the node that made ``later`` is removed."""
    later.replace_all_uses_with(value, replace_graph_outputs=True)
    name, node = later.name, later.producer()
    later.name = None
    value.name = name
    value.metadata_props.pop("converter.private", None)
    value.metadata_props.update(later.metadata_props)
    node.graph.remove(node, safe=True)


def drop_if_unused(graph: ir.Graph, value: ir.Value) -> None:
    """Remove the initializer ``value`` when nothing reads it any more."""
    if not value.uses() and not value.is_graph_output():
        graph.initializers.pop(value.name, None)


def new_initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Add an initializer, under ``name`` or that with a number."""
    candidate, number = name, 2
    while candidate in graph.initializers:
        candidate, number = f"{name}_{number}", number + 1
    value = ir.Value(name=candidate, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
