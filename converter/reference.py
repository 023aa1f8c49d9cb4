"""The repository's own trained models: where they are, how images go in, and what their runtimes gave."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converter.errors import ReadError, UsageError
from converter.graph.model import Model, Preprocessing
from converter.parity.side import Side, recorded_side

_ROOT = Path(__file__).resolve().parent.parent
#: The test images that the repository ships.
DATA = _ROOT / "data" / "mouths"


@dataclass(frozen=True)
class Reference:
    """One framework's reference model: its files, its preprocessing and its folder."""

    framework: str
    folder: Path
    files: tuple[Path, ...]
    preprocessing: Preprocessing

    def recorded_for(self, model: Model) -> Callable[[], tuple[Side, dict[str, np.ndarray]]]:
        """What the real runtime gave on the test images, for where it cannot be asked again."""

        def load() -> tuple[Side, dict[str, np.ndarray]]:
            raise NotImplementedError

        return load


def reference_model(framework: str) -> Reference:
    """The reference model of ``framework``. Raises UsageError where this installation has none."""
    folder = _ROOT / "reference_models" / framework
    path = folder / "card.json"
    if not path.exists():
        raise UsageError(
            f"there is no reference model of {framework} here; name the files of yours, or run in a checkout"
        )
    try:
        card = json.loads(path.read_text())
        files = tuple(folder / name for name in card["files"].values())
        return Reference(framework, folder, files, Preprocessing.from_json(card["preprocessing"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError("is no card of a reference model", path) from error
