"""The hub's recurrences, whose state an input resets, in standard ONNX: a Scan over time.

ONNX's own LSTM and RNN cannot be reset in mid-sequence. What does not depend on the state is done for all steps at
once, before the Scan; the rest is the formulas of converter/graph/ops/recurrent.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from converter.graph.model import HUB_DOMAIN, Origin

Op = Callable[..., ir.Value]
Step = Callable[[Op, ir.Value, list[ir.Value]], list[ir.Value]]


def expand(graph: ir.Graph) -> None:
    """Replace every converter::ResettableLSTM and ResettableRNN of ``graph``; their outputs keep their names."""
    taken = {value.name for node in graph for value in node.outputs if value.name} | set(graph.initializers)
    taken.update(value.name for value in graph.inputs)
    for node in list(graph):
        if node.domain == HUB_DOMAIN and node.op_type in STEPS:
            _expand_node(graph, node, taken)


def _lstm_step(op: Op, gates: ir.Value, states: list[ir.Value]) -> list[ir.Value]:
    i, f, o, g = op("Split", gates, outputs=4, axis=-1, num_outputs=4)
    kept = op("Mul", op("Sigmoid", f), states[1])
    cell = op("Add", kept, op("Mul", op("Sigmoid", i), op("Tanh", g)))
    return [op("Mul", op("Sigmoid", o), op("Tanh", cell)), cell]


def _rnn_step(op: Op, gates: ir.Value, states: list[ir.Value]) -> list[ir.Value]:
    return [op("Tanh", gates)]


#: What one step makes of the summed gates and the states; and the number of states.
STEPS: dict[str, tuple[Step, int]] = {"ResettableLSTM": (_lstm_step, 2), "ResettableRNN": (_rnn_step, 1)}


def _expand_node(graph: ir.Graph, node: ir.Node, taken: set[str]) -> None:
    step, count = STEPS[node.op_type]
    x, continuation, weight, recurrent, bias, static, *initial = [*node.inputs, *[None] * 8][: 6 + count]
    before: list[ir.Node] = []
    op = _adder(before, node, taken)

    gates = op("Add", op("MatMul", x, op("Transpose", weight, perm=[1, 0])), bias)
    if static is not None:
        gates = op("Add", gates, static)
    transposed = op("Transpose", recurrent, perm=[1, 0])
    width = op("Constant", value=ir.tensor(np.array([recurrent.shape[1]], np.int64)))
    shape = op("Concat", op("Shape", continuation, start=1, end=2), width, axis=0)
    states = [op("ConstantOfShape", shape) if value is None else value for value in initial]
    axis = op("Constant", value=ir.tensor(np.array([2], np.int64)))

    inside: list[ir.Node] = []
    within = _adder(inside, node, taken)
    old = [_value(node, taken) for _ in states]
    gates_now, continues = _value(node, taken), _value(node, taken)
    kept = [within("Mul", continues, value) for value in old]
    new = step(within, within("Add", gates_now, within("MatMul", kept[0], transposed)), kept)
    # An output of a graph has one name: the hidden state is a state and the sequence's next row.
    new.append(within("Identity", new[0]))
    body = ir.Graph([*old, gates_now, continues], new, nodes=inside, name=f"{node.name} step")

    results = op(
        "Scan", *states, gates, op("Unsqueeze", continuation, axis), outputs=count + 1, body=body, num_scan_inputs=2
    )
    results = [results[-1], *results[:-1]]  # the hub's order: the sequence first
    graph.insert_before(node, before)
    for value, result in zip(node.outputs, results, strict=False):
        name, value.name = value.name, None
        result.name, result.shape, result.type = name, value.shape, value.type
        value.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _adder(nodes: list[ir.Node], origin: ir.Node, taken: set[str]) -> Op:
    """A function that appends a node to ``nodes`` and returns its output, or several where ``outputs`` says so."""

    def add(op_type: str, *inputs: ir.Value, outputs: int = 1, **attributes: object) -> ir.Value:
        values = [_value(origin, taken) for _ in range(outputs)]
        node = ir.node(op_type, inputs, attributes, outputs=values, name=f"{values[0].name}:{op_type}")
        Origin.of(origin).mark(node)
        nodes.append(node)
        return values[0] if outputs == 1 else values

    return add


def _value(origin: ir.Node, taken: set[str]) -> ir.Value:
    """A value of its own name: ONNX wants them unique within a graph and all graphs inside."""
    number = len(taken)
    while (name := f"{origin.name}.{number}") in taken:
        number += 1
    taken.add(name)
    return ir.Value(name=name)
