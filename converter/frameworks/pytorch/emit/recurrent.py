"""Recurrences whose state can be reset: a small class in the written file."""

from __future__ import annotations

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Module, Node, Weight, emits

_STATES = {"converter::ResettableLSTM": 2, "converter::ResettableRNN": 1}
_KEYWORDS = ("static", "hidden", "cell")


@emits(*_STATES)
def recurrence(node: Node) -> Code:
    if not all(node.is_constant(index) for index in (2, 3, 4)):
        raise CannotEmit("the weights of a recurrence must be constants")
    kind = node.op.removeprefix("converter::")
    tensors = {name: Weight.of(node.inputs[2 + index]) for index, name in enumerate(("weight_ih", "weight_hh", "bias"))}
    module = Module(kind, {"input_size": node.shape(2)[1], "hidden_size": node.shape(3)[1]}, {}, tensors)
    extra = "".join(f", {name}={{{5 + index}}}" for index, name in enumerate(_KEYWORDS) if node.has(5 + index))
    return Code(f"{{module}}({{0}}, {{1}}{extra})", module, results=1 + _STATES[node.op], piece=kind)
