"""Arithmetic, comparison and logic by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from converter.graph.ops.common import Array, Arrays, Infos, broadcast, exact, relative, rounded, same
from converter.graph.ops.registry import Attributes, Inferred, Op, register

#: Types that Cast knows, by their number in ONNX (TensorProto.DataType).
CAST_TYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}


def _broadcast_infer(dtype: str | None = None) -> Callable[[Attributes, Infos], list[Inferred]]:
    def infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
        return [Inferred(broadcast(*(info.shape for info in inputs)), dtype or inputs[0].dtype)]

    return infer


def _elementwise(name: str, function: Callable[..., Array], rounding: Any, dtype: str | None = None) -> None:
    """Register ``function`` of all inputs, broadcast."""

    def evaluate(attributes: Attributes, inputs: Arrays) -> list[Array]:
        with np.errstate(all="ignore"):
            return [np.asarray(function(*inputs))]

    register(Op(name, "", _broadcast_infer(dtype), evaluate, rounding))


def _divide(x: Array, y: Array) -> Array:
    """Integers divide as in C: towards zero."""
    if np.issubdtype(x.dtype, np.floating):
        return x / y
    return (np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))).astype(x.dtype)


def _sum_rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    """One rounding for each partial sum."""
    partial, terms = inputs[0], [outputs[0]]
    for term in inputs[1:-1]:
        partial = partial + term
        terms.append(partial)
    return [rounded(*terms)]


_elementwise("Add", np.add, relative())
_elementwise("Sub", np.subtract, relative())
_elementwise("Mul", np.multiply, relative())
_elementwise("Div", _divide, relative())
_elementwise("Pow", np.power, relative(2))
_elementwise("Max", lambda *inputs: reduce(np.maximum, inputs), exact)
_elementwise("Min", lambda *inputs: reduce(np.minimum, inputs), exact)
_elementwise("Sum", lambda *inputs: reduce(np.add, inputs), _sum_rounding)
_elementwise("Greater", np.greater, exact, "bool")
_elementwise("Less", np.less, exact, "bool")
_elementwise("Equal", np.equal, exact, "bool")
_elementwise("And", np.logical_and, exact, "bool")
_elementwise("Or", np.logical_or, exact, "bool")
_elementwise("Not", np.logical_not, exact, "bool")


def _unary(name: str, function: Callable[[Array], Array], rounding: Any) -> None:
    def evaluate(attributes: Attributes, inputs: Arrays) -> list[Array]:
        with np.errstate(all="ignore"):
            return [np.asarray(function(inputs[0]))]

    register(Op(name, "", same, evaluate, rounding))


_unary("Abs", np.abs, exact)
_unary("Neg", np.negative, exact)
_unary("Floor", np.floor, exact)
_unary("Ceil", np.ceil, exact)
_unary("Round", np.round, exact)
_unary("Sign", np.sign, exact)
_unary("Sqrt", np.sqrt, relative())
_unary("Reciprocal", np.reciprocal, relative())
_unary("Exp", np.exp, relative(2))
_unary("Log", np.log, relative(2))


def _mod(attributes: Attributes, inputs: Arrays) -> list[Array]:
    """The sign of the dividend (fmod 1) or of the divisor (fmod 0, integers alone)."""
    return [(np.fmod if attributes.get("fmod", 0) else np.mod)(inputs[0], inputs[1])]


def _where_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    return [Inferred(broadcast(*(info.shape for info in inputs)), inputs[1].dtype)]


def _cast_infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    if attributes["to"] not in CAST_TYPES:
        raise ValueError(f"Cast to ONNX type {attributes['to']} is not understood")
    return [Inferred(inputs[0].shape, CAST_TYPES[attributes["to"]])]


def _cast(attributes: Attributes, inputs: Arrays) -> list[Array]:
    """To a floating type: floating input keeps the precision that it is evaluated in, other input becomes float64."""
    x, target = inputs[0], np.dtype(CAST_TYPES[attributes["to"]])
    if np.issubdtype(target, np.floating):
        return [x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float64)]
    return [x.astype(target)]


register(Op("Mod", "", _broadcast_infer(), _mod, exact))
register(Op("Where", "", _where_infer, lambda a, i: [np.where(i[0], i[1], i[2])], exact))
register(Op("Cast", "", _cast_infer, _cast, exact))
