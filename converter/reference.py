"""The repository's own trained models: where they are, how images go in, and what their runtimes gave."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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

    def recorded(self, model: Model) -> list[Recorded]:
        """What the real runtime gave on the test images, for where it cannot be asked again.

        Every blob for a few images, and the logits and probabilities for all. Raises ReadError where the records are
        of other files or other images than those that are there.
        """
        from converter.images import dataset, load_images  # Pillow, which a machine's own records alone need

        folder = self.folder / "recorded"
        index = json.loads((folder / "index.json").read_text())
        for file in self.files:
            if hashlib.sha256(file.read_bytes()).hexdigest() != index["model"][file.name]:
                raise ReadError("is not the file whose outputs were recorded", file)
        data = dataset(DATA)
        images = load_images(data.files, self.preprocessing)
        if hashlib.sha256(images.tobytes()).hexdigest() != index["images"]["inputs_sha256"]:
            raise ReadError("holds other images than those whose outputs were recorded", DATA)
        (name,) = model.input_shapes()
        shown = [data.files.index(DATA / file) for file in index["blobs_of"]]
        with np.load(folder / "outputs.npz", allow_pickle=False) as arrays:
            blobs = {key.removeprefix("blob_"): arrays[key] for key in arrays.files if key.startswith("blob_")}
            outputs = {hub: arrays[key] for key, hub in index["outputs"].items()}
        label = f"{self.framework} {index['runtime'][self.framework]}, recorded"
        details = {"versions": index["runtime"], "files": {file.name: file for file in self.files}}
        blobs.pop(name, None)
        return [
            Recorded(recorded_side(self.framework, label, {name: rows}, given, **details), {name: rows})
            for rows, given in ((images[shown], blobs), (images, outputs))
        ]


class Recorded(NamedTuple):
    """A side that answers from records, and the inputs that it has answers for."""

    side: Side
    inputs: dict[str, np.ndarray]


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
        files = tuple(folder / name for name in card["model"].values())
        return Reference(framework, folder, files, Preprocessing.from_json(card["preprocessing"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError("is no card of a reference model", path) from error
