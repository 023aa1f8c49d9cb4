"""Arrays on their way to and from a worker: files of raw bytes in a temporary folder, named in the JSON."""

from __future__ import annotations

import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from converter.errors import UsageError

_DTYPE = re.compile(r"[<|]([biufc])(1|2|4|8|16)")
_FILE = re.compile(r"[\w.-]+\.bin")


class BadAnswer(Exception):
    """A worker described an array that is not there or not so; ``str()`` says what is wrong."""


class Exchange:
    """A temporary folder for the arrays of one worker."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="converter-"))
        self._written = 0

    def write(self, name: str, array: np.ndarray) -> dict[str, Any]:
        """Writes ``array``, little-endian and in C order; returns its entry in the JSON. UsageError if not numbers."""
        array = np.asarray(array)
        if array.dtype.kind not in "biufc":
            raise UsageError(f'the input "{name}" holds no numbers but {array.dtype}')
        dtype = array.dtype.newbyteorder("<")
        self._written += 1
        file = f"input-{self._written}.bin"
        array.astype(dtype, order="C", copy=False).tofile(self.folder / file)
        return {"file": file, "dtype": dtype.str, "shape": list(array.shape)}

    def read(self, entry: Any) -> np.ndarray:
        """The array that a worker's ``entry`` describes, mapped copy-on-write from its file, which is deleted.

        Raises:
            BadAnswer: the entry is malformed, leads out of the folder, or the file's size is not what it says.
        """
        try:
            file, dtype, shape = entry["file"], entry["dtype"], tuple(entry["shape"])
            well_formed = _FILE.fullmatch(file) and _DTYPE.fullmatch(dtype) and all(type(d) is int for d in shape)
        except (TypeError, KeyError):
            well_formed = False
        if not well_formed or any(extent < 0 for extent in shape):
            raise BadAnswer(f"no description of an array: {str(entry)[:200]}")
        path = self.folder / file
        try:
            actual = os.stat(path, follow_symlinks=False).st_size
            expected = math.prod(shape) * np.dtype(dtype).itemsize
            if path.is_symlink() or actual != expected:
                raise BadAnswer(f"{file} holds {actual} bytes where {dtype} of shape {shape} takes {expected}")
            mapped = np.memmap(path, dtype, "c", shape=shape) if expected else np.zeros(shape, dtype)
            path.unlink()
        except (OSError, TypeError, ValueError) as error:
            raise BadAnswer(f"{file}: {error}") from error
        return np.asarray(mapped)
