"""Reductions: methods of the tensor."""

from __future__ import annotations

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Node, emits
from converter.graph.ops.common import normal_axes

_REDUCTIONS = {
    "ReduceSum": "{0}.sum",
    "ReduceMean": "{0}.mean",
    "ReduceL1": "torch.abs({0}).sum",
    "ReduceSumSquare": "torch.square({0}).sum",
    "ReduceMax": "{0}.amax",
    "ReduceMin": "{0}.amin",
    "ReduceL2": "{0}.norm",
}


@emits(*_REDUCTIONS, "ReduceProd")
def reduce(node: Node) -> Code:
    axes = node.integers(1, "axes")
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return Code("{0}")
        axes = tuple(range(node.rank()))
    keep = ", keepdim=True" if node.get("keepdims", 1) else ""
    if node.op == "ReduceProd":
        # torch.prod takes one axis at a time; from the last, so that the others keep their number.
        steps = sorted(normal_axes(axes, node.rank()), reverse=True)
        return Code("{0}" + "".join(f".prod(dim={axis}{keep})" for axis in steps))
    return Code(f"{_REDUCTIONS[node.op]}(dim={axes[0] if len(axes) == 1 else axes}{keep})")


@emits("ArgMax", "ArgMin")
def arg(node: Node) -> Code:
    if node.get("select_last_index", 0):
        raise CannotEmit("the last of equal values")
    keep = ", keepdim=True" if node.get("keepdims", 1) else ""
    return Code(f"{{0}}.{node.op.lower()}(dim={node.get('axis', 0)}{keep})")


@emits("TopK")
def top_k(node: Node) -> Code:
    (count,) = node.integers(1, "k")
    smallest = "" if node.get("largest", 1) else ", largest=False"
    return Code(f"{{0}}.topk({count}, dim={node.get('axis', -1)}{smallest})", results=2)
