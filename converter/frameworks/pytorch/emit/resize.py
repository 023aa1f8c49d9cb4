"""Resize: F.interpolate where PyTorch has the same rule, otherwise its indices or weights as constants.

PyTorch knows three rules: "nearest" (asymmetric, floor), "nearest-exact" (half pixel, ties upwards) and linear with
half pixels or with aligned corners. Which of them equals the node is found by comparing positions, not names.
"""

from __future__ import annotations

import numpy as np

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Module, Node, Weight, call, emits
from converter.graph.ops.resize import NEAREST, _plan, _positions

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@emits("Resize")
def resize(node: Node) -> Code:
    shape, rank = node.shape(), node.rank()
    scales, sizes = (node.array(index, "scales or sizes") if node.has(index) else None for index in (2, 3))
    plan = _plan(node.attributes, shape, scales, sizes)
    if not plan:
        return Code("{0}")
    nearest = node.get("mode", "nearest") == "nearest"
    mode = (_nearest_mode if nearest else _linear_mode)(node, plan, shape)
    if mode and 3 <= rank <= 5 and min(axis for axis, _, _ in plan) >= 2:
        options = _target(plan, shape, sizes is not None and sizes.size > 0) | mode
        return call(Module("nn.Upsample", {}, options))
    tensors, expression = {}, "{0}"
    for axis, new, scale in plan:
        positions = np.clip(_positions(node.attributes, shape[axis], new, scale), 0, None)
        if nearest:
            tensors[f"index_{axis}"] = _constant(_rounded(node, positions, shape[axis]))
            expression = f"{expression}.index_select({axis}, {{index_{axis}}})"
        elif rank == 4 and axis in (2, 3):
            matrix = _interpolation(positions, shape[axis])
            tensors["rows" if axis == 2 else "columns"] = _constant(matrix if axis == 2 else matrix.T.copy())
            expression = f"{{rows}} @ {expression}" if axis == 2 else f"{expression} @ {{columns}}"
        else:
            raise CannotEmit("linear interpolation by this rule of other axes than height and width")
    return Code(expression, tensors=tensors)


def _constant(array: np.ndarray) -> Weight:
    return Weight(array, array.shape)


def _target(plan: list, shape: tuple[int, ...], by_size: bool) -> dict[str, object]:
    """``size`` or ``scale_factor``, as the source gave it; whole factors always as such, any image size then works."""
    changed = {axis: (new, scale) for axis, new, scale in plan}
    all_axes = [changed.get(axis, (shape[axis], 1.0)) for axis in range(2, len(shape))]
    if by_size and any(scale != int(scale) for _, scale in all_axes):
        values, name = [new for new, _ in all_axes], "size"
    else:
        values, name = [int(scale) if scale == int(scale) else scale for _, scale in all_axes], "scale_factor"
    return {name: values[0] if len(set(values)) == 1 else tuple(values)}


def _rounded(node: Node, positions: np.ndarray, size: int) -> np.ndarray:
    rounding = NEAREST[node.get("nearest_mode", "round_prefer_floor")]
    return np.clip(rounding(positions), 0, size - 1).astype(np.int64)


def _nearest_mode(node: Node, plan: list, shape: tuple[int, ...]) -> dict[str, str] | None:
    """The rule of PyTorch that picks the same elements."""
    wanted = [
        _rounded(node, _positions(node.attributes, shape[axis], new, scale), shape[axis]) for axis, new, scale in plan
    ]
    rules = {"nearest": lambda i, s: np.floor(i / s), "nearest-exact": lambda i, s: np.floor((i + 0.5) / s)}
    for mode, rule in rules.items():
        # In float32, as PyTorch does it: where a position rounds across an element, that shows here.
        picked = [
            np.minimum(rule(np.arange(new, dtype=np.float32), np.float32(scale)), shape[axis] - 1).astype(np.int64)
            for axis, new, scale in plan
        ]
        if all(np.array_equal(a, b) for a, b in zip(wanted, picked, strict=True)):
            return {} if mode == "nearest" else {"mode": mode}
    return None


def _linear_mode(node: Node, plan: list, shape: tuple[int, ...]) -> dict[str, object] | None:
    if not 3 <= len(shape) <= 5:
        return None
    name = _LINEAR[len(shape) - 2]
    rules = {
        False: lambda i, old, new, scale: (i + 0.5) / scale - 0.5,
        True: lambda i, old, new, scale: i * (old - 1) / max(new - 1, 1),
    }
    for aligned, rule in rules.items():
        same = all(
            np.allclose(
                np.clip(_positions(node.attributes, shape[axis], new, scale), 0, shape[axis] - 1),
                np.clip(rule(np.arange(new), shape[axis], new, scale), 0, shape[axis] - 1),
                rtol=0,
                atol=1e-9,
            )
            for axis, new, scale in plan
        )
        if same:
            return {"mode": name} | ({"align_corners": True} if aligned else {})
    return None


def _interpolation(positions: np.ndarray, size: int) -> np.ndarray:
    """float32 (new, old): each row the two weights of its output."""
    positions = np.clip(positions, 0, size - 1)
    low = np.floor(positions).astype(np.int64)
    weight = positions - low
    matrix = np.zeros((len(positions), size))
    rows = np.arange(len(positions))
    np.add.at(matrix, (rows, low), 1 - weight)
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), weight)
    return matrix.astype(np.float32)
