"""The learned parameters of a net: joined by layer name, shared by parameter name, or made by their filler.

Rules of Caffe 1.0: a file's layer goes to the FIRST layer of its name in the net; a layer that the file lacks keeps
what its filler gave; parameters of one ``param { name }`` are one blob, which the layer stored last in the file fills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from converter.errors import ReadError

from .format import Blob, LayerDefinition, NetDefinition, Weights
from .message import Message

#: A tensor of more elements than this is a broken or hostile file, not a model (32-bit indices end there in Caffe).
MAXIMUM_ELEMENTS = 2**31 - 1

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """What a layer wants of one blob: its role ("weight", "bias", ...), its shape, and the filler if none is stored.

    ``filler`` is a FillerParameter message, a number for a constant, or None where a parameter that is not stored would
    make no sense. A weight whose message the file does not give is such a one too: Caffe would fill it with zeros.
    """

    role: str
    shape: Shape
    filler: Message | float | None


@dataclass(frozen=True)
class Source:
    """Where the values of one parameter come from. ``key`` is equal for parameters that are one blob in Caffe."""

    key: tuple[str, ...]
    read: Callable[[], np.ndarray]


class ParameterStore:
    """Finds the blobs of a net's layers in its weights file."""

    def __init__(self, net: NetDefinition, weights: Weights) -> None:
        #: What was decided that the user should know, a line each, none twice.
        self.notes: dict[str, None] = {}
        self._weights = weights
        self._net_file = net.file
        self._names = {layer.name for layer in net.layers}
        first: dict[str, LayerDefinition] = {}
        for layer in net.layers:
            first.setdefault(layer.name, layer)
        self._loaded = {id(layer) for layer in first.values()}
        self._owners: dict[str, tuple[LayerDefinition, int]] = {}
        self._stored_last: dict[str, tuple[str, int]] = {}
        order = {name: index for index, name in enumerate(weights.layers)}
        for layer in net.layers:
            for index, spec in enumerate(layer.params):
                if not spec.name:
                    continue
                self._owners.setdefault(spec.name, (layer, index))
                if id(layer) in self._loaded and index < len(weights.layers.get(layer.name, ())):
                    best = self._stored_last.get(spec.name)
                    if best is None or order[layer.name] > order[best[0]]:
                        self._stored_last[spec.name] = (layer.name, index)

    def holds(self, layer: LayerDefinition) -> bool:
        """Whether the file holds blobs that Caffe would load into this very layer."""
        return id(layer) in self._loaded and bool(self._weights.layers.get(layer.name))

    def shape_in_file(self, layer: LayerDefinition, index: int) -> Shape | None:
        """The shape of a stored blob as the file gives it, None where there is no such blob."""
        blobs = self._weights.layers.get(layer.name, [])
        return blobs[index].shape if self.holds(layer) and index < len(blobs) else None

    def sources(self, layer: LayerDefinition, wanted: Sequence[Parameter]) -> list[Source]:
        """One source per wanted parameter.

        Raises ReadError where number or shapes do not match the file's, naming both files, and where a parameter is
        neither stored nor made by a deterministic filler.
        """
        for parameter in wanted:
            if prod(parameter.shape) > MAXIMUM_ELEMENTS:
                raise self._error(layer, f"its {parameter.role} would have shape {parameter.shape}: too large")
        stored = self._weights.layers[layer.name] if self.holds(layer) else None
        if stored is not None:
            if len(stored) != len(wanted):
                message = f"{self._weights.file} holds {_count(len(stored))} of it, the net wants {len(wanted)}"
                raise self._error(layer, f"{message} ({', '.join(parameter.role for parameter in wanted)})")
            for parameter, blob in zip(wanted, stored, strict=True):
                self._check(layer, parameter, blob)
        return [self._source(layer, index, parameter, stored) for index, parameter in enumerate(wanted)]

    def _source(self, layer: LayerDefinition, index: int, wanted: Parameter, stored: list[Blob] | None) -> Source:
        name = layer.params[index].name if index < len(layer.params) else ""
        if name:
            self._check_sharing(layer, index, wanted)
            if name in self._stored_last:
                owner, position = self._stored_last[name]
                blob = self._weights.layers[owner][position]
                if blob.count != prod(wanted.shape):
                    self._check(layer, wanted, blob)
                return Source(("shared", name), blob.array)
        elif stored is not None:
            return Source(("stored", layer.name, str(index)), stored[index].array)
        key = ("shared", name) if name else ("filled", str(id(layer)), str(index))
        return Source(key, self._fill(layer, wanted))

    def _check(self, layer: LayerDefinition, wanted: Parameter, blob: Blob) -> None:
        """Caffe's rule: equal shapes; a legacy 4-D shape equals any shape of rank <= 4 padded with leading ones."""
        padded = (1,) * (4 - len(wanted.shape)) + wanted.shape if blob.legacy else wanted.shape
        if blob.shape != padded:
            where = self._net_file if layer.line is None else f"{self._net_file}:{layer.line}"
            raise self._error(
                layer, f"{self._weights.file} holds a {wanted.role} of shape {blob.shape}, {where} wants {wanted.shape}"
            )

    def _check_sharing(self, layer: LayerDefinition, index: int, wanted: Parameter) -> None:
        spec = layer.params[index]
        owner, position = self._owners[spec.name]
        have = self.shape_in_file(owner, position)
        if have is None or owner is layer:
            return
        same = (
            prod(have) == prod(wanted.shape) if spec.share_mode == "PERMISSIVE" else _bare(have) == _bare(wanted.shape)
        )
        if not same:
            raise self._error(
                layer,
                f'shares parameter "{spec.name}" with layer "{owner.name}", which has shape {have}, '
                f"but wants {wanted.shape}",
            )

    def _fill(self, layer: LayerDefinition, wanted: Parameter) -> Callable[[], np.ndarray]:
        """What Caffe's filler gives; only the constant and the bilinear one are the same in every run."""
        filler, shape = wanted.filler, wanted.shape
        if isinstance(filler, float):
            value: float | None = filler
        elif filler is None or (wanted.role == "weight" and not filler.fields):
            raise self._error(layer, self._missing(layer, ""))
        else:
            value = filler.get("value") if filler.get("type") == "constant" else None
        if value is None and not (filler.get("type") == "bilinear" and len(shape) == 4 and shape[2] == shape[3]):
            raise self._error(layer, self._missing(layer, filler.get("type")))
        note = f'layer "{layer.name}" is not in {self._weights.file}: its filler gives its parameters, as in Caffe'
        self.notes[note] = None
        if value is None:
            return lambda: bilinear_kernel(shape)
        return lambda: np.broadcast_to(np.float32(value), shape)

    def _missing(self, layer: LayerDefinition, kind: str) -> str:
        if id(layer) not in self._loaded:
            return (
                f'a second layer is called "{layer.name}": Caffe loads weights into the first one only and would run '
                "this one with what its filler gives; give it a name of its own, in the weights as well"
            )
        stored = [name for name, blobs in self._weights.layers.items() if blobs]
        known = sum(name in self._names for name in stored)
        if stored and 2 * known < len(stored):
            return (
                f'no weights for layer "{layer.name}" in {self._weights.file}: it holds the weights of another net '
                f"(of its {len(stored)} layers with weights {known} are in {self._net_file})"
            )
        guess = f'random values (its filler is "{kind}")' if kind else "zeros"
        return (
            f'no weights for layer "{layer.name}" in {self._weights.file}, Caffe would run it with {guess}: '
            "give the weights file that holds it"
        )

    def _error(self, layer: LayerDefinition, message: str) -> ReadError:
        return ReadError(message, layer.file or self._net_file, layer.line, layer.name)


def bilinear_kernel(shape: Shape) -> np.ndarray:
    """The "bilinear" filler: float32 (.., .., k, k), the same separable triangle in every channel.

    With f = ceil(k/2) and c = (2f - 1 - f mod 2) / 2f the value at (y, x) is (1 - |x/f - c|) (1 - |y/f - c|). Positions
    and c are rounded to float32 as in Caffe, where a value at the rim is therefore tiny rather than 0.
    """
    factor = np.float32((shape[3] + 1) // 2)
    centre = np.float32((2 * factor - 1 - factor % 2) / (2.0 * factor))
    line = 1 - np.abs(np.arange(shape[3], dtype=np.float32) / factor - centre)
    return np.broadcast_to(np.outer(line, line), shape).copy()


def _bare(shape: Shape) -> Shape:
    """``shape`` without leading ones, so that legacy shapes compare."""
    start = next((index for index, size in enumerate(shape) if size != 1), len(shape))
    return shape[start:]


def _count(number: int) -> str:
    return f"{number} blob{'' if number == 1 else 's'}"
