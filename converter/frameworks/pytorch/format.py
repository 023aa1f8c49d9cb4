"""safetensors, written as a stream: the header first, then each tensor straight from where it lies.

Layout (safetensors 0.4, "Format" in its README): 8 bytes little-endian length of the header, the header as JSON
({name: {"dtype", "shape", "data_offsets": [begin, end]}}, offsets from the end of the header, without gaps), padded
with spaces so that the data begins at a multiple of 8, then the data, little-endian in C order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from converter.errors import WriteError

#: numpy dtype name -> safetensors dtype.
DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}

#: Bytes that are written at once: small enough to stay in the processor's cache between map and file.
CHUNK = 1 << 20


class Tensor(NamedTuple):
    """One entry of the file; ``read()`` gives an array of ``shape`` (any layout, any view) when its turn comes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def write(path: Path, tensors: Iterable[Tensor]) -> None:
    """Write ``tensors`` to ``path``, largest items first so that every one is aligned to its own size.

    No more than one tensor is looked at at a time; a contiguous one goes from its memory map to the file uncopied.
    Raises WriteError where the disk refuses or a tensor is not what was announced.
    """
    ordered = sorted(tensors, key=lambda tensor: -np.dtype(tensor.dtype).itemsize)
    try:
        with open(path, "wb") as file:
            file.write(_header(ordered))
            for tensor in ordered:
                _write_array(file, tensor)
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror or error}") from error


def _header(tensors: list[Tensor]) -> bytes:
    entries, offset = {}, 0
    for tensor in tensors:
        end = offset + prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
        if tensor.name in entries:
            raise WriteError(f'two tensors are called "{tensor.name}"')
        if tensor.dtype not in DTYPES:
            raise WriteError(f'tensor "{tensor.name}" is {tensor.dtype}, which is not written')
        entries[tensor.name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_array(file, tensor: Tensor) -> None:  # noqa: ANN001 - a binary file object
    array = tensor.read()
    if array.shape != tensor.shape:
        raise WriteError(f'tensor "{tensor.name}" has shape {array.shape}, {tensor.shape} was announced')
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    if array.dtype == dtype and array.flags.c_contiguous:
        raw = array.reshape(-1).view(np.uint8)
        for first in range(0, len(raw), CHUNK):
            file.write(raw[first : first + CHUNK])
        return
    # Rows of the outermost axis, as many as fit into a chunk.
    rows = array.reshape(1) if array.ndim == 0 else array
    step = max(1, CHUNK // max(1, rows[:1].nbytes))
    for first in range(0, len(rows), step):
        file.write(np.ascontiguousarray(rows[first : first + step], dtype).reshape(-1).view(np.uint8))
