"""Layers without bottoms whose values never change: learned blobs and constant data."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..format import LayerDefinition
from ..parameters import MAXIMUM_ELEMENTS, Parameter
from .context import LayerContext, constant_array, require
from .registry import layer


@layer("Parameter")
def parameter(context: LayerContext) -> ir.Value:
    """A learned blob as a top."""
    context.expect(bottoms=0)
    shape = tuple(context.param("parameter_param").get("shape").all("dim"))
    return context.op("Identity", *context.weights(Parameter("weight", shape, None)))


def dummy_shapes(layer: LayerDefinition) -> list[tuple[int, ...]]:
    """The shape of every top of a DummyData layer; one shape for all of them is legal. Empty where they do not fit."""
    message, count = layer.param("dummy_data_param"), len(layer.tops)
    shapes = [tuple(shape.all("dim")) for shape in message.all("shape")]
    if not shapes:
        columns = [message.all(name) for name in ("num", "channels", "height", "width")]
        shapes = list(zip(*columns, strict=False))
    return shapes * count if len(shapes) == 1 else shapes if len(shapes) == count else []


@layer("DummyData")
def dummy_data(context: LayerContext) -> list[ir.Value]:
    """Constant values by filler, as a net beside its real inputs uses them."""
    context.expect(bottoms=0, tops=(1, None))
    shapes, fillers = dummy_shapes(context.layer), context.param("dummy_data_param").all("data_filler")
    if not shapes or len(fillers) not in (0, 1, len(shapes)):
        raise context.error(f"has {len(shapes)} shapes and {len(fillers)} fillers for {context.count} tops")
    if any(min(shape, default=0) < 1 or np.prod(shape, dtype=object) > MAXIMUM_ELEMENTS for shape in shapes):
        raise context.error(f"its shapes {shapes} are impossible")
    require(all(filler.get("type") == "constant" for filler in fillers), "it draws random values")
    values = [filler.get("value") for filler in fillers] or [0.0]
    values = values * len(shapes) if len(values) == 1 else values
    return [
        context.op("Expand", constant_array(context, np.float32(value), "value"), context.constant(shape))
        for value, shape in zip(values, shapes, strict=True)
    ]
