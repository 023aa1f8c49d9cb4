"""The hub's operators, a family a file; importing this package fills the table."""

from converter.graph.ops.registry import UNIT_ROUNDOFF, Inferred, Op, TensorInfo, find, infer, names, register

__all__ = ["UNIT_ROUNDOFF", "Inferred", "Op", "TensorInfo", "find", "infer", "names", "register"]
