"""Records what real Caffe computes for the test images, for machines that have no Caffe.

recorded/outputs.npz (float32, no pickles): ``logits`` and ``probabilities``, (images, 2), in the order of
``converter.images.dataset``; and ``blob_<name>``, every blob of the net for the first and last few images.
recorded/index.json: which images those are, hashes of model and inputs, and versions.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import caffe
import numpy as np
from mouth_layer import PREPROCESSING, dataset, load_images

BATCH = 50
BLOBS_OF = 8  # images, half of each class


def forward(net: caffe.Net, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every blob of ``net`` for ``images``, float32 (N, 3, 48, 48); an in-place layer has overwritten its input."""
    pieces = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        net.blobs["data"].reshape(*batch.shape)
        net.reshape()
        net.blobs["data"].data[...] = batch
        net.forward()
        pieces.append({name: blob.data.copy() for name, blob in net.blobs.items()})
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in net.blobs}


def record(prototxt: Path, weights: Path, folder: Path, output: Path) -> None:
    """Writes ``output``/outputs.npz and index.json for the images of ``folder``."""
    data = dataset(folder)
    images = load_images(data.files, PREPROCESSING)
    blobs = forward(caffe.Net(str(prototxt), str(weights), caffe.TEST), images)
    shown = [*range(BLOBS_OF // 2), *range(len(data) - BLOBS_OF // 2, len(data))]
    output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        output / "outputs.npz",
        logits=blobs["ip2"],
        probabilities=blobs["prob"],
        **{f"blob_{name}": values[shown] for name, values in blobs.items()},
    )
    listing = folder / "split.json"
    index = {
        "runtime": {"caffe": caffe.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "model": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (prototxt, weights)},
        "images": {
            "count": len(data),
            "sha256": json.loads(listing.read_text())["sha256"] if listing.is_file() else None,
            "inputs_sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        },
        "preprocessing": vars(PREPROCESSING),
        "outputs": {"logits": "ip2", "probabilities": "prob"},
        "blobs_of": [f"{data.files[number].parent.name}/{data.files[number].name}" for number in shown],
    }
    (output / "index.json").write_text(json.dumps(index, indent=1) + "\n")
