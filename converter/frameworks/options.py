"""What a caller may tell every reader and every writer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
