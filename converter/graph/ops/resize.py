"""Resize: nearest and linear, one axis after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converter.graph.ops.common import ROUNDING, Array, Arrays, Infos, normal_axes, optional, rounded
from converter.graph.ops.registry import Attributes, Inferred, Op, register

#: Output index i of n to a position in an input axis of m, s = n / m or the scale given (ONNX Resize).
COORDINATES: dict[str, Callable[[Array, int, int, float], Array]] = {
    "half_pixel": lambda i, m, n, s: (i + 0.5) / s - 0.5,
    "pytorch_half_pixel": lambda i, m, n, s: (i + 0.5) / s - 0.5 if n > 1 else 0.0 * i,
    "asymmetric": lambda i, m, n, s: i / s,
    "align_corners": lambda i, m, n, s: i * (m - 1) / (n - 1) if n > 1 else 0.0 * i,
}
NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _plan(
    attributes: Attributes, shape: tuple[int, ...], scales: Array | None, sizes: Array | None
) -> list[tuple[int, int, float]]:
    """(axis, new size, scale) for each axis that changes."""
    given = sizes if sizes is not None and np.size(sizes) else scales
    if given is None or not np.size(given):
        raise ValueError("Resize needs constant scales or sizes")
    axes = normal_axes(attributes.get("axes", range(len(shape))), len(shape))
    if np.size(given) != len(axes):
        raise ValueError(f"{np.size(given)} sizes or scales do not fit the input {shape}")
    if attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch" or attributes.get("antialias", 0):
        raise ValueError("Resize with antialias or keep_aspect_ratio_policy is not understood")
    plan = []
    for axis, number in zip(axes, np.ravel(given).tolist(), strict=True):
        old = shape[axis]
        new = int(number) if given is sizes else int(np.floor(old * number))
        if new < 1 or old < 1:
            raise ValueError(f"an axis of {old} cannot be resized to {new}")
        scale = new / old if given is sizes else float(number)
        if (new, scale) != (old, 1.0):
            plan.append((axis, new, scale))
    return plan


def _infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    scales, sizes = (info and info.constant for info in (optional(inputs, 2), optional(inputs, 3)))
    if attributes.get("mode", "nearest") not in ("nearest", "linear"):
        raise ValueError(f'Resize with mode "{attributes["mode"]}" is not understood')
    if attributes.get("coordinate_transformation_mode", "half_pixel") not in COORDINATES:
        raise ValueError(f'Resize coordinates "{attributes["coordinate_transformation_mode"]}" are not understood')
    if attributes.get("nearest_mode", "round_prefer_floor") not in NEAREST:
        raise ValueError(f'Resize rounding "{attributes["nearest_mode"]}" is not understood')
    shape = list(inputs[0].shape)
    for axis, new, _ in _plan(attributes, inputs[0].shape, scales, sizes):
        shape[axis] = new
    return [Inferred(tuple(shape), inputs[0].dtype)]


def _positions(attributes: Attributes, old: int, new: int, scale: float) -> Array:
    """float64 position in the input of each of the ``new`` outputs, kept inside the axis."""
    mode = attributes.get("coordinate_transformation_mode", "half_pixel")
    # Multiplying before dividing keeps positions that are whole numbers whole.
    exact_scale = new / old == scale
    index = np.arange(new, dtype=np.float64)
    if exact_scale and mode == "asymmetric":
        position = index * old / new
    elif exact_scale and (mode == "half_pixel" or (mode == "pytorch_half_pixel" and new > 1)):
        position = (index + 0.5) * old / new - 0.5
    else:
        position = COORDINATES[mode](index, old, new, scale)
    return position


def _neighbours(x: Array, axis: int, position: Array) -> tuple[Array, Array, Array]:
    """The two input values around each position, and the weight of the second (shaped to broadcast)."""
    position = np.clip(position, 0, x.shape[axis] - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    weight = (position - low).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return np.take(x, low, axis), np.take(x, high, axis), weight


def _evaluate(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x = inputs[0]
    nearest = attributes.get("mode", "nearest") == "nearest"
    for axis, new, scale in _plan(attributes, x.shape, optional(inputs, 2), optional(inputs, 3)):
        position = _positions(attributes, x.shape[axis], new, scale)
        if nearest:
            index = NEAREST[attributes.get("nearest_mode", "round_prefer_floor")](position)
            x = np.take(x, np.clip(index, 0, x.shape[axis] - 1).astype(np.int64), axis)
        else:
            low, high, weight = _neighbours(x, axis, position)
            x = low * (1 - weight) + high * weight
    return [x]


def _rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array | float]:
    """Linear: the position in the axis rounds (so the weight does), then the products and their sum."""
    if attributes.get("mode", "nearest") == "nearest":
        return [0.0]
    x, variance = inputs[0], np.zeros(())
    for axis, new, scale in _plan(attributes, x.shape, optional(inputs, 2), optional(inputs, 3)):
        position = _positions(attributes, x.shape[axis], new, scale)
        low, high, weight = _neighbours(x, axis, position)
        # Errors of the axes before are averaged by this one: no more than their larger neighbour.
        if variance.ndim:
            variance = np.maximum(*_neighbours(variance, axis, position)[:2])
        rounded_position = ROUNDING * (np.abs(position) + 1).reshape(weight.shape) * (high - low)
        variance = variance + np.square(rounded_position) + np.square(rounded(low * (1 - weight), high * weight))
        x = low * (1 - weight) + high * weight
    return [np.sqrt(variance + np.square(rounded(outputs[0])))]


register(Op("Resize", "", _infer, _evaluate, _rounding))
