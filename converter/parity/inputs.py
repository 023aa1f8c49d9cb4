"""What both sides are run on: the test images, and probes that expose mistakes of layout.

Probes are samples beside the images: a slope that differs along every axis, an impulse in one corner of each channel,
tiny and large magnitudes, and uniform noise. A flipped, transposed or permuted axis cannot hide in any of them, as it
can in a picture of a face. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from converter.graph.model import Model, Preprocessing, shape_of

#: Operators whose second input is a switch, 0 or 1.
_SWITCHES = frozenset(("ResettableLSTM", "ResettableRNN", "Compress"))
#: Operators that hand whole numbers on.
_HANDING_ON = frozenset(("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Split", "Not", "Equal"))


def inputs_for(
    model: Model, images: Path | None, preprocessing: Preprocessing | None, limit: int
) -> dict[str, np.ndarray]:
    """An array per graph input: at most ``limit`` images (or one batch, if that is more) and the probes.

    Images are read where the model has one input and that can be a picture, (N, 1 or 3, H, W); where the
    preprocessing says nothing of size they are resized to it. Along axis 0 every array is a multiple of the declared
    size. Raises ReadError for a broken image.
    """
    names = [value.name for value in model.graph.inputs]
    shapes = model.input_shapes()
    if len(names) == 1 and images is not None and _is_picture(shapes[names[0]]):
        pictures = _pictures(images, preprocessing, shapes[names[0]], limit)
    else:
        pictures = None
    low, high = _range(pictures, preprocessing)
    samples = {
        name: np.concatenate(list(_probes(model, name, low, high))) if shapes[name] else np.float32(low)
        for name in names
    }
    if pictures is not None:
        samples = {names[0]: np.concatenate([pictures, samples[names[0]]])}
    return _whole_batches(model, samples)


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] in (1, 3)


def _pictures(folder: Path, preprocessing: Preprocessing | None, shape: tuple[int, ...], limit: int) -> np.ndarray:
    from converter.images import load_images

    channels = "gray" if shape[1] == 1 else "rgb"
    how = preprocessing or Preprocessing(channels)
    if (how.channels == "gray") != (shape[1] == 1):
        how = replace(how, channels=channels, mean=())
    if how.resize is None and how.crop is None:
        how = replace(how, resize=(shape[2], shape[3]))
    return load_images(folder, how, limit)


def _range(pictures: np.ndarray | None, preprocessing: Preprocessing | None) -> tuple[float, float]:
    """Where the values of a real input lie."""
    if pictures is not None:
        return float(pictures.min()), float(pictures.max())
    if preprocessing is None:
        return 0.0, 1.0
    mean = max(preprocessing.mean, default=0.0)
    return -mean * preprocessing.scale, (255.0 - mean) * preprocessing.scale


def _probes(model: Model, name: str, low: float, high: float) -> Iterator[np.ndarray]:
    """The probes for one input, each of its declared shape."""
    value = next(value for value in model.graph.inputs if value.name == name)
    shape, dtype = shape_of(value), value.dtype.numpy()
    random = np.random.RandomState(0)
    if (largest := _largest_whole_number(model, name)) is not None or not np.issubdtype(dtype, np.floating):
        # A switch or an index: no slope, no magnitude, only legal values.
        # The first of them is 0: a recurrent layer starts anew there, whatever a runtime kept from the run before.
        top = 1 if largest is None else largest
        for numbers in (np.full(shape, min(top, 1)), *(random.randint(0, top + 1, shape) for _ in range(3))):
            numbers[0] = 0
            yield numbers.astype(dtype)
        return
    noise = random.uniform(low, high, shape)
    yield noise.astype(dtype)
    yield (low + (high - low) * _slope(shape)).astype(dtype)
    yield _impulses(shape, low, high).astype(dtype)
    yield ((low + (high - low) * random.uniform(0, 1, shape)) * 1e-3).astype(dtype)


def _slope(shape: tuple[int, ...]) -> np.ndarray:
    """0 to 1, rising at another pace along every axis but the first, so that no two axes can be exchanged unseen."""
    slope = np.zeros(shape)
    for axis, size in enumerate(shape[1:], 1):
        ramp = np.linspace(0, 1, size) ** axis if size > 1 else np.zeros(1)
        slope += ramp.reshape([-1 if other == axis else 1 for other in range(len(shape))]) * 2.0**-axis
    return slope


def _impulses(shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """The lowest value everywhere, and in each channel the highest at one place of its own, off the centre."""
    impulses = np.full(shape, low)
    flat = impulses.reshape(shape[0], shape[1], -1) if len(shape) > 1 else impulses.reshape(1, 1, -1)
    for channel in range(flat.shape[1]):
        flat[:, channel, (flat.shape[2] // 3 + 7 * channel) % flat.shape[2]] = high
    return impulses


def _largest_whole_number(model: Model, name: str) -> int | None:
    """The largest legal value of an input that is read as whole numbers (through a Cast or straight), else None."""
    names = {name}
    for node in model.graph:
        inputs = [value.name if value is not None else None for value in node.inputs]
        if node.op_type in _HANDING_ON:
            if inputs[0] in names:
                names.update(value.name for value in node.outputs)
        elif node.op_type in _SWITCHES and len(inputs) > 1 and inputs[1] in names:
            return 1
        elif node.op_type == "Gather" and len(inputs) > 1 and inputs[1] in names:
            axis = node.attributes["axis"].value if "axis" in node.attributes else 0
            return shape_of(node.inputs[0])[axis] - 1
    return None


def _whole_batches(model: Model, samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cut along axis 0 to a multiple of the declared size, the same number of batches for every input."""
    declared = {name: shape[0] if shape else 1 for name, shape in model.input_shapes().items()}
    batches = min(len(array) // declared[name] for name, array in samples.items() if array.ndim)
    return {
        name: array if array.ndim == 0 else np.ascontiguousarray(array[: batches * declared[name]])
        for name, array in samples.items()
    }
