"""A step of a class that is to be written: one hub node, or one call of a block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from converter.frameworks.pytorch.emit.code import Code, Weight, is_number
from converter.graph.model import shape_of
from converter.graph.passes.common import is_initializer

if TYPE_CHECKING:
    from converter.frameworks.pytorch.emit.classes import RenderedClass

#: An input, the module or a tensor in an expression.
PLACEHOLDER = re.compile(r"\{(\w+)\}")


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
        for placeholder in dict.fromkeys(PLACEHOLDER.findall(self.code.expression)):
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
