"""Caffe layers to hub operators, a family a file; importing this package fills the registry."""

from . import (
    activation,
    arithmetic,
    constant,
    convolution,
    dense,
    detection,
    normalisation,
    pooling,
    recurrent,
    resize,
    shape,
)
from .context import LayerContext
from .registry import Refusal, find, layer, types

__all__ = ["FAMILIES", "LayerContext", "Refusal", "find", "layer", "types"]

FAMILIES = (
    activation, arithmetic, constant, convolution, dense, detection, normalisation, pooling, recurrent, resize, shape,
)  # fmt: skip
