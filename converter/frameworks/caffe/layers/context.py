"""What a layer handler works with: the layer, its inputs and weights, and the graph under construction."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.errors import ReadError
from converter.graph.builder import GraphBuilder
from converter.graph.model import shape_of

from ..format import LayerDefinition
from ..message import Message
from ..parameters import MAXIMUM_ELEMENTS, Parameter, ParameterStore, Source
from .registry import Refusal


class LayerContext:
    """One layer on its way into the hub graph.

    ``bottoms`` are hub values, ``count`` is the number of tops. What :meth:`op` adds is unnamed; the reader gives the
    values that the handler returns the names of the layer's tops.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        layer: LayerDefinition,
        bottoms: Sequence[ir.Value],
        count: int,
        parameters: ParameterStore,
        shared: dict[tuple, ir.Value],
        notes: list[str],
    ) -> None:
        self.builder, self.layer, self.count, self.notes = builder, layer, count, notes
        self.bottoms = list(bottoms)
        self._parameters, self._shared = parameters, shared

    # -- the layer --------------------------------------------------------------------------------------------------

    def param(self, name: str) -> Message:
        """The layer's parameter message of that field name, with defaults where the file has none."""
        return self.layer.param(name)

    def expect(
        self,
        bottoms: int | tuple[int, int | None] = 1,
        tops: int | tuple[int, int | None] = 1,
        rank: int | tuple[int, int | None] | None = None,
    ) -> ir.Value | None:
        """Check numbers of bottoms and tops and the rank of the first bottom (exact, or least and most); returns it."""
        for what, found, wanted in (("bottom", len(self.bottoms), bottoms), ("top", self.count, tops)):
            if not _within(found, wanted):
                raise self.error(f"has {found} {what}{'' if found == 1 else 's'}, Caffe wants {_words(wanted)}")
        first = self.bottoms[0] if self.bottoms else None
        if rank is not None and not _within(len(self.shape(first)), rank):
            raise self.error(f"its bottom has shape {self.shape(first)}, Caffe wants {_words(rank)} axes")
        return first

    def axis(self, axis: int, rank: int) -> int:
        """A canonical axis in 0..rank-1. Raises ReadError outside -rank..rank-1."""
        if not -rank <= axis < rank:
            raise self.error(f"axis {axis} does not exist in a blob of {rank} axes")
        return axis % rank

    def error(self, message: str) -> ReadError:
        """A mistake of the file at this layer."""
        return ReadError(message, self.layer.file, self.layer.line, self.layer.name)

    # -- values and operators -----------------------------------------------------------------------------------------

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        return shape_of(value)

    def op(self, op_type: str, *inputs: ir.Value | None, outputs: int | None = None, **attributes: Any) -> Any:
        """Add an operator; returns its value, or a tuple of ``outputs`` values."""
        names = None if outputs is None else [None] * outputs
        try:
            result = self.builder.op(op_type, inputs, names, **attributes)
        except ValueError as error:
            raise self.error(str(error)) from error
        for value in result if outputs is not None else (result,):
            shape = self.shape(value)
            if prod(shape) > MAXIMUM_ELEMENTS or min(shape, default=1) < 1:
                raise self.error(f"its output would have shape {shape}")
        return result

    def constant(self, array: Any, dtype: str = "int64") -> ir.Value:
        return self.builder.constant(array, dtype)

    def scalar(self, number: float) -> ir.Value:
        """A float32 scalar operand."""
        return self.builder.constant(number, "float32")

    def affine(self, x: ir.Value, scale: float, shift: float) -> ir.Value:
        """scale * x + shift, without the steps that change nothing."""
        if scale != 1:
            x = self.op("Mul", x, self.scalar(scale))
        return x if shift == 0 else self.op("Add", x, self.scalar(shift))

    # -- weights ------------------------------------------------------------------------------------------------------

    def weights(self, *wanted: Parameter, shapes: Sequence[tuple[int, ...]] | None = None) -> list[ir.Value]:
        """An initializer per wanted blob, in the file's order; ``shapes`` are theirs in the hub, where they differ.

        Nothing is read from the file until the initializer's value is asked for.
        """
        sources = self._parameters.sources(self.layer, wanted)
        sizes = shapes or [parameter.shape for parameter in wanted]
        return [
            self._initializer(source, parameter.role, tuple(size))
            for source, parameter, size in zip(sources, wanted, sizes, strict=True)
        ]

    def sources(self, *wanted: Parameter) -> list[Source]:
        """The blobs themselves, for a layer whose hub weights are computed from them."""
        return self._parameters.sources(self.layer, wanted)

    def shape_in_file(self, index: int) -> tuple[int, ...] | None:
        """The shape of one stored blob, None where the file lacks it."""
        return self._parameters.shape_in_file(self.layer, index)

    def stored(self) -> bool:
        """Whether the weights file holds blobs of this layer."""
        return self._parameters.holds(self.layer)

    def computed(self, role: str, read: Any, shape: Sequence[int]) -> ir.Value:
        """An initializer ``<layer>.<role>`` of which ``read`` gives the float32 array when asked."""
        return self.builder.initializer(f"{self.layer.name}.{role}", read, shape)

    def _initializer(self, source: Source, role: str, shape: tuple[int, ...]) -> ir.Value:
        key = (source.key, shape)
        if key not in self._shared:
            self._shared[key] = self.computed(role, source.read, shape)
        return self._shared[key]


def constant_array(context: LayerContext, array: np.ndarray, role: str) -> ir.Value:
    """An array that the reader itself computed, as an initializer ``<layer>.<role>``."""
    return context.builder.initializer(f"{context.layer.name}.{role}", np.asarray(array, np.float32))


def require(condition: bool, reason: str, help: str = "") -> None:
    """Refuse the layer unless ``condition`` holds."""
    if not condition:
        raise Refusal(reason, help)


def _within(found: int, wanted: int | tuple[int, int | None]) -> bool:
    least, most = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    return least <= found and (most is None or found <= most)


def _words(wanted: int | tuple[int, int | None]) -> str:
    if isinstance(wanted, int):
        return str(wanted)
    return f"{wanted[0]} or more" if wanted[1] is None else f"{wanted[0]} to {wanted[1]}"
