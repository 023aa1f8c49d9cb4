"""Mistakes outside a layer: its input was laid out or prepared otherwise, or its output relates simply to the right one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converter.graph.model import Preprocessing

#: Channels of a tensor up to which a permutation is looked for.
LARGEST_PERMUTATION = 4096


def moved_inputs(
    name: str, array: np.ndarray, preprocessing: Preprocessing | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Other forms in which a runtime may have got the tensor ``name``; in words, the tensor.

    ``preprocessing`` is given where the tensor is the model's input.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return
    if array.ndim >= 3 and array.shape[1] > 1:
        words = "RGB for BGR" if array.shape[1] == 3 else "reverse order"
        yield f"the channels of {name} are reversed ({words})", array[:, ::-1]
        yield f"{name} is laid out as NHWC and read as NCHW", np.moveaxis(array, 1, -1).reshape(array.shape)
        last = array.reshape(array.shape[0], *array.shape[2:], array.shape[1])
        yield f"{name} is laid out as NCHW and read as NHWC", np.moveaxis(last, -1, 1)
    if array.ndim == 4:
        if array.shape[2] == array.shape[3]:
            yield f"height and width of {name} are exchanged", array.swapaxes(2, 3)
        yield f"{name} is upside down", array[:, :, ::-1]
        yield f"{name} is mirrored", array[..., ::-1]
    if preprocessing is not None:
        yield from _preparations(name, array, preprocessing)
    if array.ndim > 1 and array.shape[0] > 1:
        yield f"the samples of {name} are in reverse order", array[::-1]


def _preparations(name: str, array: np.ndarray, preprocessing: Preprocessing) -> Iterator[tuple[str, np.ndarray]]:
    """A model's input with one step of its preprocessing missed, done twice or done otherwise."""
    wide = array.astype(np.float64)
    scale = preprocessing.scale
    mean = np.array(preprocessing.mean or (0.0,), np.float64).reshape(1, -1, *(1,) * max(0, array.ndim - 2))
    steps = []
    if preprocessing.mean and mean.shape[1] in (1, array.shape[1] if array.ndim > 1 else 1):
        steps += [
            ("the mean is not subtracted from {}", wide + mean * scale),
            ("the mean is subtracted from {} twice", wide - mean * scale),
            ("the mean of {} is in reverse order of channels", wide + (mean - mean[:, ::-1]) * scale),
        ]
    if scale not in (0.0, 1.0):
        steps += [
            ("{} is not scaled", wide / scale),
            ("{} is scaled twice", wide * scale),
            ("{} is scaled before the mean is subtracted", wide + mean * scale - mean),
        ]
    steps += [
        ("{} is divided by 255", wide / 255), ("{} is divided by 256", wide / 256),
        ("{} is multiplied by 255", wide * 255), ("{} is mapped to [-1, 1]", 2 * wide - 1),
    ]  # fmt: skip
    for words, prepared in steps:
        # The runtime worked with float32 numbers.
        yield words.format(name), prepared.astype(np.float32)


def related_outputs(
    actual: np.ndarray, value: np.ndarray, noise: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Simple relations between what a runtime gave and what it should have given (one shape).

    Yields words and the value and noise that would be right if the relation held; the caller compares.
    """
    if not np.issubdtype(value.dtype, np.floating) or not np.isfinite(value).all() or not np.isfinite(actual).all():
        return
    noise = np.broadcast_to(noise, value.shape)
    yield "the output is all zeros", np.zeros_like(value), noise
    if value.ndim >= 2 and value.shape[1] > 1:
        order = _permutation(actual, value)
        if order is not None:
            words = ", ".join(map(str, order[:8])) + (", ..." if len(order) > 8 else "")
            yield f"channels or classes are permuted: the output holds {words}", value[:, order], noise[:, order]
    if value.ndim >= 3 and value.shape[1] > 1:
        layouts = [np.moveaxis(array, 1, -1).reshape(value.shape) for array in (value, noise)]
        yield "the output is laid out as NHWC", *layouts
    if value.ndim == 4:
        if value.shape[2] == value.shape[3]:
            yield "height and width of the output are exchanged", value.swapaxes(2, 3), noise.swapaxes(2, 3)
        yield "the output is upside down", value[:, :, ::-1], noise[:, :, ::-1]
        yield "the output is mirrored", value[..., ::-1], noise[..., ::-1]
    yield from _fits(actual.astype(np.float64), value, noise)


def _fits(actual: np.ndarray, value: np.ndarray, noise: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """One factor or offset for the whole tensor, then one for each channel; more elements than parameters."""
    weight = 1.0 / np.maximum(noise, np.abs(value).max(initial=1e-30) * 1e-12) ** 2
    whole = tuple(range(value.ndim))
    channel = tuple(axis for axis in whole if axis != 1)
    for axes, words in ((whole, "the output"), (channel, "each channel of the output")):
        count = value.size if axes == whole else value.size // max(1, value.shape[1] if value.ndim > 1 else 1)
        if count < 4 or (axes == channel and value.ndim < 2):
            continue
        energy = (weight * value * value).sum(axis=axes, keepdims=True)
        factor = (weight * value * actual).sum(axis=axes, keepdims=True) / np.where(energy == 0, 1.0, energy)
        shown = f"by {factor.flat[0]:.8g}" if axes == whole else "by a factor of its own"
        yield f"{words} is scaled {shown}", value * factor, noise * np.maximum(np.abs(factor), 1.0)
        offset = (weight * (actual - value)).sum(axis=axes, keepdims=True) / weight.sum(axis=axes, keepdims=True)
        shown = f"by {offset.flat[0]:.8g}" if axes == whole else "by an offset of its own"
        yield f"{words} is shifted {shown}", value + offset, np.hypot(noise, 2.0**-24 * np.abs(offset))


def _permutation(actual: np.ndarray, value: np.ndarray) -> list[int] | None:
    """The order of the channels of ``value`` that ``actual`` may have: both sorted by one random projection."""
    channels = value.shape[1]
    if channels > LARGEST_PERMUTATION:
        return None
    rows = [np.moveaxis(array, 1, 0).reshape(channels, -1).astype(np.float64) for array in (actual, value)]
    direction = np.random.default_rng(0).standard_normal(rows[0].shape[1])
    sorted_actual, sorted_value = (np.argsort(array @ direction, kind="stable") for array in rows)
    order = np.empty(channels, int)
    order[sorted_actual] = sorted_value
    return None if (order == np.arange(channels)).all() else order.tolist()
