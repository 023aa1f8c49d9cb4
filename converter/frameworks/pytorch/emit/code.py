"""What one hub node becomes in PyTorch, and the table of functions that decide it.

An emit function looks at a :class:`Node` and returns :class:`Code`: an expression with placeholders, and the module
or the constant tensors that the expression needs. Names are not chosen here (see names.py and classes.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.graph.model import Origin, attributes_of, constant_of, shape_of
from converter.graph.passes.common import is_initializer


class CannotEmit(Exception):
    """This node cannot be expressed exactly; the message is the reason a user reads."""


@dataclass(frozen=True)
class Weight:
    """A tensor of the state dict: a hub initializer (or an array computed here), laid out as PyTorch has it."""

    source: ir.Value | np.ndarray
    shape: tuple[int, ...]
    transpose: bool = False
    trainable: bool = False

    @classmethod
    def of(cls, value: ir.Value, shape: tuple[int, ...] | None = None, transpose: bool = False) -> Weight:
        """``value`` as a parameter: of its own shape, reshaped to ``shape``, or with its two axes exchanged."""
        own = shape_of(value)
        return cls(value, own[::-1] if transpose else shape if shape is not None else own, transpose, True)

    @property
    def dtype(self) -> str:
        return (self.source.dtype if isinstance(self.source, np.ndarray) else self.source.dtype.numpy()).name

    def read(self) -> np.ndarray:
        """The array; a view of the memory-mapped source wherever its layout allows."""
        array = self.source if isinstance(self.source, np.ndarray) else self.source.const_value.numpy()
        return array.T if self.transpose else array.reshape(self.shape)

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for two weights that are one and the same tensor."""
        return id(self.source), self.shape, self.transpose


@dataclass
class Module:
    """A submodule: ``kind(*arguments, **options)``, and the tensors that it owns, by their name inside it.

    ``arguments`` and ``options`` hold plain Python values under the names of PyTorch's own parameters.
    """

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Weight] = field(default_factory=dict)


@dataclass
class Code:
    """``expression`` with the placeholders ``{0}``, ``{1}``, ... for the node's inputs, ``{module}`` for its module and
    ``{<name>}`` for each of ``tensors``. It yields ``results`` values (a tuple where more than one).

    ``piece`` names a class or function of emit/pieces that the expression or the module needs. With ``numbers``,
    constant inputs of one element are written as numbers.
    """

    expression: str
    module: Module | None = None
    tensors: dict[str, Weight] = field(default_factory=dict)
    results: int = 1
    piece: str | None = None
    numbers: bool = False


def call(module: Module, expression: str = "{module}({0})", piece: str | None = None) -> Code:
    """Code that calls ``module``."""
    return Code(expression, module, piece=piece)


class Node:
    """A hub node as emit functions see it."""

    def __init__(self, node: ir.Node) -> None:
        self.ir = node
        self.op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        self.attributes = attributes_of(node)
        self.inputs = list(node.inputs)

    @property
    def origin(self) -> Origin:
        return Origin.of(self.ir)

    def get(self, name: str, default: Any) -> Any:
        """Attribute ``name``, or its default."""
        return self.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Whether the input at ``index`` is present."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def shape(self, index: int = 0) -> tuple[int, ...]:
        return shape_of(self.inputs[index])

    def rank(self, index: int = 0) -> int:
        return len(self.shape(index))

    def out_shape(self, index: int = 0) -> tuple[int, ...]:
        return shape_of(self.ir.outputs[index])

    def is_constant(self, index: int) -> bool:
        return self.has(index) and is_initializer(self.inputs[index])

    def is_number(self, index: int) -> bool:
        """Whether the input at ``index`` is a constant of one finite element, which may be written as a number."""
        return self.is_constant(index) and is_number(self.inputs[index])

    def array(self, index: int, what: str) -> np.ndarray:
        """The constant input at ``index``; CannotEmit where it is computed."""
        if not self.is_constant(index):
            raise CannotEmit(f"{what} must be a constant, it is computed")
        return constant_of(self.inputs[index])

    def integers(self, index: int, what: str) -> tuple[int, ...] | None:
        """The constant integers at ``index``, None where the input is absent."""
        return tuple(int(v) for v in self.array(index, what).reshape(-1)) if self.has(index) else None

    def number(self, index: int, what: str) -> Any:
        """The constant scalar at ``index`` as a Python number, None where the input is absent."""
        if not self.has(index):
            return None
        array = self.array(index, what)
        if array.size != 1:
            raise CannotEmit(f"{what} must be one number, it has shape {array.shape}")
        return plain_number(array.reshape(()))


def is_number(value: ir.Value) -> bool:
    """Whether the initializer ``value`` is one finite number."""
    return (
        shape_of(value) in ((), (1,))
        and value.dtype != ir.DataType.BOOL
        and bool(np.isfinite(constant_of(value)).all())
    )


def plain_number(scalar: np.ndarray) -> bool | int | float:
    """A Python number with the fewest digits that still is this float32."""
    if scalar.dtype == np.bool_:
        return bool(scalar)
    if np.issubdtype(scalar.dtype, np.integer):
        return int(scalar)
    return float(str(scalar[()]))


Emit = Callable[[Node], Code]
_table: dict[str, Emit] = {}


def emits(*ops: str) -> Callable[[Emit], Emit]:
    """Register the decorated function for hub operators; registering one twice raises."""

    def register(function: Emit) -> Emit:
        for op in ops:
            if op in _table:
                raise ValueError(f"{op} is emitted twice")
            _table[op] = function
        return function

    return register


def emitted() -> list[str]:
    """Every operator that can be written."""
    return sorted(_table)


def emit(node: ir.Node) -> Code:
    """The code of one node. Raises CannotEmit with the reason."""
    view = Node(node)
    if view.op not in _table:
        raise CannotEmit(f"the PyTorch writer has no rule for the operator {view.op}")
    try:
        return _table[view.op](view)
    except ValueError as error:
        raise CannotEmit(str(error)) from error
