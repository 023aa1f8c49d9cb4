"""The Caffe smile net: its card, its recorded outputs and its file tell the truth."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from runtimes import needs_runtime

from converter import environments
from converter.graph.model import Preprocessing
from converter.images import dataset, load_images, split

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "reference_models" / "caffe"
MOUTHS = ROOT / "data" / "mouths"
CARD = json.loads((FOLDER / "card.json").read_text())
INDEX = json.loads((FOLDER / "recorded" / "index.json").read_text())
#: Rounding of float32 through six layers; the blobs reach some tens.
NOISE = {"rtol": 1e-4, "atol": 1e-4}


@dataclass
class SmileNet:
    framework: str = "caffe"
    files: dict = field(
        default_factory=lambda: {
            "prototxt": FOLDER / "deploy.prototxt",
            "caffemodel": FOLDER / "smile.caffemodel",
        }
    )
    options: dict = field(default_factory=dict)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_images(MOUTHS, Preprocessing.from_json(CARD["preprocessing"]))


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "recorded" / "outputs.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def computed(images) -> dict[str, np.ndarray]:
    with environments.open_runtime("caffe") as runtime, runtime.open(SmileNet()) as session:
        return session.run({"data": images}, fetch="all")


def test_the_recording_is_of_these_files():
    for name, digest in INDEX["model"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert INDEX["images"]["sha256"] == json.loads((MOUTHS / "split.json").read_text())["sha256"]


def test_the_recorded_inputs_are_what_the_card_says_and_can_be_made_again(images):
    assert INDEX["preprocessing"] == CARD["preprocessing"]
    assert hashlib.sha256(images.tobytes()).hexdigest() == INDEX["images"]["inputs_sha256"]


def test_recorded_probabilities_are_the_softmax_of_the_recorded_logits(recorded):
    exponentials = np.exp(recorded["logits"].astype(float) - recorded["logits"].max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(recorded["probabilities"], expected, atol=1e-6)


def test_recorded_outputs_give_the_accuracy_on_the_card(recorded):
    names = {file: index for index, file in enumerate(dataset(MOUTHS).files)}
    for part, chosen in split(dataset(MOUTHS)).items():
        answers = recorded["probabilities"][[names[file] for file in chosen.files]].argmax(axis=1)
        assert np.mean(answers == chosen.labels) == pytest.approx(CARD["accuracy"]["mouths"][part], abs=1e-4)
    assert CARD["accuracy"]["mouths"]["test"] >= 0.95


def test_the_recorded_blobs_are_every_blob_of_eight_images(recorded):
    shapes = {name.removeprefix("blob_"): array.shape for name, array in recorded.items() if name.startswith("blob_")}
    assert shapes == {
        "data": (8, 3, 48, 48),
        "conv1": (8, 12, 24, 24),
        "conv2": (8, 24, 12, 12),
        "conv3": (8, 48, 6, 6),
        "ip1": (8, 128),
        "ip2": (8, 2),
        "prob": (8, 2),
    }
    assert all(array.dtype == np.float32 for array in recorded.values())


@needs_runtime("caffe")
def test_real_caffe_reaches_the_accuracy_on_the_card(computed):
    names = {file: index for index, file in enumerate(dataset(MOUTHS).files)}
    for part, chosen in split(dataset(MOUTHS)).items():
        answers = computed["prob"][[names[file] for file in chosen.files]].argmax(axis=1)
        assert np.mean(answers == chosen.labels) == pytest.approx(CARD["accuracy"]["mouths"][part], abs=1e-4)


@needs_runtime("caffe")
def test_real_caffe_computes_the_recorded_outputs_again(computed, recorded):
    np.testing.assert_allclose(computed["ip2"], recorded["logits"], **NOISE)
    np.testing.assert_allclose(computed["prob"], recorded["probabilities"], atol=1e-5)
    names = [f"{file.parent.name}/{file.name}" for file in dataset(MOUTHS).files]
    shown = [names.index(name) for name in INDEX["blobs_of"]]
    for name, blob in recorded.items():
        if name.startswith("blob_"):
            np.testing.assert_allclose(computed[name.removeprefix("blob_")][shown], blob, **NOISE, err_msg=name)
