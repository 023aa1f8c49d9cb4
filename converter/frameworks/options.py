"""What a caller may tell every reader and every writer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from converter.errors import UsageError
from converter.graph.model import Preprocessing


@dataclass(frozen=True)
class ReadOptions:
    """Options of a reader.

    ``input_shapes`` maps an input's name to its shape; the key None stands for the only input. ``outputs`` cuts the
    net at these tensors. ``model`` names the Python object that builds the net ("file.py:Object"), where code does.
    The rest overrides what the files say of the preprocessing.
    """

    input_shapes: dict[str | None, tuple[int, ...]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    model: str | None = None
    mean: tuple[float, ...] | None = None
    scale: float | None = None
    channels: str | None = None
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, "rgb", "bgr", "gray"):
            raise UsageError(f'channels are "rgb", "bgr" or "gray", not "{self.channels}"')
        if not all(map(math.isfinite, (*(self.mean or ()), self.scale or 0.0))):
            raise UsageError("mean and scale must be finite numbers")
        for what, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and (len(size) != 2 or min(size) < 1):
                raise UsageError(f"{what} is (height, width), both at least 1, not {size}")

    def preprocessing(self, found: Preprocessing | None) -> Preprocessing | None:
        """``found`` in the files, with what the caller overrides; None where neither says anything."""
        given = {
            key: value
            for key in ("mean", "scale", "channels", "resize", "crop")
            if (value := getattr(self, key)) is not None
        }
        return replace(found or Preprocessing(), **given) if given else found


@dataclass(frozen=True)
class WriteOptions:
    """Options of a writer: ``flat`` keeps one class or function, without classes for repeated blocks."""

    flat: bool = False
    preprocessing: Preprocessing | None = None
