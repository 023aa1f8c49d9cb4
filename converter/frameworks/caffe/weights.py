"""Stored parameters: .caffemodel (V2, V1, V0), HDF5 and .binaryproto, memory-mapped; and the .caffemodel writer.

Only names, types and blobs are read: layer parameters come from the prototxt (shared/facts/caffe.md 2.2).
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converter.errors import ReadError, WriteError

from .kinds import classify, refuse_other_kind
from .schema import V0_TYPES, V1_TYPES
from .wire import FIXED32, FIXED64, LENGTH, VARINT, WireField, WireFile, encode_prefix, encode_varint

MAXIMUM_AXES = 32  # kMaxBlobAxes of Caffe
MAXIMUM_COUNT = 2**31 - 1  # a blob's count is an int in Caffe
MAXIMUM_MESSAGE = 2**31 - 1  # protobuf parses no larger message, so Caffe could not read it


@dataclass(frozen=True)
class Segment:
    """``count`` values of type ``dtype`` (numpy's string with the byte order) in the file, ``stride`` bytes apart."""

    offset: int
    count: int
    dtype: str
    stride: int

    @property
    def is_contiguous(self) -> bool:
        return self.stride == np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Blob:
    """One stored parameter, still in the file.

    ``legacy``: the file gave num, channels, height, width, so ``shape`` is 4-D, right-aligned with leading ones.
    """

    shape: tuple[int, ...]
    legacy: bool
    file: Path
    segments: tuple[Segment, ...]
    buffer: Any = field(repr=False, compare=False)

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def offset(self) -> int | None:
        """Where the values lie in the file as one run of little-endian float32, to be copied from there; else None."""
        if len(self.segments) == 1 and self.segments[0].is_contiguous and self.segments[0].dtype == "<f4":
            return self.segments[0].offset
        return None

    @property
    def length(self) -> int | None:
        """Bytes of that run, else None."""
        return None if self.offset is None else self.count * 4

    def array(self) -> np.ndarray:
        """The values as float32 of ``shape``: a read-only view of the memory map where ``offset`` is set, else a copy.

        The view may be unaligned: its offset in the file is any byte.
        """
        parts = [np.ndarray((s.count,), s.dtype, self.buffer, s.offset, (s.stride,)) for s in self.segments]
        if self.offset is not None:
            return parts[0].reshape(self.shape)
        # a double beyond float32 becomes infinite, as in Caffe
        with np.errstate(over="ignore"):
            parts = [part.astype(np.float32) for part in parts]
        return np.concatenate(parts or [np.empty(0, np.float32)]).reshape(self.shape)


@dataclass
class Weights:
    """The parameters of a file by layer name, in file order.

    Caffe loads by name, into the first layer of the net with that name; of several stored copies the last one stays,
    and that copy is the one here. ``types`` are V2 type strings, "" where the file says none (HDF5, or a type unknown
    to V0 and V1).
    """

    layers: dict[str, list[Blob]]
    types: dict[str, str]
    file: Path


def read_weights(path: str | Path) -> Weights:
    """The parameters of a .caffemodel or an HDF5 file; nothing is copied, and floats are not visited.

    Raises ReadError where the file is of another kind, cut short, or its shapes and data do not agree.
    """
    kind = classify(path)
    if kind == "hdf5":
        return _read_hdf5(Path(path))
    if kind not in (None, "caffemodel"):
        raise refuse_other_kind(path, "Caffe weights", kind)
    file = WireFile(path)
    weights = Weights({}, {}, file.path)
    dialects = set()
    for item in file.fields(0, file.size):
        if item.number in (100, 2):
            file.expect(item, LENGTH, "a layer")
            dialects.add(item.number)
            _add_layer(file, item, weights)
    if len(dialects) == 2:
        raise ReadError("holds layers of both the old and the new form; Caffe refuses that", path)
    if not dialects:
        raise ReadError("not Caffe weights: it holds no layers", path)
    return weights


def read_mean(path: str | Path) -> np.ndarray:
    """The mean image of a .binaryproto: float32 (C, H, W), as Caffe's tools make it BGR and 0 to 255."""
    kind = classify(path)
    if kind not in (None, "mean"):
        raise refuse_other_kind(path, "a Caffe mean file", kind)
    file = WireFile(path)
    blob = _read_blob(file, 0, file.size, "the mean", "")
    shape = blob.shape[1:] if len(blob.shape) == 4 and blob.shape[0] == 1 else blob.shape
    if len(shape) != 3:
        raise ReadError(f"a mean image has the shape (1, channels, height, width), not {blob.shape}", path)
    return blob.array().reshape(shape)


def _add_layer(file: WireFile, item: WireField, weights: Weights) -> None:
    """V2: 1 name, 2 type, 7 blobs. V1: 4 name, 5 type, 6 blobs, 1 a V0 layer (1 name, 2 type, 50 blobs)."""
    name = type = ""
    ranges: list[WireField] = []
    numbers = (
        {1: "name", 2: "type", 7: "blobs"} if item.number == 100 else {4: "name", 5: "type", 6: "blobs", 1: "layer"}
    )
    for inner in file.fields(item.start, item.stop):
        what = numbers.get(inner.number)
        if what == "name":
            name = file.text(inner, "the name of a layer")
        elif what == "type" and item.number == 2:
            file.expect(inner, VARINT, "the type of a layer")
            type = V1_TYPES.get(inner.value, ("", ""))[1]
        elif what == "type":
            type = file.text(inner, "the type of a layer")
        elif what == "blobs":
            file.expect(inner, LENGTH, "a blob")
            ranges.append(inner)
        elif what == "layer":
            file.expect(inner, LENGTH, "a V0 layer")
            for old in file.fields(inner.start, inner.stop):
                if old.number == 1:
                    name = file.text(old, "the name of a layer")
                elif old.number == 2:
                    type = V0_TYPES.get(file.text(old, "the type of a layer"), "")
                elif old.number == 50:
                    file.expect(old, LENGTH, "a blob")
                    ranges.append(old)
    blobs = [_read_blob(file, r.start, r.stop, f"blob {i}", name) for i, r in enumerate(ranges)]
    if name in weights.layers and len(weights.layers[name]) != len(blobs):
        counts = f"{len(weights.layers[name])} and {len(blobs)} blobs"
        raise ReadError(f"stored twice, with {counts}: it cannot be told which Caffe means", file.path, layer=name)
    weights.layers[name] = blobs
    weights.types[name] = type


def _read_blob(file: WireFile, start: int, stop: int, what: str, layer: str) -> Blob:
    """BlobProto: legacy 1 to 4, 5 data, 7 shape, 8 double_data; NVCaffe's 10 raw_data_type and 12 raw_data."""
    legacy: dict[int, int] = {}
    dims: list[int] = []
    floats: list[Segment] = []
    doubles: list[Segment] = []
    raw: WireField | None = None
    raw_type = 0
    for item in file.fields(start, stop):
        if item.number in (1, 2, 3, 4, 10):
            file.expect(item, VARINT, f"field {item.number} of a blob")
            legacy.update({item.number: item.value} if item.number < 5 else {})
            raw_type = item.value if item.number == 10 else raw_type
        elif item.number == 5:
            floats.append(_segment(file, item, FIXED32, "<f4"))
        elif item.number == 8:
            doubles.append(_segment(file, item, FIXED64, "<f8"))
        elif item.number == 7:
            file.expect(item, LENGTH, "the shape of a blob")
            for inner in file.fields(item.start, item.stop):
                if inner.number == 1:
                    dims += file.integers(inner, "a dimension")
        elif item.number == 12:
            file.expect(item, LENGTH, "raw_data")
            raw = item
    segments = [segment for segment in doubles or floats if segment.count]
    if raw is not None and raw.stop > raw.start:
        if segments:
            raise ReadError(f"{what} holds its values twice, in different forms", file.path, layer=layer or None)
        segments = [_raw_segment(file, raw, raw_type)]
    if legacy:
        dims = [_int32(legacy.get(number, 0)) for number in (1, 2, 3, 4)]
    count = sum(segment.count for segment in segments)
    if len(dims) > MAXIMUM_AXES or min(dims, default=1) < 0 or math.prod(dims) > MAXIMUM_COUNT:
        raise ReadError(f"{what} has the impossible shape {_shown(dims)}", file.path, layer=layer or None)
    if math.prod(dims) != count:
        message = f"{what} has the shape {_shown(dims)} = {math.prod(dims):,} values, but {count:,} are stored"
        raise ReadError(message, file.path, layer=layer or None)
    return Blob(tuple(dims), bool(legacy), file.path, tuple(segments), file.buffer)


def _segment(file: WireFile, item: WireField, fixed: int, dtype: str) -> Segment:
    """A packed field, or a run of unpacked ones."""
    if item.wire == fixed:
        return Segment(item.start, item.count, dtype, item.stride)
    file.expect(item, LENGTH, "the data of a blob")
    width = np.dtype(dtype).itemsize
    count, rest = divmod(item.stop - item.start, width)
    if rest:
        raise file.error(f"damaged: {item.stop - item.start:,} bytes of data are no whole number of values", item.start)
    return Segment(item.start, count, dtype, width)


def _raw_segment(file: WireFile, item: WireField, raw_type: int) -> Segment:
    """NVCaffe's storage: enum Type DOUBLE 0, FLOAT 1, FLOAT16 2 (its caffe.proto); integers are refused."""
    dtype = {0: "<f8", 1: "<f4", 2: "<f2"}.get(raw_type)
    if dtype is None:
        raise file.error(f"raw_data of type {raw_type} is not a floating-point type,", item.start)
    return _segment(file, item, -1, dtype)


def _int32(value: int) -> int:
    value &= 2**32 - 1
    return value - 2**32 if value >> 31 else value


def _shown(dims: Sequence[int]) -> str:
    shown = [str(d) for d in dims[:8]] + ["..."] * (len(dims) > 8)
    return f"({', '.join(shown)})"


def _read_hdf5(path: Path) -> Weights:
    """Groups ``data/<layer>`` of datasets ``0``, ``1``, ... as Caffe writes them: contiguous, not compressed.

    h5py is used for the index alone; the values are mapped like those of a caffemodel. Links out of the file, virtual,
    external and compressed datasets are refused: what they would make the library do is not bounded.
    """
    import h5py

    weights = Weights({}, {}, path)
    mapped = WireFile(path)
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(_hdf5_member(file, "data", path), h5py.Group):
                raise ReadError("not Caffe weights: the HDF5 file has no group 'data'", path)
            for layer, group in _hdf5_members(file["data"], path):
                if not isinstance(group, h5py.Group):
                    raise ReadError(f"not Caffe weights: data/{layer} is no group", path)
                members = dict(_hdf5_members(group, path))
                if set(members) != {str(i) for i in range(len(members))}:
                    raise ReadError("its datasets are not 0, 1, 2, ...", path, layer=layer)
                weights.layers[layer] = [_hdf5_blob(members[str(i)], i, layer, mapped) for i in range(len(members))]
                weights.types[layer] = ""
    except ReadError:
        raise
    except Exception as error:  # h5py turns every mistake of a file into one of many built-in exceptions
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReadError(f"a damaged HDF5 file: {detail}", path) from None
    if not weights.layers:
        raise ReadError("not Caffe weights: the HDF5 file holds no layers", path)
    return weights


def _hdf5_members(group: Any, path: Path) -> Iterable[tuple[str, Any]]:
    if len(group) > 100_000:
        raise ReadError("a group of more than 100,000 members", path)
    return [(name, _hdf5_member(group, name, path)) for name in group]


def _hdf5_member(group: Any, name: str, path: Path) -> Any:
    import h5py

    link = group.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise ReadError(f"{name!r} is a link to somewhere else; that is not followed", path)
    return group[name]


def _hdf5_blob(dataset: Any, index: int, layer: str, file: WireFile) -> Blob:
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.str not in ("<f4", "<f8", ">f4", ">f8"):
        raise ReadError(f"blob {index} is not a dataset of floating-point numbers", file.path, layer=layer)
    if dataset.is_virtual or dataset.external or dataset.chunks is not None:
        raise ReadError(
            f"blob {index} is virtual, external, chunked or compressed; Caffe writes none of these",
            file.path,
            layer=layer,
        )
    shape = dataset.shape or ()
    if dataset.shape is None or len(shape) > MAXIMUM_AXES or math.prod(shape) > MAXIMUM_COUNT:
        raise ReadError(f"blob {index} has an impossible shape", file.path, layer=layer)
    count, width = math.prod(shape), dataset.dtype.itemsize
    offset = dataset.id.get_offset() if count else 0
    if offset is None or offset + count * width > file.size:
        raise ReadError(f"blob {index}: its {count:,} values do not lie within the file", file.path, layer=layer)
    segments = (Segment(offset, count, dataset.dtype.str, width),) if count else ()
    return Blob(tuple(shape), False, file.path, segments, file.buffer)


def write_caffemodel(path: str | Path, layers: Iterable[tuple[str, str, Sequence[np.ndarray]]], name: str = "") -> None:
    """Write a V2 caffemodel: of each layer (name, type, arrays) the arrays as float32 with their shapes.

    ``layers`` is consumed one by one, so that a generator never holds more than one layer. The file appears under its
    name when it is whole. Raises WriteError.
    """
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            encoded = name.encode()
            file.write(encode_prefix(1, len(encoded)) + encoded if name else b"")
            for layer_name, type, arrays in layers:
                _write_layer(file, layer_name.encode(), type.encode(), arrays)
            if file.tell() > MAXIMUM_MESSAGE:
                raise WriteError(f"{path}: the weights take {file.tell():,} bytes; Caffe reads no more than 2 GB")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary:
            os.unlink(temporary)


def _write_layer(file: Any, name: bytes, type: bytes, arrays: Sequence[np.ndarray]) -> None:
    heads = []
    for array in arrays:
        dims = b"".join(encode_varint(size) for size in array.shape)
        shape = encode_prefix(1, len(dims)) + dims
        head = encode_prefix(7, len(shape)) + shape + encode_prefix(5, array.size * 4)
        heads.append(encode_prefix(7, len(head) + array.size * 4) + head)
    start = encode_prefix(1, len(name)) + name + encode_prefix(2, len(type)) + type
    length = len(start) + sum(len(head) + array.size * 4 for head, array in zip(heads, arrays, strict=True))
    file.write(encode_prefix(100, length) + start)
    for head, array in zip(heads, arrays, strict=True):
        file.write(head)
        file.write(np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8).data)
