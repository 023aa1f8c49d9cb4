"""Image files become a net's input, and folders of classes become data sets.

The numbers come from the bytes of the file: decoded by Pillow to 8-bit RGB, then resized, cropped, reordered, and
shifted and scaled as :class:`converter.graph.model.Preprocessing` says. An EXIF orientation is not applied, as the
frameworks' own readers of training data do not apply it.

This module needs numpy and Pillow alone, so that the training scripts of ``reference_models`` can use it in the
environments of the frameworks.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from converter.errors import ReadError

if TYPE_CHECKING:
    from converter.graph.model import Preprocessing

#: Raster formats that Pillow decodes by itself. Others may start programs (EPS runs Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
#: Pixel modes whose values are 8 bits a channel; converting others (16 bits, float) would clip without a word.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
MAX_PIXELS = 64 * 1024 * 1024
MAX_BYTES_LOADED = 4 * 1024**3
MAX_SPLIT_BYTES = 64 * 1024 * 1024
#: Rounded shares of each class when a data set brings no split of its own; the rest is for training.
VALIDATION_SHARE = TEST_SHARE = 0.1


@dataclass(frozen=True)
class Dataset:
    """Image files with their classes. ``labels`` is int64, (len(files),); ``folder`` holds the class folders."""

    folder: Path
    files: tuple[Path, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.files)


def load_images(
    source: str | Path | Iterable[str | Path], preprocessing: Preprocessing, limit: int | None = None
) -> np.ndarray:
    """The images of ``source`` as a net's input: float32, (N, C, H, W), C-contiguous.

    ``source`` is as for :func:`image_files`. Raises ReadError naming the file that is broken, too small for the crop,
    or of another size than the first when neither ``resize`` nor ``crop`` makes them equal.
    """
    files = image_files(source, limit)
    first = prepare(read_image(files[0]), preprocessing, files[0])
    if first.nbytes * len(files) > MAX_BYTES_LOADED:
        raise ReadError(f"{len(files)} images of {first.shape} do not fit in memory; take fewer", files[0].parent)
    batch = np.empty((len(files), *first.shape), np.float32)
    for index, file in enumerate(files):
        image = prepare(read_image(file), preprocessing, file) if index else first
        if image.shape != first.shape:
            raise ReadError(
                f"has {image.shape[2]}x{image.shape[1]} pixels, but {files[0].name} has "
                f"{first.shape[2]}x{first.shape[1]}; ask for a resize or a crop",
                file,
            )
        batch[index] = image
    return batch


def image_files(source: str | Path | Iterable[str | Path], limit: int | None = None) -> list[Path]:
    """The image files of ``source``, at least one: a file, a folder, or any number of these.

    Of a folder, the images in it and in its direct subfolders (the classes), sorted by name, hidden ones left out.
    With ``limit``, that many of them evenly spread, so that every class is among them. Raises ReadError.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    files = [file for entry in sources for file in _files_of(Path(entry))]
    if not files:
        raise ReadError("holds no images", sources[0] if sources else None)
    if limit is not None and limit < len(files):
        files = [files[index * len(files) // limit] for index in range(max(limit, 1))]
    return files


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    folders = [path, *(entry for entry in _visible(path) if entry.is_dir())]
    return [entry for folder in folders for entry in _visible(folder) if entry.suffix.lower() in SUFFIXES]


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise ReadError(f"cannot be listed: {error.strerror}", folder) from error


def read_image(file: str | Path) -> np.ndarray:
    """The pixels of an image file: uint8, (H, W, 3), RGB, transparency dropped.

    Raises ReadError where the file is missing, broken, no image, deeper than 8 bits or above ``MAX_PIXELS``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow about size; the bound below is lower
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ReadError(f"has {image.width}x{image.height} pixels, more than {MAX_PIXELS}", file)
                if image.mode not in MODES:
                    raise ReadError(f'has pixels of kind "{image.mode}", not 8 bits a channel', file)
                return np.asarray(image.convert("RGB"))
    except ReadError:
        raise
    except FileNotFoundError as error:
        raise ReadError("no such file", file) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise ReadError(f"is not a readable image ({error})", file) from error


def prepare(pixels: np.ndarray, preprocessing: Preprocessing, file: str | Path | None = None) -> np.ndarray:
    """One net input, float32 (C, H, W), from ``pixels``, uint8 (H, W, 3) RGB.

    In this order: resize (Pillow's antialiased bilinear), centred crop (the odd pixel is left at the bottom or right),
    channel order (gray is Pillow's "L": ITU-R 601 luma), minus mean, times scale. The arithmetic is float32.
    Raises ReadError, naming ``file``, where the crop is larger than the image.
    """
    image = Image.fromarray(pixels)
    if preprocessing.channels == "gray":
        image = image.convert("L")
    if preprocessing.resize is not None:
        image = image.resize(preprocessing.resize[::-1], Image.Resampling.BILINEAR)
    values = np.atleast_3d(np.asarray(image))
    if preprocessing.crop is not None:
        (height, width), (rows, columns) = values.shape[:2], preprocessing.crop
        if rows > height or columns > width:
            raise ReadError(f"has {width}x{height} pixels, fewer than the crop {columns}x{rows}", file)
        top, left = (height - rows) // 2, (width - columns) // 2
        values = values[top : top + rows, left : left + columns]
    if preprocessing.channels == "bgr":
        values = values[..., ::-1]
    planes = values.transpose(2, 0, 1).astype(np.float32)
    if preprocessing.mean:
        planes -= np.asarray(preprocessing.mean, np.float32)[:, None, None]
    return np.ascontiguousarray(planes * np.float32(preprocessing.scale))


def dataset(folder: str | Path) -> Dataset:
    """The images in the class folders ``0``, ``1``, ... of ``folder``, sorted by class and name. Raises ReadError."""
    folder = Path(folder)
    classes = [entry for entry in _visible(folder) if entry.is_dir() and entry.name.isdecimal()]
    classes.sort(key=lambda entry: int(entry.name))
    files = [(file, int(entry.name)) for entry in classes for file in _files_of(entry)]
    if not files:
        raise ReadError("holds no images in class folders 0, 1, ...", folder)
    return Dataset(folder, tuple(file for file, _ in files), np.array([label for _, label in files], np.int64))


def split(data: Dataset) -> dict[str, Dataset]:
    """The parts "train", "validation" and "test" of ``data``.

    As ``split.json`` in its folder says (a list of ``class/name`` for each part). Without one, a tenth of each class is
    for validation and a tenth for the test, in the order of the SHA-256 of ``class/name``: the same on every machine.
    Raises ReadError where split.json is broken, names a file that is not there, or names one twice.
    """
    names = {f"{file.parent.name}/{file.name}": index for index, file in enumerate(data.files)}
    listing = data.folder / "split.json"
    parts = _read_split(listing, names) if listing.is_file() else _hashed_split(data, names)
    return {
        part: Dataset(data.folder, tuple(data.files[index] for index in chosen), data.labels[chosen])
        for part, chosen in parts.items()
    }


def _read_split(listing: Path, names: dict[str, int]) -> dict[str, list[int]]:
    try:
        if listing.stat().st_size > MAX_SPLIT_BYTES:
            raise ReadError("is too large for a split", listing)
        content = json.loads(listing.read_bytes())
        parts = {part: list(content[part]) for part in ("train", "validation", "test")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReadError('is not a split: JSON with lists "train", "validation" and "test"', listing) from error
    seen: set[str] = set()
    for name in (name for part in parts.values() for name in part):
        if not isinstance(name, str) or name not in names:
            raise ReadError(f"names {name!r}, which is not in the data set", listing)
        if name in seen:
            raise ReadError(f"names {name!r} twice", listing)
        seen.add(name)
    return {part: [names[name] for name in chosen] for part, chosen in parts.items()}


def _hashed_split(data: Dataset, names: dict[str, int]) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    shuffled = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    for label in np.unique(data.labels):
        members = [names[name] for name in shuffled if data.labels[names[name]] == label]
        validation, test = round(len(members) * VALIDATION_SHARE), round(len(members) * TEST_SHARE)
        parts["validation"] += sorted(members[:validation])
        parts["test"] += sorted(members[validation : validation + test])
        parts["train"] += sorted(members[validation + test :])
    return parts
