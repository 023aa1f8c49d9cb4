"""Caffe layers to hub operators, a family a file; importing this package fills the registry."""

from . import activation, arithmetic, constant, convolution, dense, detection, normalisation, pooling, recurrent, resize, shape
from .context import LayerContext
from .registry import Refusal, find, layer, types

__all__ = [
    "LayerContext", "Refusal", "find", "layer", "types",
    "activation", "arithmetic", "constant", "convolution", "dense", "detection", "normalisation", "pooling", "recurrent", "resize",
    "shape",
]  # fmt: skip
