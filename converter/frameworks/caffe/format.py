"""Caffe files to plain structures and back; the face of this package: others import from here alone.

    read_prototxt(path) -> NetDefinition       text net of any dialect, upgraded to V2 and filtered for a phase
    parse_prototxt(text) -> NetDefinition      the same from a string
    read_net_binary(path) -> NetDefinition     the (training) net that a .caffemodel holds
    read_weights(path) -> Weights              .caffemodel or HDF5, memory-mapped
    read_mean(path) -> array                   .binaryproto
    classify(path) -> str | None               what a file is, by its content
    write_caffemodel(path, layers)             streaming
    format_message(message) -> str             text of any message
    unique_tops(net), runtime_prototxt(net)    every in-place stage under a name of its own
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .message import Message


@dataclass
class ParamSpec:
    """One ``param`` block of a layer: ``name`` ("" when the blob is not shared) and ``share_mode`` STRICT or PERMISSIVE."""

    name: str = ""
    share_mode: str = "STRICT"


@dataclass
class LayerDefinition:
    """One layer in V2 terms, whatever dialect the file was written in.

    ``parameters`` is the whole LayerParameter message; ``param("convolution_param")`` is one parameter message of it
    (an empty one, with the defaults, where the file has none). ``line`` is None for a binary file or a layer that the
    upgrade made (the ``Input`` layer of ``input:`` fields has the line of the first ``input``).
    """

    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    parameters: Message
    params: list[ParamSpec] = field(default_factory=list)
    file: str | None = None
    line: int | None = None

    def param(self, name: str) -> Message:
        """The parameter message of that field name, e.g. ``pooling_param``."""
        return self.parameters.get(name)

    @property
    def include(self) -> list[Message]:
        """NetStateRule messages; of include and exclude at most one is non-empty."""
        return self.parameters.all("include")

    @property
    def exclude(self) -> list[Message]:
        """NetStateRule messages."""
        return self.parameters.all("exclude")


@dataclass
class NetDefinition:
    """A net of one phase, upgraded to V2. ``dialect`` says what the file was: "V0", "V1" or "V2".

    ``inputs`` maps every top of an Input layer to its shape, None where the file does not say it. Data layers, losses and
    Accuracy are still in ``layers``: the reader decides what becomes of them.
    """

    name: str
    layers: list[LayerDefinition]
    inputs: dict[str, tuple[int, ...] | None]
    file: str | None
    dialect: str


@dataclass(frozen=True)
class Blob:
    """One stored parameter. ``legacy``: the file gave num, channels, height, width, so ``shape`` is 4-D, right-aligned
    with leading ones. ``offset`` and ``length`` (bytes) are set where the values lie in the file as one run of
    little-endian float32, so that a writer can copy them straight from it."""

    shape: tuple[int, ...]
    legacy: bool
    file: Path
    offset: int | None
    length: int | None

    @property
    def count(self) -> int: ...

    def array(self) -> np.ndarray:
        """The values as float32 of ``shape``: a read-only view of the memory map where ``offset`` is set, else a copy."""


@dataclass
class Weights:
    """The parameters of a file by layer name, in file order. Caffe loads by name into the first layer of that name, and of
    several stored copies the last counts: that copy is the one here. ``types`` are V2 type strings ("" when unknown)."""

    layers: dict[str, list[Blob]]
    types: dict[str, str]
    file: Path


def read_prototxt(path: str | Path, phase: str = "TEST", level: int = 0, stages: Sequence[str] = ()) -> NetDefinition:
    """Raises ReadError with file and line for whatever real Caffe would abort on."""
    raise NotImplementedError


def parse_prototxt(
    text: str, phase: str = "TEST", level: int = 0, stages: Sequence[str] = (), file: str | None = None
) -> NetDefinition:
    raise NotImplementedError


def read_net_binary(path: str | Path, phase: str = "TEST") -> NetDefinition:
    """Raises ReadError also where a field number means different things in different forks of Caffe."""
    raise NotImplementedError


def read_weights(path: str | Path) -> Weights:
    raise NotImplementedError


def read_mean(path: str | Path) -> np.ndarray:
    """float32 (C, H, W), BGR, 0 to 255."""
    raise NotImplementedError


def classify(path: str | Path) -> str | None:
    """"prototxt", "solver", "caffemodel", "hdf5", "mean", another kind in words ("zip archive"), or None."""
    raise NotImplementedError


def write_caffemodel(path: str | Path, layers: Iterable[tuple[str, str, Sequence[np.ndarray]]], name: str = "") -> None:
    """``layers`` are (name, type, arrays)."""
    raise NotImplementedError


def format_message(message: Message, indent: int = 0) -> str:
    raise NotImplementedError


def unique_tops(
    net: NetDefinition, keep: Sequence[LayerDefinition] | None = None
) -> list[tuple[list[str], list[str]]]:
    """(bottoms, tops) of every layer of ``keep`` (default: all) with a name of its own for every value.

    A blob written in place several times keeps its name for the LAST value; each earlier value is called
    "<blob>@<layer that wrote it>". Exception: the top of an Input layer always keeps its name, since the caller feeds it; every
    later stage of it is then "<blob>@<layer>". Raises ReadError where Caffe aborts: an unknown bottom, a top produced
    twice without being in place, a blob rewritten in place after another layer has read it.
    """
    raise NotImplementedError


def runtime_prototxt(
    net: NetDefinition,
    keep: Sequence[LayerDefinition] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Text for real Caffe (the reference build) with exactly the names of ``unique_tops(net, keep)``."""
    raise NotImplementedError
