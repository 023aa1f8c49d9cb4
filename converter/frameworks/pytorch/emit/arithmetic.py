"""Arithmetic, comparison and logic by element: written with Python's operators."""

from __future__ import annotations

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Node, emits
from converter.graph.ops.arithmetic import CAST_TYPES

_OPERATORS = {"Add": "+", "Sub": "-", "Mul": "*", "Greater": ">", "Less": "<", "Equal": "==", "And": "&", "Or": "|"}
#: Operands that are written side by side; more than that are put into a tuple.
MOST_OPERATORS = 8
_FUNCTIONS = {
    "Abs": "abs",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Reciprocal": "reciprocal",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Sign": "sign",
    "Erf": "erf",
}


@emits(*_OPERATORS)
def operator(node: Node) -> Code:
    return Code(f"{{0}} {_OPERATORS[node.op]} {{1}}", numbers=True)


@emits("Div")
def div(node: Node) -> Code:
    """Integers divide towards zero."""
    if node.ir.outputs[0].dtype.is_floating_point():
        return Code("{0} / {1}", numbers=True)
    return Code("torch.div({0}, {1}, rounding_mode='trunc')")


@emits("Sum")
def sum_of(node: Node) -> Code:
    slots = [f"{{{index}}}" for index in range(len(node.inputs))]
    return Code(f"sum(({', '.join(slots)}))" if len(slots) > MOST_OPERATORS else " + ".join(slots), numbers=True)


@emits("Max", "Min")
def extreme(node: Node) -> Code:
    """A bound that is a number is a clamp."""
    name = "maximum" if node.op == "Max" else "minimum"
    count = len(node.inputs)
    if count == 2 and node.is_number(1) and not node.is_constant(0):
        return Code(f"{{0}}.clamp({'min' if node.op == 'Max' else 'max'}={node.number(1, 'a bound')!r})")
    if count > MOST_OPERATORS:
        if len({node.shape(index) for index in range(count)}) > 1:
            raise CannotEmit(f"more than {MOST_OPERATORS} tensors of several shapes")
        slots = ", ".join(f"{{{index}}}" for index in range(count))
        return Code(f"torch.stack(({slots})).a{node.op.lower()}(dim=0)")
    expression = "{0}"
    for index in range(1, count):
        expression = f"torch.{name}({expression}, {{{index}}})"
    return Code(expression)


@emits("Pow")
def power(node: Node) -> Code:
    return Code("torch.pow({0}, {1})" if node.is_number(0) else "{0} ** {1}", numbers=True)


@emits("Mod")
def mod(node: Node) -> Code:
    return Code(f"torch.{'fmod' if node.get('fmod', 0) else 'remainder'}({{0}}, {{1}})", numbers=True)


@emits(*_FUNCTIONS)
def function(node: Node) -> Code:
    return Code(f"torch.{_FUNCTIONS[node.op]}({{0}})")


@emits("Neg")
def neg(node: Node) -> Code:
    return Code("-{0}")


@emits("Not")
def logical_not(node: Node) -> Code:
    return Code("~{0}")


@emits("Where")
def where(node: Node) -> Code:
    return Code("torch.where({0}, {1}, {2})", numbers=True)


@emits("Cast")
def cast(node: Node) -> Code:
    to = node.attributes["to"]
    if to not in CAST_TYPES:
        raise CannotEmit(f"a cast to ONNX type {to}")
    name = CAST_TYPES[to]
    return Code("{0}.float()" if name == "float32" else f"{{0}}.to(torch.{name})")
