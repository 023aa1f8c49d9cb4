"""What several operator families share: checks and shapes for ``infer``, the rounding model for ``rounding``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converter.graph.ops.registry import UNIT_ROUNDOFF, Attributes, Inferred, TensorInfo

Array = np.ndarray
Arrays = Sequence[Any]
Infos = Sequence[Any]

#: Standard deviation of one rounding to float32, relative to the result: uniform in +- half a unit in the last place.
ROUNDING = UNIT_ROUNDOFF / math.sqrt(3.0)
#: Half the smallest float32 subnormal: no float32 result is known better.
FLOOR = 2.0**-150
#: Terms that a kernel adds up before it starts anew: the longest in use; many block by 256, plain loops not at all.
BLOCK = 4096


# -- shapes -----------------------------------------------------------------------------------------------------------


def same(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    """One output like the first input."""
    return [Inferred(inputs[0].shape, inputs[0].dtype)]


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that ``shapes`` broadcast to; ValueError where they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"shapes {' and '.join(map(str, shapes))} do not broadcast") from None


def normal_axis(axis: int, rank: int) -> int:
    """``axis`` counted from the front; ValueError where the tensor has no such axis."""
    if not -rank <= axis < max(rank, 1):
        raise ValueError(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def normal_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """``axes`` counted from the front; ValueError where one is absent or given twice."""
    normal = tuple(normal_axis(int(axis), rank) for axis in axes)
    if len(set(normal)) != len(normal):
        raise ValueError(f"axes {tuple(axes)} name an axis twice")
    return normal


def optional(inputs: Sequence[Any], index: int) -> Any:
    """The input at ``index``, None where it is absent (left out at the end, or an empty place)."""
    return inputs[index] if index < len(inputs) else None


def constant(inputs: Infos, index: int, what: str) -> tuple[int, ...] | None:
    """The values of a constant integer input, None where it is absent; ValueError where it is computed."""
    info = optional(inputs, index)
    if info is None:
        return None
    if info.constant is None:
        raise ValueError(f"the {what} must be a constant, not computed by the graph")
    return tuple(int(value) for value in np.ravel(info.constant))


def integers(inputs: Arrays, index: int) -> tuple[int, ...] | None:
    """The values of an integer input while evaluating, None where it is absent."""
    array = optional(inputs, index)
    return None if array is None else tuple(int(value) for value in np.ravel(array))


def hollow(info: TensorInfo) -> Array:
    """An array of that shape that takes no memory: what a view operation makes of it is the inferred shape."""
    return np.broadcast_to(np.zeros((), np.int8), info.shape)


# -- rounding ---------------------------------------------------------------------------------------------------------


def rounded(*terms: Any) -> Array:
    """Standard deviation of independent roundings of ``terms``, each relative to its own size."""
    return ROUNDING * np.sqrt(sum(np.square(term) for term in terms)) + FLOOR


def rounded_sum(count: int, squares: Array, total: Array) -> Array:
    """Standard deviation of the rounding of a sum of ``count`` terms t, added one by one in blocks of BLOCK.

    ``squares`` is the sum of t**2, ``total`` the sum S. Step k rounds the partial sum s_k by ROUNDING * abs(s_k). Where
    the terms come in no particular order, s_k is a random walk that drifts to S: E[s_k**2] = k/K * squares
    + (k/K)**2 * S**2. Summed over the K steps that is K/2 * squares + K/3 * S**2. In n = K/B blocks it holds with B for
    K inside each block (squares/n and S/n of its own), and with n for K where the blocks' sums are added. The products
    that make the terms (where they are not fused into the addition) add ``squares``, the final result S**2.
    """
    block = min(count, BLOCK)
    blocks = count / block if count else 1.0
    walk, drift = (block + blocks) / 2 + 1, (block / blocks + blocks) / 3 + 1
    return ROUNDING * np.sqrt(walk * squares + drift * np.square(total)) + FLOOR


def exact(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[float]:
    """The operator selects or moves values (or counts in integers): float32 makes no error."""
    return [0.0] * len(outputs)


def relative(factor: float = 1.0) -> Callable[[Attributes, Arrays, list[Array]], list[Array]]:
    """An error of ``factor`` roundings of the result."""

    def rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
        return [rounded(factor * output) for output in outputs]

    return rounding
