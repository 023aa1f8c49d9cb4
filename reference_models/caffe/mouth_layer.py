"""The data layer of train_val.prototxt: batches of mouths, as a Caffe Python layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import caffe
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from converter.images import dataset, load_images, split  # noqa: E402

WHOLE, CROP = 60, 48
#: What the deployed net is given: RGB in 0..1, the 48x48 pixels in the middle.
PREPROCESSING = SimpleNamespace(channels="rgb", resize=None, crop=(CROP, CROP), mean=(), scale=1 / 255)
UNCROPPED = SimpleNamespace(channels="rgb", resize=None, crop=(WHOLE, WHOLE), mean=(), scale=1 / 255)


class MouthLayer(caffe.Layer):
    """Tops: images, float32 (batch, 3, 48, 48), and labels (batch,).

    ``param_str`` is JSON: "part" of the split and "batch_size". For training the images come shuffled, cropped at
    random places and mirrored half the time; otherwise in order and cropped in the middle.
    """

    folder = ROOT / "data" / "mouths"
    seed = 1

    def setup(self, bottom, top):  # noqa: ANN001, ANN201 (Caffe's interface)
        parameters = json.loads(self.param_str)
        data = split(dataset(self.folder))[parameters["part"]]
        self.training = parameters["part"] == "train"
        self.images = load_images(data.files, UNCROPPED if self.training else PREPROCESSING)
        self.labels = data.labels
        self.batch_size = min(parameters["batch_size"], len(data))
        self.random = np.random.Generator(np.random.PCG64(self.seed))
        self.waiting = np.empty(0, np.int64)

    def reshape(self, bottom, top):  # noqa: ANN001, ANN201
        top[0].reshape(self.batch_size, 3, CROP, CROP)
        top[1].reshape(self.batch_size)

    def forward(self, bottom, top):  # noqa: ANN001, ANN201
        if len(self.waiting) < self.batch_size:
            order = np.arange(len(self.labels))
            self.waiting = np.r_[self.waiting, self.random.permutation(order) if self.training else order]
        batch, self.waiting = self.waiting[: self.batch_size], self.waiting[self.batch_size :]
        for place, index in enumerate(batch):
            top[0].data[place] = self.vary(self.images[index]) if self.training else self.images[index]
        top[1].data[...] = self.labels[batch]

    def vary(self, image: np.ndarray) -> np.ndarray:
        """A random 48x48 piece of ``image``, (3, 60, 60), mirrored half the time."""
        row, column = self.random.integers(0, WHOLE - CROP + 1, 2)
        piece = image[:, row : row + CROP, column : column + CROP]
        return piece[:, :, ::-1] if self.random.random() < 0.5 else piece

    def backward(self, top, propagate_down, bottom):  # noqa: ANN001, ANN201
        """Data has no gradient."""
