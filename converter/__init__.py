"""Move a deployed neural network from one framework to another, and prove that both compute the same.

    >>> import converter
    >>> result = converter.convert("caffe->pytorch", ["deploy.prototxt", "weights.caffemodel"], "out")
    >>> result.verdict.right
    True

``convert`` and ``verify`` are what the command line is a thin skin on. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converter.errors import (
    ConverterError,
    EnvironmentMissing,
    ParityFailure,
    ReadError,
    UnsupportedLayers,
    UsageError,
    WorkerFailed,
    WriteError,
)

if TYPE_CHECKING:
    from converter.api import Conversion, convert, read, verify

__version__ = "0.1.0"

__all__ = [
    "Conversion",
    "ConverterError",
    "EnvironmentMissing",
    "ParityFailure",
    "ReadError",
    "UnsupportedLayers",
    "UsageError",
    "WorkerFailed",
    "WriteError",
    "__version__",
    "convert",
    "read",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in ("Conversion", "convert", "read", "verify"):
        from converter import api

        return getattr(api, name)
    raise AttributeError(f"module 'converter' has no attribute {name!r}")
