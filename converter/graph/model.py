"""The hub: one ONNX graph, with where every node came from, and the preprocessing that belongs to the model.

The graph is an ``onnx_ir`` graph at one pinned opset. Three conventions carry everything else:

* ``value.name`` is the name under which the source's own runtime can be asked for this tensor; passes keep the name
  of a value whose meaning they keep. Parity aligns both sides by it.
* every node carries an :class:`Origin` (file, line, layer, type) in its ``metadata_props``.
* an initializer is named ``<layer>.weight``, ``<layer>.bias``, ``<layer>.running_mean``, ...; its tensor is lazy and
  reads from the memory-mapped source file when asked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

OPSET = 21
IR_VERSION = 10
#: Domain of the few operators that ONNX lacks (see graph/ops).
HUB_DOMAIN = "converter"


@dataclass(frozen=True)
class Origin:
    """Where a node came from: the file and line that describe it, and the source's name and type of the layer."""

    layer: str
    type: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = "" if self.file is None else f"{self.file}: " if self.line is None else f"{self.file}:{self.line}: "
        return f'{where}layer "{self.layer}" ({self.type})'

    def mark(self, node: ir.Node) -> None:
        """Write this origin into the metadata of ``node``, where ONNX files keep it."""
        node.metadata_props["converter.layer"] = self.layer
        node.metadata_props["converter.type"] = self.type
        if self.file is not None:
            node.metadata_props["converter.file"] = self.file
        if self.line is not None:
            node.metadata_props["converter.line"] = str(self.line)

    @classmethod
    def of(cls, node: ir.Node) -> Origin:
        """The origin of ``node``; a node that nobody marked is its own origin."""
        properties = node.metadata_props
        line = properties.get("converter.line")
        return cls(
            properties.get("converter.layer") or node.name or node.op_type,
            properties.get("converter.type") or node.op_type,
            properties.get("converter.file"),
            int(line) if line else None,
        )


@dataclass(frozen=True)
class Preprocessing:
    """How an image file becomes the net's input: resize, crop, order of channels, minus mean, times scale.

    ``mean`` is subtracted first (one value per channel in the net's channel order, pixel units 0..255; empty = 0), then
    the result is multiplied by ``scale``. ``resize`` and ``crop`` are (height, width); ``crop`` is centred.
    ``channels`` is the net's order: "rgb", "bgr" or "gray".
    """

    channels: str = "rgb"
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    scale: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Preprocessing:
        pair = {key: tuple(data[key]) for key in ("resize", "crop") if data.get(key) is not None}
        return cls(data.get("channels", "rgb"), pair.get("resize"), pair.get("crop"),
                   tuple(data.get("mean", ())), float(data.get("scale", 1.0)))  # fmt: skip


@dataclass
class Artifact:
    """A model on disk in the form that its framework's runtime opens.

    ``files`` maps a role ("prototxt", "caffemodel", "source", "weights", "model") to a path. ``options`` are the
    worker's (JSON-able). ``inputs``/``outputs`` map hub value names to the runtime's names; ``taps`` does so for every
    tensor that the runtime can be asked for, outputs included.
    """

    framework: str
    files: dict[str, Path]
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    taps: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Model:
    """A hub graph with what does not fit into ONNX.

    ``framework`` is where it was read from, ``files`` the files it was read from, ``notes`` what the reader decided
    that its user should know (a line each).
    """

    ir: ir.Model
    framework: str
    files: tuple[Path, ...] = ()
    preprocessing: Preprocessing | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def graph(self) -> ir.Graph:
        return self.ir.graph

    @property
    def name(self) -> str:
        return self.ir.graph.name or "net"

    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Declared shape of every graph input."""
        return {value.name: shape_of(value) for value in self.graph.inputs}


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The static shape of ``value``; every value of a hub graph has one."""
    if value.shape is None or not value.shape.is_static():
        raise ValueError(f"value {value.name} has no static shape")
    return tuple(int(size) for size in value.shape.numpy())


def attributes_of(node: ir.Node) -> dict[str, Any]:
    """The attributes of ``node`` as plain Python values (tensors as numpy arrays)."""
    plain: dict[str, Any] = {}
    for name, attribute in node.attributes.items():
        value = attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            value = value.numpy()
        elif attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
            value = tuple(value)
        plain[name] = value
    return plain


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """The array behind an initializer (a lazy one is read now), None for a computed value or an absent input."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()
