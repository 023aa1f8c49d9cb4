"""What both sides are run on: the test images, and probes that expose mistakes of layout and of range.

Probes are samples beside the images: noise over the range of an image, a slope that differs along every axis, an
impulse at a place of its own in each channel, tiny and large values of both signs. A flipped, transposed or permuted
axis cannot hide in any of them, as it can in a picture of a face; pixels alone, never negative, would never ask what a
leaky activation does below zero. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from converter.errors import UsageError
from converter.graph.evaluate import evaluate
from converter.graph.model import Model, Preprocessing, shape_of
from converter.graph.shapes import batch_is_free

Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]

#: Operators whose second input says at which steps a state is kept (1) and where it starts anew (0).
_RECURRENCES = frozenset(("ResettableLSTM", "ResettableRNN"))
#: Operators that hand whole numbers on.
_HANDING_ON = frozenset(("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Split", "Not", "Equal"))

#: Factors of the tiny and the large probe. The end-to-end distance sums the energy of all samples: a larger one would
#: drown the others in it (sixteen-fold noise took nine tenths off the distance that a missing bias makes).
TINY, LARGE = 2.0**-10, 2.0**2


def inputs_for(model: Model, images: Path | None, preprocessing: Preprocessing | None, limit: int) -> Arrays:
    """An array per graph input: at most ``limit`` images, then the probes; along axis 0 whole declared batches.

    Images are read where the model has one input that can be a picture, (N, 1 or 3, H, W) floats; where the
    preprocessing says nothing of size they are resized to it. A probe is one sample where axis 0 is a batch, else one
    array of the declared shape; what a batch lacks is filled up with noise. Raises ReadError for a broken image and
    UsageError where the preprocessing does not give what the input takes.
    """
    shapes, counted = model.input_shapes(), _whole_numbers(model)
    pictures: Arrays = {}
    span = preprocessing and _range(preprocessing)
    if images is not None and len(shapes) == 1 and not counted:
        [(name, shape)] = shapes.items()
        if len(shape) == 4 and shape[1] in (1, 3):
            from converter.images import load_images

            how = _fitted(preprocessing, name, shape)
            pictures[name], span = load_images(images, how, limit), _range(how)
    probes = _Probes(model, counted, span or (0.0, 1.0))
    sizes = {shape[0] for shape in shapes.values() if shape}
    # A sequence is not cut: its first step must tell a recurrent layer to start anew.
    rows = 1 if len(sizes) == 1 and not counted and batch_is_free(model) else None
    blocks = [pictures] if pictures else []
    blocks.append(probes.noise(rows))
    if all(shapes.values()):
        blocks += [probes.slope(rows), probes.impulses(rows)]
        blocks += [block for block in (probes.signed(TINY, rows), probes.signed(LARGE, rows)) if _finite(model, block)]
    if len(sizes) == 1:
        size = sizes.pop()
        lacking = -sum(len(next(array for array in block.values() if array.ndim)) for block in blocks) % size
        blocks += [probes.noise(lacking)] if lacking else []
    return {
        name: np.concatenate([block[name] for block in blocks]) if shape else blocks[0][name]
        for name, shape in shapes.items()
    }


def _fitted(preprocessing: Preprocessing | None, name: str, shape: Shape) -> Preprocessing:
    """``preprocessing`` for an input (N, C, H, W): gray for one channel, resized to H, W where it names no size."""
    _, channels, height, width = shape
    how = preprocessing or Preprocessing()
    if (how.channels == "gray") != (channels == 1):
        how = replace(how, channels="gray" if channels == 1 else "rgb")
    if how.resize is None and how.crop is None:
        how = replace(how, resize=(height, width))
    made = how.crop or how.resize
    if made != (height, width):
        option = "crop" if how.crop else "resize"
        raise UsageError(
            f'the {option} makes images of {made[0]}x{made[1]}, but input "{name}" takes {height}x{width}; '
            f"give --{option} {height},{width}, or --no-verify"
        )
    if len(how.mean) not in (0, 1, channels):
        raise UsageError(
            f'the mean has {len(how.mean)} values, but input "{name}" has {channels} channels; give --mean'
        )
    return how


def _range(preprocessing: Preprocessing) -> tuple[float, float]:
    """Where the values of a real input lie."""
    means = preprocessing.mean or (0.0,)
    ends = ((0.0 - max(means)) * preprocessing.scale, (255.0 - min(means)) * preprocessing.scale)
    return min(ends), max(ends)


class _Probes:
    """Makes an array for every input of a model. One generator serves all: no two inputs get the same numbers, so
    that inputs which are exchanged cannot hide either. Whole-number inputs get legal numbers in every probe."""

    def __init__(self, model: Model, counted: dict[str, _Counted], span: tuple[float, float]) -> None:
        self.inputs = {value.name: (shape_of(value), value.dtype.numpy()) for value in model.graph.inputs}
        self.counted, (self.low, self.high) = counted, span
        self.random = np.random.RandomState(0)

    def noise(self, rows: int | None) -> Arrays:
        """Uniform over the range; ``rows`` samples, None for the declared number."""
        return self._each(rows, lambda shape: self.random.uniform(self.low, self.high, shape))

    def signed(self, factor: float, rows: int | None) -> Arrays:
        """Uniform over both signs, times ``factor``."""
        reach = factor * max(abs(self.low), abs(self.high))
        return self._each(rows, lambda shape: self.random.uniform(-reach, reach, shape))

    def slope(self, rows: int | None) -> Arrays:
        return self._each(rows, lambda shape: self.low + (self.high - self.low) * _slope(shape))

    def impulses(self, rows: int | None) -> Arrays:
        return self._each(rows, lambda shape: self.low + (self.high - self.low) * _impulses(shape))

    def _each(self, rows: int | None, make: Callable[[Shape], np.ndarray]) -> Arrays:
        arrays = {}
        for name, (declared, dtype) in self.inputs.items():
            shape = declared if rows is None or not declared else (rows, *declared[1:])
            if name in self.counted or not np.issubdtype(dtype, np.floating):
                legal = self.counted.get(name, _Counted(1, False))
                array = np.asarray(self.random.randint(0, legal.largest + 1, shape))
                if legal.starts_anew:
                    array[:1] = 0
            else:
                array = np.asarray(make(shape))
            arrays[name] = array.astype(dtype)
        return arrays


def _slope(shape: Shape) -> np.ndarray:
    """0 to 1, rising at another pace along every axis but the first, so that no two axes can be exchanged unseen."""
    slope = np.zeros(shape)
    for axis, size in enumerate(shape[1:], 1):
        ramp = np.linspace(0, 1, size) ** axis if size > 1 else np.zeros(1)
        slope += ramp.reshape([-1 if other == axis else 1 for other in range(len(shape))]) * 2.0**-axis
    return slope


def _impulses(shape: Shape) -> np.ndarray:
    """0 everywhere, and in each channel 1 at one place of its own, off the centre."""
    impulses = np.zeros(shape)
    flat = impulses.reshape(shape[0], shape[1], -1) if len(shape) > 1 else impulses.reshape(1, 1, -1)
    for channel in range(flat.shape[1]):
        flat[:, channel, (flat.shape[2] // 3 + 7 * channel) % flat.shape[2]] = 1.0
    return impulses


def _finite(model: Model, block: Arrays) -> bool:
    """Whether every value of the net is finite in float32: a probe that overflows, or takes the logarithm of a
    negative number, would ask what runtimes do with NaN, which is not what a conversion promises."""
    with np.errstate(all="ignore"):
        values = evaluate(model, block, "all", dtype=np.float32)
    return all(np.isfinite(value).all() for value in values.values())


class _Counted(NamedTuple):
    """What an input of whole numbers may hold: 0 to ``largest``; the first along axis 0 must be 0 where it
    ``starts_anew``, since a runtime may keep its state from the run before."""

    largest: int
    starts_anew: bool


def _whole_numbers(model: Model) -> dict[str, _Counted]:
    """The inputs that are read as whole numbers, through a Cast or straight."""
    read_from = {value.name: value.name for value in model.graph.inputs}
    counted: dict[str, _Counted] = {}
    for node in model.graph:
        inputs = [value.name if value is not None else None for value in node.inputs]
        if node.op_type in _HANDING_ON and inputs[0] in read_from:
            read_from.update((value.name, read_from[inputs[0]]) for value in node.outputs)
        elif len(inputs) > 1 and inputs[1] in read_from and (legal := _second_input(node)):
            name = read_from[inputs[1]]
            other = counted.get(name, legal)
            counted[name] = _Counted(min(legal.largest, other.largest), legal.starts_anew or other.starts_anew)
    return counted


def _second_input(node: ir.Node) -> _Counted | None:
    """What the second input of ``node`` may hold, None for any number."""
    if node.op_type in _RECURRENCES:
        return _Counted(1, True)
    if node.op_type == "Compress":
        return _Counted(1, False)
    if node.op_type == "Gather":
        axis = node.attributes["axis"].value if "axis" in node.attributes else 0
        return _Counted(shape_of(node.inputs[0])[axis] - 1, False)
    return None
