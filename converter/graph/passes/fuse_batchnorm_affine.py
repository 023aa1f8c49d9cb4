"""BatchNormalization without scale and bias, then a Mul and an Add per channel: one BatchNormalization. Exact."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from converter.graph.model import constant_of, shape_of
from converter.graph.passes.common import (
    absorb,
    drop_if_unused,
    is_initializer,
    new_initializer,
    only_consumer,
    require_static_shapes,
    take_over,
)


class FuseBatchNormAffine(ir.passes.InPlacePass):
    """Caffe keeps scale and bias in a layer of their own; every other framework has them in the normalisation.

    Requires static shapes. Ensures that no BatchNormalization with scale 1 and bias 0 is followed by a per-channel
    product or sum that it could take in.
    """

    def requires(self, model: ir.Model) -> None:
        require_static_shapes(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.graph is None or not _is_plain(node):
                continue
            for op_type, index in (("Mul", 1), ("Add", 2)):
                found = _per_channel(node, op_type)
                if found is not None:
                    _take_in(model.graph, node, index, *found)
                    modified = True
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if _is_plain(node) and (_per_channel(node, "Mul") or _per_channel(node, "Add")):
                raise ir.passes.PostconditionError(f"{node.name} is still followed by its scale or bias")


def _is_plain(node: ir.Node) -> bool:
    """Whether ``node`` is a BatchNormalization with scale 1 and bias 0."""
    if node.op_type != "BatchNormalization" or node.domain or not all(map(is_initializer, node.inputs[1:5])):
        return False
    return bool(np.all(constant_of(node.inputs[1]) == 1)) and not np.any(constant_of(node.inputs[2]))


def _per_channel(node: ir.Node, op_type: str) -> tuple[ir.Node, ir.Value] | None:
    """The only reader of the result, where it is ``op_type`` with one constant per channel; and that constant."""
    result = node.outputs[0]
    reader = only_consumer(result)
    if reader is None or reader.op_type != op_type or reader.domain or len(reader.inputs) != 2:
        return None
    constant = reader.inputs[1 if reader.inputs[0] is result else 0]
    if not is_initializer(constant) or constant.dtype != result.dtype:
        return None
    shape, wanted = shape_of(constant), shape_of(result)
    if len(shape) > len(wanted):
        return None
    shape = (1,) * (len(wanted) - len(shape)) + shape
    fits = all(size == (wanted[1] if axis == 1 else 1) for axis, size in enumerate(shape))
    return (reader, constant) if fits else None


def _take_in(graph: ir.Graph, node: ir.Node, index: int, reader: ir.Node, constant: ir.Value) -> None:
    """``constant`` becomes the scale (1) or the bias (2) of ``node``, whose result gets the name of the reader's."""
    replaced, tensor, channels = node.inputs[index], constant.const_value, shape_of(node.inputs[index])
    name = replaced.name

    def flat() -> ir.TensorProtocol:
        return ir.Tensor(tensor.numpy().reshape(channels), name=name)

    absorb(node, reader)
    take_over(node.outputs[0], reader.outputs[0])
    lazy = ir.LazyTensor(flat, dtype=tensor.dtype, shape=ir.Shape(channels), name=name)
    # The old constant goes first, so that the new one can have its name.
    node.replace_input_with(index, ir.Value(name=None))
    drop_if_unused(graph, replaced)
    drop_if_unused(graph, constant)
    node.replace_input_with(index, new_initializer(graph, name, lazy))
