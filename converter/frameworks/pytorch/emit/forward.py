"""The statements of forward: which steps share one, and what their results are called."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from converter.frameworks.pytorch.emit.code import plain_number
from converter.frameworks.pytorch.emit.names import LOCALS, Names, identifier
from converter.frameworks.pytorch.emit.step import PLACEHOLDER, Step
from converter.graph.model import constant_of
from converter.graph.passes.common import is_initializer

#: An expression inlined into another must not make it longer than this.
LONGEST_EXPRESSION = 76

#: A value that has no name yet, in the text of an expression.
_VALUE = re.compile(r"\$(\d+)\$")


@dataclass
class _Statement:
    """One assignment: the step that it ends with, its text with values still to be named, and the values in it."""

    step: int
    text: str
    reads: set[int]


class Forward:
    """The statements of forward: which steps become one, and what their results are called."""

    def __init__(
        self,
        steps: Sequence[Step],
        attributes: list[dict[str, str]],
        inputs: Sequence[ir.Value],
        outputs: Sequence[ir.Value],
        input_names: Sequence[str] | None = None,
        local_name: Callable[[str], str] = str,
    ) -> None:
        self._local_name = local_name
        self.steps, self.attributes = steps, attributes
        self.inputs, self.outputs = inputs, outputs
        self._returned = {id(value) for value in outputs}
        self._names = Names(LOCALS | {"x"})
        single = len(inputs) == 1
        self.input_names = (
            list(input_names)
            if input_names
            else [
                "x" if single and identifier(value.name, "input_") == "x" else self._names.take(value.name, "input_")
                for value in inputs
            ]
        )
        for name in self.input_names:
            self._names.take(name)
        self.statements = self._join()
        self.ordinals: list[int | None] = [None] * len(steps)
        for ordinal, statement in enumerate(self.statements):
            self.ordinals[statement.step] = ordinal
        self.variables = self._name_values()

    def _join(self) -> list[_Statement]:
        """Private values that are used once become part of the statement that uses them, while it stays short."""
        mentions = Counter(id(value) for value in self.outputs)
        for step in self.steps:
            for placeholder, value in step.operands():
                # ``x.reshape(x.shape[0], -1)`` mentions x twice: nothing may be inlined there.
                mentions[id(value)] += step.code.expression.count(f"{{{placeholder}}}")
        inlined: dict[int, tuple[str, set[int]]] = {}
        statements = []
        for index, step in enumerate(self.steps):
            parts, reads = dict(self._own(index)), set()
            for placeholder, value in step.operands():
                if placeholder in parts:
                    continue
                text, inner = inlined.get(id(value), (f"${id(value)}$", {id(value)}))
                parts[placeholder] = text
                reads |= inner
            text = fill(step.code.expression, parts)
            output = step.outputs[0]
            joinable = (
                step.code.results == 1
                and output.metadata_props.get("converter.private")
                and mentions[id(output)] == 1
                and id(output) not in self._returned
                and len(_VALUE.sub("x", text)) < LONGEST_EXPRESSION
            )
            if joinable:
                inlined[id(output)] = text, reads
            else:
                statements.append(_Statement(index, text, reads))
        return statements

    def _own(self, index: int) -> Iterator[tuple[str, str]]:
        """Placeholders of a step that are its own attributes or numbers."""
        step = self.steps[index]
        for placeholder, attribute in self.attributes[index].items():
            yield placeholder, f"self.{attribute}"
        for placeholder, value in step.operands():
            if is_initializer(value) and step.number(value):
                yield placeholder, repr(plain_number(constant_of(value).reshape(())))

    def _name_values(self) -> dict[int, str]:
        """A value that only the next statement needs is x while that is free; else its chain is called like its end."""
        readers: dict[int, set[int]] = {}
        for ordinal, statement in enumerate(self.statements):
            for value in statement.reads:
                readers.setdefault(value, set()).add(ordinal)
        for value in self.outputs:
            readers.setdefault(id(value), set()).add(len(self.statements))
        named = {id(value): name for value, name in zip(self.inputs, self.input_names, strict=True)}
        # An input called x keeps that name until it is read for the last time.
        entry = next((value for value, name in named.items() if name == "x"), None)
        occupied = max(readers.get(entry, {-1})) if entry is not None else -1
        chain: dict[int, ir.Value] = {}
        for ordinal, statement in enumerate(self.statements):
            outputs = self.steps[statement.step].outputs
            passed_on = next((value for value in outputs if readers.get(id(value)) == {ordinal + 1}), None)
            if id(passed_on) in self._returned and len(self.outputs) > 1:
                passed_on = None
            if passed_on is not None and ordinal >= occupied:
                named[id(passed_on)] = "x"
            elif passed_on is not None and ordinal + 1 < len(self.statements) and not self._joins(ordinal + 1):
                chain[id(passed_on)] = passed_on
            for value in outputs:
                if id(value) not in named and id(value) not in chain:
                    named[id(value)] = self._own_name(value, readers.get(id(value), set()), occupied)
            if chain and id(passed_on) not in chain:
                named |= dict.fromkeys(chain, named[id(outputs[0])])
                chain = {}
        return named

    def _joins(self, ordinal: int) -> bool:
        """Whether the statement reads several values: a chain ends before it."""
        return ordinal < len(self.statements) and len(self.statements[ordinal].reads) > 1

    def _own_name(self, value: ir.Value, used: set[int], occupied: int) -> str:
        """A value that meets x again is "out", as people write it; others are called what the model calls them."""
        if not used and value.metadata_props.get("converter.private"):
            return "_"
        if used and min(used) == occupied and "out" not in self._names:
            return self._names.take("out")
        return self._names.take(self._local_name((value.name or "value").split("@")[0]), "value_")

    def lines(self, paragraphs: set[int]) -> Iterator[str]:
        """The statements, and the return."""
        pending = False
        last = -1
        for statement in self.statements:
            pending = bool(paragraphs & set(range(last + 1, statement.step + 1)))
            if pending and last >= 0:
                yield ""
            last = statement.step
            step = self.steps[statement.step]
            results = [self.variables[id(value)] for value in step.outputs[: step.code.results]]
            results += ["_"] * (step.code.results - len(results))
            yield f"{', '.join(results)} = {self._named(statement.text)}"
        yield f"return {', '.join(self.variables[id(value)] for value in self.outputs)}"

    def _named(self, text: str) -> str:
        return _VALUE.sub(lambda match: self.variables[int(match[1])], text)


#: How tightly operators bind; whatever is not here is put in parentheses inside another expression.
_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "@": 2}
_OPERATORS = {ast.Add: 1, ast.Sub: 1, ast.Mult: 2, ast.Div: 2, ast.MatMult: 2}
_TIGHTEST = 9


def fill(expression: str, parts: dict[str, str]) -> str:
    """``expression`` with its placeholders replaced, in parentheses where the place binds tighter than the part."""

    def replace(match: re.Match[str]) -> str:
        part = parts[match[1]]
        before, after = expression[: match.start()].rstrip(), expression[match.end() :].lstrip()
        enclosed = before[-1:] in ("", "(", ",", "[", "=") and after[:1] in ("", ")", ",", "]")
        follows = re.match(r"[-+*/@]*", after)[0] or after[:1]
        if enclosed or _binding(part) >= max(_needed(before[-1:], 1), _needed(follows, 0)):
            return part
        return f"({part})"

    # Adding a negative number is subtracting.
    return re.sub(r"\+ -(?=\d)", "- ", PLACEHOLDER.sub(replace, expression))


def _needed(operator: str, more: int) -> int:
    """How tightly a part beside ``operator`` must bind; as a right operand by one more."""
    if operator in ("", "(", ")", ",", "[", "]", "="):
        return 0
    return _BINDING[operator] + more if operator in _BINDING else _TIGHTEST


def _binding(part: str) -> int:
    """How tightly ``part`` holds together. A negative number counts as a number, except before a power."""
    body = ast.parse(_VALUE.sub("x", part), mode="eval").body
    if isinstance(body, ast.BinOp):
        return _OPERATORS.get(type(body.op), 0)
    if isinstance(body, ast.UnaryOp) and isinstance(body.operand, ast.Constant):
        return _TIGHTEST - 1
    return _TIGHTEST if isinstance(body, ast.Call | ast.Attribute | ast.Subscript | ast.Name | ast.Constant) else 0
