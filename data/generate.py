"""Writes the test images: 500 neutral (0) and 500 smiling (1) mouths as JPEG files, and their split.

    python data/generate.py -o DIR

The files in ``data/mouths`` are the truth: another JPEG encoder may round differently, so drawing them again gives the
same pixels before compression (``drawing.draw``), not always the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from drawing import Dice, draw
from PIL import Image

SEED = 2024
PER_CLASS = 500
PARTS = {"train": 400, "validation": 50, "test": 50}  # of each class


def draw_numbered(label: int, number: int) -> np.ndarray:
    """The picture behind ``<label>/<number>.jpg``: uint8, (60, 60, 3), RGB, before compression."""
    return draw([SEED, label, number], label)


def choose_split() -> dict[str, list[str]]:
    """Which file belongs to which part: both classes equally, chosen at random once and for all."""
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for label in (0, 1):
        order = np.argsort(Dice([SEED, label, PER_CLASS]).array(PER_CLASS), kind="stable")
        start = 0
        for part, count in PARTS.items():
            parts[part] += [f"{label}/{number:03d}.jpg" for number in sorted(order[start : start + count])]
            start += count
    return parts


def hash_images(folder: Path) -> str:
    """What ``sha256sum 0/*.jpg 1/*.jpg | sha256sum`` prints in ``folder``."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n"
        for label in "01"
        for file in sorted((folder / label).glob("*.jpg"))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write, e.g. data/mouths")
    folder = parser.parse_args().output
    for label in (0, 1):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        for number in range(PER_CLASS):
            # 4:4:4, so that decoders cannot differ in how they enlarge the colour planes.
            picture = Image.fromarray(draw_numbered(label, number))
            picture.save(folder / str(label) / f"{number:03d}.jpg", quality=90, subsampling=0)
    split = {"sha256": hash_images(folder), **choose_split()}
    (folder / "split.json").write_text(json.dumps(split, indent=0) + "\n")


if __name__ == "__main__":
    main()
