"""ONNX files, written as a stream: all but the weights by onnx-ir, then each weight straight from where it lies.

Layout (onnx.proto3 of ONNX 1.23): ModelProto holds the graph in field 7, GraphProto the initializers in field 5,
TensorProto its little-endian values in field 9 or says in field 13 where they lie in another file. Protobuf reads no
message of 2 GB or more, so larger models keep their weights in a second file.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from converter.errors import WriteError

LARGEST_FILE = 2**31 - 1
#: A weight outside begins at a memory page, so that runtimes can map it (ONNX, "External Data").
PAGE = 4096
#: Smaller ones are shapes, axes and other operands: they stay inside, where shape inference looks for them.
SMALL = 1024

#: Bytes that are laid out anew at once.
CHUNK = 1 << 22

_GRAPH, _INITIALIZER, _VALUES = 7, 5, 9


class _Weight(NamedTuple):
    """``field`` is the initializer's field in the graph, up to its values; ``offset`` is None where these follow."""

    field: bytes
    tensor: ir.TensorProtocol
    offset: int | None


def write(path: Path, model: ir.Model, largest: int = LARGEST_FILE) -> list[Path]:
    """Write ``model`` to ``path``; returns the files made.

    These are ``path`` and, where it would exceed ``largest`` bytes, ``<path>.data``. One weight at a time is
    looked at; a contiguous one goes from its memory map to the file uncopied. Raises WriteError where the disk refuses.
    """
    head, graph = _without_weights(model)
    tensors = [value.const_value for value in model.graph.initializers.values()]
    data = path.with_name(f"{path.name}.data")
    weights = _placed(tensors, None)
    if _size(weights) + len(graph) + len(head) + 16 > largest:
        weights = _placed(tensors, data.name)
    try:
        with open(path, "wb") as file:
            file.write(head + _prefix(_GRAPH, len(graph) + _size(weights)) + graph)
            for weight in weights:
                file.write(weight.field)
                if weight.offset is None:
                    _write_values(file, weight.tensor)
        outside = [weight for weight in weights if weight.offset is not None]
        if not outside:
            return [path]
        with open(data, "wb") as file:
            for weight in outside:
                file.write(bytes(weight.offset - file.tell()))
                _write_values(file, weight.tensor)
        return [path, data]
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror or error}") from error


def _without_weights(model: ir.Model) -> tuple[bytes, bytes]:
    """The serialised model without its graph, and the graph without its initializers."""
    bare = model.clone()
    bare.graph.initializers.clear()
    proto = ir.serde.serialize_model(bare)
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    return proto.SerializeToString(), graph


def _placed(tensors: list[ir.TensorProtocol], data: str | None) -> list[_Weight]:
    """Where each tensor's values go: all into the model, or the larger ones one after the other into ``data``."""
    weights, end = [], 0
    for tensor in tensors:
        proto = onnx.TensorProto(name=tensor.name, dims=tensor.shape.numpy(), data_type=tensor.dtype.value)
        if data is None or tensor.nbytes < SMALL:
            start = proto.SerializeToString() + _prefix(_VALUES, tensor.nbytes)
            weights.append(_Weight(_prefix(_INITIALIZER, len(start) + tensor.nbytes) + start, tensor, None))
            continue
        offset = -(-end // PAGE) * PAGE
        end = offset + tensor.nbytes
        proto.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", data), ("offset", offset), ("length", tensor.nbytes)):
            proto.external_data.add(key=key, value=str(value))
        start = proto.SerializeToString()
        weights.append(_Weight(_prefix(_INITIALIZER, len(start)) + start, tensor, offset))
    return weights


def _size(weights: list[_Weight]) -> int:
    """Bytes of these initializers within the graph."""
    return sum(len(weight.field) + (weight.tensor.nbytes if weight.offset is None else 0) for weight in weights)


def _write_values(file: BinaryIO, tensor: ir.TensorProtocol) -> None:
    array = tensor.numpy()
    # Walks any layout in C order; only what is not contiguous yet goes through a buffer.
    parts = np.nditer(
        array,
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly", "contig"]],
        op_dtypes=[array.dtype.newbyteorder("<")],
        order="C",
        casting="equiv",
        buffersize=CHUNK // array.itemsize,
    )
    for part in parts:
        file.write(part)


def _prefix(field: int, length: int) -> bytes:
    """Key and length of a protobuf field of bytes: two varints, the key being field << 3 | 2."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
