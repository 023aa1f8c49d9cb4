"""What the judge needs to know of the hub graph: the order of its values, and where results jump."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from converter.graph.model import Model, Origin, shape_of

#: Operators whose result jumps: an input that moves within its noise can change it altogether.
DECISIONS = frozenset(
    [
        "Greater",
        "Less",
        "Equal",
        "ArgMax",
        "ArgMin",
        "TopK",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Mod",
        "Compress",
        "DetectionOutput",
    ]
)
#: Operators that choose among values; equal ones may be chosen in any order.
CHOICES = frozenset(("ArgMax", "ArgMin", "TopK", "MaxPool"))
#: Operators whose output size depends on data.
DYNAMIC = frozenset(("Compress", "DetectionOutput"))
#: Operators that only move or select values.
MOVING = frozenset(
    [
        "Identity",
        "Dropout",
        "Reshape",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Expand",
        "Tile",
        "Slice",
        "Split",
        "Concat",
        "Gather",
    ]
)
#: The last activation of a classifier; the judge wants the tensor before it too.
PROBABILITIES = frozenset(["Softmax", "LogSoftmax", "Sigmoid"])


@dataclass
class Layout:
    """The values of a hub graph in execution order.

    ``order`` names every node output; ``producer`` maps it to its node. ``jumps`` are the values that a decision
    reaches: end to end they can differ between two right runtimes, so they are judged layer by layer only.
    ``dynamic`` are those whose size depends on data. ``rank`` is the position in ``order``.
    ``decisive`` are those judged end to end: outputs, tensors before a final probability, inputs of decisions.
    """

    order: list[str]
    producer: dict[str, ir.Node]
    jumps: set[str]
    dynamic: set[str]
    decisive: set[str]
    outputs: list[str]
    rank: dict[str, int]

    @classmethod
    def of(cls, model: Model) -> Layout:
        order, producer, jumps, dynamic = [], {}, set(), set()
        # What is known exactly (graph inputs, constants, and their copies) cannot tip a decision.
        exact = {value.name for value in model.graph.inputs} | set(model.graph.initializers)
        decided = set()
        for node in model.graph:
            inputs = [value.name for value in node.inputs if value is not None]
            outputs = [value.name for value in node.outputs if value.name]
            known = exact.issuperset(inputs)
            if known and (is_decision(node) or node.op_type in MOVING or node.op_type == "Cast"):
                exact.update(outputs)
            # Exact values cannot be moved across a threshold, but among equal ones any may be chosen.
            deciding = is_decision(node) and (not known or node.op_type in CHOICES)
            if deciding:
                decided.update(inputs)
            if deciding or not jumps.isdisjoint(inputs):
                jumps.update(outputs)
            if node.op_type in DYNAMIC or not dynamic.isdisjoint(inputs):
                dynamic.update(outputs)
            order += outputs
            producer.update(dict.fromkeys(outputs, node))
        outputs = [value.name for value in model.graph.outputs]
        decisive = set(outputs) | (decided & set(producer))
        for name in outputs:
            node = producer.get(name)
            while node is not None and node.op_type in MOVING:
                node = producer.get(node.inputs[0].name)
            if node is not None and node.op_type in PROBABILITIES:
                decisive.add(node.inputs[0].name)
        rank = {name: position for position, name in enumerate(order)}
        return cls(order, producer, jumps, dynamic, decisive - jumps, outputs, rank)

    def shape(self, name: str) -> tuple[int, ...]:
        """The declared shape of the value ``name``; whatever batch was judged."""
        node = self.producer.get(name)
        found = [value for value in node.outputs if value.name == name] if node else []
        return shape_of(found[0]) if found else ()

    def origin(self, name: str) -> Origin:
        """Where the layer that makes the value ``name`` came from."""
        return Origin.of(self.producer[name]) if name in self.producer else Origin(name, "Input")


def is_decision(node: ir.Node) -> bool:
    """Whether the result of ``node`` jumps (a Cast to an integer does, the indices of a maximum do)."""
    if node.op_type == "Cast":
        return "to" in node.attributes and ir.DataType(node.attributes["to"].value).is_integer()
    if node.op_type == "MaxPool":
        return len(node.outputs) > 1 and bool(node.outputs[1].name)
    return node.op_type in DECISIONS
