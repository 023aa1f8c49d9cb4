"""A piece of the hub graph between tensors that are known and one that is in question, as a model of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.graph.model import Model, attributes_of, constant_of


@dataclass
class Segment:
    """The nodes that make ``target``, in execution order, and the names of the tensors they start from."""

    model: Model
    target: str
    nodes: list[ir.Node]
    starts: list[str]

    @classmethod
    def of(cls, model: Model, known: Collection[str], target: str) -> Segment:
        """Walk back from ``target`` to what is ``known``; ``target`` itself is in question even if known."""
        constants = model.graph.initializers
        wanted, starts, nodes = {target}, [], []
        for node in reversed(list(model.graph)):
            if not any(value.name in wanted for value in node.outputs):
                continue
            nodes.append(node)
            for value in node.inputs:
                if value is None or value.name in constants:
                    continue
                if value.name in known or value.producer() is None:
                    if value.name not in starts:
                        starts.append(value.name)
                else:
                    wanted.add(value.name)
        return cls(model, target, nodes[::-1], starts)

    def build(self, changes: dict[ir.Node, Change] | None = None) -> Model:
        """A model of the segment alone, some of its nodes changed. Weights are shared, not copied."""
        graph_inputs, constants, values = [], [], {}

        def value_of(value: ir.Value) -> ir.Value:
            if value.name not in values:
                twin = ir.Value(name=value.name, shape=value.shape, type=value.type)
                values[value.name] = twin
                if value.const_value is not None:
                    twin.const_value = value.const_value
                    constants.append(twin)
                elif value.name in self.starts:
                    graph_inputs.append(twin)
            return values[value.name]

        nodes = []
        for node in self.nodes:
            change = (changes or {}).get(node, Change())
            inputs = [None if value is None else value_of(value) for value in node.inputs]
            for index, array in change.inputs.items():
                inputs += [None] * (index + 1 - len(inputs))
                inputs[index] = array if array is None else _constant(f"{node.name}.{index}", array, constants)
            if change.order is not None:
                inputs = [inputs[index] for index in change.order]
            outputs = []
            for value in node.outputs:
                values[value.name] = ir.Value(name=value.name, shape=value.shape, type=value.type)
                outputs.append(values[value.name])
            # Attributes whose new value is None are left out: the operator's default.
            attributes = {**attributes_of(node), **change.attributes}
            nodes.append(
                ir.node(
                    change.op or node.op_type,
                    inputs,
                    {key: value for key, value in attributes.items() if value is not None},
                    domain=node.domain if change.op is None else "",
                    outputs=outputs,
                    name=node.name,
                )
            )
        graph = ir.Graph(
            graph_inputs,
            [values[self.target]],
            nodes=nodes,
            initializers=constants,
            opset_imports=dict(self.model.graph.opset_imports),
            name=self.model.name,
        )
        return Model(ir.Model(graph, ir_version=self.model.ir.ir_version), self.model.framework)


@dataclass(frozen=True)
class Change:
    """What to change in one node: attributes, constant inputs by position (None: left out), input order, operator."""

    attributes: dict[str, Any] = field(default_factory=dict)
    inputs: dict[int, np.ndarray | None] = field(default_factory=dict)
    order: tuple[int, ...] | None = None
    op: str | None = None


def constant_input(node: ir.Node, index: int) -> np.ndarray | None:
    """The constant at one place of a node's inputs, None where there is none."""
    return constant_of(node.inputs[index]) if index < len(node.inputs) else None


def _constant(name: str, array: np.ndarray, constants: list[ir.Value]) -> ir.Value:
    tensor = ir.Tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    constants.append(value)
    return value
