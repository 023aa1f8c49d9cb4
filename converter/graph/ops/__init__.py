"""The hub's operators, a family a file; importing this package fills the table."""

from importlib import import_module

from converter.graph.ops.registry import UNIT_ROUNDOFF, Inferred, Op, TensorInfo, find, infer, names, register

FAMILIES = (
    "activation",
    "arithmetic",
    "convolution",
    "detection",
    "normalisation",
    "pooling",
    "recurrent",
    "reduction",
    "resize",
    "shape",
)
for _family in FAMILIES:
    import_module(f"converter.graph.ops.{_family}")

__all__ = ["UNIT_ROUNDOFF", "Inferred", "Op", "TensorInfo", "find", "infer", "names", "register"]
