"""One nn.Module class: its attributes, its constructor and its straight-line forward."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from converter.frameworks.pytorch.emit.code import (
    Code,
    Module,
    Weight,
    constant_of,
    is_initializer,
    is_number,
    plain_number,
    shape_of,
)
from converter.frameworks.pytorch.emit.names import LOCALS, Names, identifier

#: An expression inlined into another must not make it longer than this.
LONGEST_EXPRESSION = 76
#: Fewer statements than this per paragraph on average, and forward is left in one piece.
SHORTEST_PARAGRAPH = 3

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
#: A value that has no name yet, in the text of an expression.
_VALUE = re.compile(r"\$(\d+)\$")


class Name(str):
    """A value in a constructor that is the name of the constructor's parameter."""

    def __repr__(self) -> str:
        return str(self)


@dataclass
class Step:
    """One hub node, or one call of a block: ``code`` and the values that it takes and gives.

    ``steps`` and ``block`` are those of a block call.
    """

    code: Code
    inputs: Sequence[ir.Value | None]
    outputs: Sequence[ir.Value]
    layer: str
    block: RenderedClass | None = None
    steps: list[Step] = field(default_factory=list)

    def operands(self) -> Iterator[tuple[str, ir.Value]]:
        """(placeholder, value) of every input that the expression mentions."""
        for placeholder in dict.fromkeys(_PLACEHOLDER.findall(self.code.expression)):
            if placeholder.isdigit():
                yield placeholder, self.inputs[int(placeholder)]

    def tensors(self) -> dict[str, Weight]:
        """Placeholder -> constant tensor that is an attribute of the class itself."""
        found = dict(self.code.tensors)
        for placeholder, value in self.operands():
            if is_initializer(value) and not self.number(value):
                trainable = value.name.endswith((".weight", ".bias")) and value.dtype.is_floating_point()
                found[placeholder] = Weight(value, shape_of(value), trainable=trainable)
        return found

    def number(self, value: ir.Value) -> bool:
        """Whether the constant ``value`` is written as a number here."""
        some_tensor = any(not is_initializer(other) for other in self.inputs if other is not None)
        return self.code.numbers and some_tensor and is_number(value)


@dataclass
class RenderedClass:
    """The source of a class. ``attributes[i]`` names what step i owns (its module under "module"); ``ordinals[i]`` is
    the statement of step i in forward, None where it is part of another statement; ``inputs`` are forward's."""

    name: str
    source: str
    attributes: list[dict[str, str]]
    ordinals: list[int | None]
    inputs: list[str]
    changed: dict[str, str]

    def weights(self, steps: Sequence[Step], prefix: str = "") -> Iterator[tuple[str, Weight]]:
        """(state dict key, tensor) of an instance made of ``steps``; shared tensors come under each of their keys."""
        seen = set()
        for step, names in zip(steps, self.attributes, strict=True):
            if step.block is not None:
                yield from step.block.weights(step.steps, f"{prefix}{names['module']}.")
            elif step.code.module is not None:
                for tensor, weight in step.code.module.tensors.items():
                    yield f"{prefix}{names['module']}.{tensor}", weight
            for placeholder, weight in step.tensors().items():
                if names[placeholder] not in seen:
                    seen.add(names[placeholder])
                    yield prefix + names[placeholder], weight

    def taps(self, steps: Sequence[Step], path: str = "") -> Iterator[tuple[str, str]]:
        """(hub value name, address "<module path>:<statement>" of it) for every value that forward assigns."""
        for step, names, ordinal in zip(steps, self.attributes, self.ordinals, strict=True):
            if step.block is not None:
                yield from step.block.taps(step.steps, f"{path}.{names['module']}".lstrip("."))
            if ordinal is None:
                continue
            for index, value in enumerate(step.outputs):
                if not value.metadata_props.get("converter.private"):
                    yield value.name, f"{path}:{ordinal}" + (f".{index}" if step.code.results > 1 else "")


def render_class(
    name: str,
    steps: Sequence[Step],
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    layers: Sequence[str] | None = None,
    parameters: Sequence[str] = (),
    docstring: str = "",
    input_names: Sequence[str] | None = None,
) -> RenderedClass:
    """The class that computes ``outputs`` from ``inputs``.

    ``layers`` are the names by which to call the steps' attributes (default: their layers'); ``parameters`` those of
    the constructor, which occur as :class:`Name` in the steps' modules.
    """
    names = Names(parameters)
    attributes = _name_attributes(steps, layers or [step.layer for step in steps], names)
    forward = Forward(steps, attributes, inputs, outputs, input_names)
    paragraphs = _paragraphs([step.layer for step in steps])
    lines = [f"class {name}(nn.Module):"]
    if docstring:
        lines += [f'    """{docstring}"""', ""]
    lines += [f"    def __init__({', '.join(['self', *parameters])}):", "        super().__init__()"]
    lines += [f"        {line}" for line in _constructor(steps, attributes, paragraphs)]
    lines += ["", f"    def forward({', '.join(['self', *forward.input_names])}):"]
    lines += [f"        {line}" for line in forward.lines(paragraphs)]
    return RenderedClass(
        name, "\n".join(lines) + "\n", attributes, forward.ordinals, forward.input_names, names.changed
    )


def _name_attributes(steps: Sequence[Step], layers: Sequence[str], names: Names) -> list[dict[str, str]]:
    """A module is called like its layer (a second one of a layer: with its kind), a tensor like its initializer."""
    attributes, with_module, shared = [], set(), {}
    for step, layer in zip(steps, layers, strict=True):
        own = {}
        if step.code.module is not None:
            kind = re.sub(r"\W|\d.*", "", step.code.module.kind.removeprefix("nn.")).lower()
            own["module"] = names.take(f"{layer}_{kind}" if layer in with_module else layer)
            with_module.add(layer)
        for placeholder, weight in step.tensors().items():
            if weight.identity not in shared:
                # Initializers are called "<layer>.<what>": the part behind the layer follows the layer's name here.
                called = placeholder if not placeholder.isdigit() else step.inputs[int(placeholder)].name
                tail = called.removeprefix(f"{step.layer}.")
                own_layer = tail != called or not placeholder.isdigit()
                shared[weight.identity] = names.take(f"{layer}_{tail}" if own_layer else called)
            own[placeholder] = shared[weight.identity]
        attributes.append(own)
    return attributes


def _constructor(steps: Sequence[Step], attributes: list[dict[str, str]], paragraphs: set[int]) -> Iterator[str]:
    """The statements of __init__ behind super()'s; a paragraph break is an empty line."""
    owners: dict[Any, str] = {}
    made: set[str] = set()
    pending_break = False
    for index, (step, own) in enumerate(zip(steps, attributes, strict=True)):
        pending_break = pending_break or index in paragraphs
        lines = []
        if step.code.module is not None:
            lines.append(f"self.{own['module']} = {construct(step.code.module)}")
            for tensor, weight in step.code.module.tensors.items():
                place = f"{own['module']}.{tensor}"
                if owners.setdefault(weight.identity, place) != place:
                    lines.append(f"self.{place} = self.{owners[weight.identity]}")
        for placeholder, weight in step.tensors().items():
            if own[placeholder] not in made:
                made.add(own[placeholder])
                lines.append(_declare(own[placeholder], weight))
        if lines and pending_break and (owners or made):
            yield ""
        if lines:
            pending_break = False
        yield from lines


def construct(module: Module) -> str:
    """The call that makes ``module``."""
    arguments = [repr(value) for value in module.arguments.values()]
    # A stride that equals the kernel is written out: people do not remember that it is the default.
    arguments += [f"{name}={value!r}" for name, value in module.options.items()]
    return f"{module.kind}({', '.join(arguments)})"


def _declare(attribute: str, weight: Weight) -> str:
    size = ", ".join(map(str, weight.shape)) if weight.shape else "()"
    if weight.trainable:
        fill = "ones" if attribute.endswith("weight") else "zeros"
        return f"self.{attribute} = nn.Parameter(torch.{fill}({size}))"
    dtype = "" if weight.dtype == "float32" else f", dtype=torch.{weight.dtype}"
    return f'self.register_buffer("{attribute}", torch.zeros({size}{dtype}))'


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
    ) -> None:
        self.steps, self.attributes = steps, attributes
        self.inputs, self.outputs = inputs, outputs
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
                and output not in self.outputs
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
        """A value that only the next statement needs is x; others are called what the model calls them."""
        readers: dict[int, set[int]] = {}
        for ordinal, statement in enumerate(self.statements):
            for value in statement.reads:
                readers.setdefault(value, set()).add(ordinal)
        for value in self.outputs:
            readers.setdefault(id(value), set()).add(len(self.statements))
        named = {id(value): name for value, name in zip(self.inputs, self.input_names, strict=True)}
        # An input called x may be overwritten once nobody needs it any more.
        input_x = next((value for value, name in named.items() if name == "x"), None)
        free = max(readers.get(input_x, {-1})) if input_x is not None else -1
        for ordinal, statement in enumerate(self.statements):
            step = self.steps[statement.step]
            chained = 0
            for value in step.outputs:
                used = readers.get(id(value), set())
                if not used and value.metadata_props.get("converter.private"):
                    named[id(value)] = "_"
                elif used == {ordinal + 1} and ordinal >= free and not chained:
                    named[id(value)], chained = "x", 1
                else:
                    named[id(value)] = self._names.take(value.name or step.layer, "value_")
        return named

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


def fill(expression: str, parts: dict[str, str]) -> str:
    """``expression`` with its placeholders replaced, in parentheses where the place binds tighter than the part."""

    def replace(match: re.Match[str]) -> str:
        part = parts[match[1]]
        before, after = expression[: match.start()].rstrip(), expression[match.end() :]
        is_argument = before[-1:] in ("", "(", ",", "[", "=") and after[:1] in ("", ")", ",", "]")
        return part if is_argument or _is_atom(part) else f"({part})"

    return _PLACEHOLDER.sub(replace, expression)


def _is_atom(part: str) -> bool:
    """Whether ``part`` binds tighter than any operator."""
    body = ast.parse(_VALUE.sub("x", part), mode="eval").body
    return isinstance(body, ast.Call | ast.Attribute | ast.Subscript | ast.Name | ast.Constant)


def _paragraphs(layers: Sequence[str]) -> set[int]:
    """Indices at which a new stage begins: the first number in the layers' names changes (conv2_1 after pool1)."""
    breaks, current = set(), None
    for index, layer in enumerate(layers):
        found = re.search(r"\d+[a-z]?(?![a-z0-9])|\d+", layer)
        if found and found[0] != current:
            if current is not None:
                breaks.add(index)
            current = found[0]
    return breaks if breaks and len(layers) >= SHORTEST_PARAGRAPH * (len(breaks) + 1) else set()
