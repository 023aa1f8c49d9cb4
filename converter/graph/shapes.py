"""Shapes of a hub graph for other sizes of its inputs; the graph itself stays as it is."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from converter.graph import ops
from converter.graph.model import Model, Origin, attributes_of, constant_of, shape_of

#: Constants larger than this are weights, not shapes or axes that inference would look into.
LARGEST_OPERAND = 4096

Shape = tuple[int, ...]


def infer_shapes(model: Model, input_shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Name to shape of every graph input and every node's output, with the inputs of these shapes.

    Inputs left out keep their declared shape. Raises ValueError, naming file, line and layer, where the shapes do not
    fit, and for a name that is no input.
    """
    declared = model.input_shapes()
    if unknown := sorted(set(input_shapes) - set(declared)):
        raise ValueError(f"the model has no input {', '.join(unknown)}, only {', '.join(declared)}")
    known = {
        value.name: ops.TensorInfo(tuple(input_shapes.get(value.name, declared[value.name])), value.dtype.numpy().name)
        for value in model.graph.inputs
    }
    for node in model.graph:
        inputs = [None if v is None else known[v.name] if v.name in known else operand(v) for v in node.inputs]
        try:
            outputs = ops.infer(node.op_type, node.domain, attributes_of(node), inputs)
        except ValueError as error:
            raise ValueError(f"{Origin.of(node)}: {error}") from error
        known.update((v.name, ops.TensorInfo(*info)) for v, info in zip(node.outputs, outputs, strict=False))
    return {name: info.shape for name, info in known.items()}


def operand(value: ir.Value) -> ops.TensorInfo:
    """What inference may know of an initializer: its values too where it is small."""
    small = value.const_value is not None and value.const_value.size <= LARGEST_OPERAND
    return ops.TensorInfo(shape_of(value), value.dtype.numpy().name, constant_of(value) if small else None)


def batch_is_free(model: Model) -> bool:
    """Whether axis 0 is a batch: doubling it in every input doubles it, and nothing else, in every output."""
    shapes = model.input_shapes()
    if not shapes or not all(shapes.values()):
        return False
    once = infer_shapes(model, shapes)
    try:
        twice = infer_shapes(model, {name: _doubled(shape) for name, shape in shapes.items()})
    except ValueError:
        return False
    return all(
        value.name in once and once[value.name] and twice[value.name] == _doubled(once[value.name])
        for value in model.graph.outputs
    )


def _doubled(shape: Shape) -> Shape:
    return (2 * shape[0], *shape[1:])
