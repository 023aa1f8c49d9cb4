"""The shipped images: what the generator draws, split fairly, and not for a linear classifier."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from converter.images import dataset, read_image, split

DATA = Path(__file__).resolve().parents[2] / "data"
MOUTHS = DATA / "mouths"
sys.path.insert(0, str(DATA))

import drawing  # noqa: E402
import generate  # noqa: E402
import linear_baseline  # noqa: E402


def test_the_same_seed_draws_the_same_picture_and_another_seed_another():
    first = drawing.draw([1, 2, 3], drawing.SMILING)
    assert first.shape == (60, 60, 3) and first.dtype == np.uint8
    assert np.array_equal(first, drawing.draw([1, 2, 3], drawing.SMILING))
    assert not np.array_equal(first, drawing.draw([1, 2, 4], drawing.SMILING))
    assert not np.array_equal(first, drawing.draw([1, 2, 3], drawing.NEUTRAL))


def test_the_random_numbers_are_those_of_pcg64_and_so_the_same_everywhere():
    # numpy.random.default_rng(7).random(3), since numpy 1.17
    assert drawing.Dice(7).array(3).tolist() == [0.625095466604667, 0.8972138009695755, 0.7756856902451935]


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("number", [0, 1, 123, 250, 499])
def test_the_shipped_files_are_the_drawings_but_for_compression(label, number):
    shipped = read_image(MOUTHS / str(label) / f"{number:03d}.jpg").astype(int)
    error = np.abs(shipped - generate.draw_numbered(label, number))
    other = np.abs(shipped - generate.draw_numbered(label, (number + 1) % 500))
    assert error.mean() < 5 < other.mean()


def test_the_shipped_files_are_the_ones_that_were_split():
    listing = json.loads((MOUTHS / "split.json").read_text())
    assert generate.hash_images(MOUTHS) == listing.pop("sha256")
    assert listing == generate.choose_split()


def test_the_split_is_disjoint_complete_and_balanced():
    data = dataset(MOUTHS)
    parts = split(data)
    assert {part: len(chosen) for part, chosen in parts.items()} == {"train": 800, "validation": 100, "test": 100}
    assert all(chosen.labels.mean() == 0.5 for chosen in parts.values())
    assert sorted(file for chosen in parts.values() for file in chosen.files) == sorted(data.files)


def test_no_image_is_there_twice():
    assert len({file.read_bytes() for file in dataset(MOUTHS).files}) == 1000


def test_colours_do_not_tell_the_classes_apart():
    data = dataset(MOUTHS)
    colours = np.array([read_image(file).mean(axis=(0, 1)) for file in data.files])
    neutral, smiling = colours[data.labels == 0], colours[data.labels == 1]
    assert np.all(np.abs(neutral.mean(axis=0) - smiling.mean(axis=0)) < 0.15 * colours.std(axis=0))


def test_a_linear_classifier_learns_something_but_does_clearly_worse_than_a_net():
    accuracy = linear_baseline.linear_accuracy(MOUTHS)
    readme = (DATA / "README.md").read_text()
    assert f"{accuracy['test']:.2f} (validation {accuracy['validation']:.2f})" in readme
    assert 0.55 < accuracy["test"] < 0.85
