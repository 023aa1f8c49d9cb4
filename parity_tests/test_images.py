"""Image files become a net's input exactly as the preprocessing says; broken ones are named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converter import images
from converter.errors import ReadError
from converter.graph.model import Preprocessing
from converter.images import dataset, image_files, load_images, prepare, read_image, split

ROOT = Path(__file__).resolve().parents[1]
MOUTH = ROOT.parent / "shared" / "mouth"

#: Every pixel differs from its neighbours, every channel from the others, and height from width.
PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def save(file: Path, pixels: np.ndarray = PIXELS) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def test_a_file_becomes_planes_of_its_bytes(tmp_path):
    batch = load_images(save(tmp_path / "a.png"), Preprocessing())
    assert batch.shape == (1, 3, 5, 7) and batch.dtype == np.float32 and batch.flags.c_contiguous
    assert np.array_equal(batch[0], PIXELS.transpose(2, 0, 1))


def test_mean_comes_first_then_scale_in_the_order_of_the_net(tmp_path):
    values = prepare(PIXELS, Preprocessing(channels="bgr", mean=(1, 2, 3), scale=0.5))
    assert values[:, 0, 0].tolist() == [(2 - 1) * 0.5, (1 - 2) * 0.5, (0 - 3) * 0.5]


def test_gray_is_one_plane_of_luma():
    values = prepare(np.full((2, 2, 3), (255, 0, 0), np.uint8), Preprocessing(channels="gray"))
    assert values.shape == (1, 2, 2) and values[0, 0, 0] == 76  # 0.299 * 255


def test_resize_is_height_and_width():
    assert prepare(PIXELS, Preprocessing(resize=(10, 4))).shape == (3, 10, 4)


@given(rows=st.integers(1, 5), columns=st.integers(1, 7))
def test_the_crop_is_in_the_middle_the_odd_pixel_left_at_bottom_or_right(rows, columns):
    values = prepare(PIXELS, Preprocessing(crop=(rows, columns)))
    top, left = (5 - rows) // 2, (7 - columns) // 2
    assert np.array_equal(values, PIXELS[top : top + rows, left : left + columns].transpose(2, 0, 1))


def test_a_crop_larger_than_the_image_names_the_file(tmp_path):
    file = save(tmp_path / "small.png")
    with pytest.raises(ReadError, match=r"small\.png: has 7x5 pixels, fewer than the crop 6x6"):
        load_images(file, Preprocessing(crop=(6, 6)))


def test_images_of_different_sizes_need_a_crop_or_a_resize(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", PIXELS[:4])
    with pytest.raises(ReadError, match=r"b\.png: has 7x4 pixels, but a\.png has 7x5; ask for a resize or a crop"):
        load_images(tmp_path, Preprocessing())
    assert load_images(tmp_path, Preprocessing(crop=(3, 3))).shape == (2, 3, 3, 3)


def test_a_folder_is_sorted_and_hidden_or_foreign_files_are_left_out(tmp_path):
    for name in ("b.png", "a.jpg", ".hidden.png", "1/d.png", "0/c.png", ".cache/e.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    assert [file.name for file in image_files(tmp_path)] == ["a.jpg", "b.png", "c.png", "d.png"]


def test_a_limit_is_spread_over_the_classes(tmp_path):
    for name in ("0/a.png", "0/b.png", "1/c.png", "1/d.png"):
        save(tmp_path / name)
    assert [file.name for file in image_files(tmp_path, limit=2)] == ["a.png", "c.png"]
    assert len(image_files(tmp_path, limit=9)) == 4


def test_an_empty_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ReadError, match="holds no images"):
        load_images(tmp_path, Preprocessing())
    with pytest.raises(ReadError, match=re.escape(f"{tmp_path / 'no.jpg'}: no such file")):
        load_images(tmp_path / "no.jpg", Preprocessing())
    with pytest.raises(ReadError, match="holds no images in class folders"):
        dataset(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image_is_refused_whatever_its_name(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ReadError, match=r"x\.jpg: is not a readable image"):
        read_image(tmp_path / "x.jpg")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    with pytest.raises(ReadError, match="has 7x5 pixels, more than 34"):
        read_image(save(tmp_path / "bomb.png"))


def test_sixteen_bits_a_channel_are_refused_and_not_clipped(tmp_path):
    Image.fromarray(np.full((2, 2), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ReadError, match="not 8 bits a channel"):
        read_image(tmp_path / "deep.png")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(["0/000.jpg", "1/000.jpg"]))
def test_damaged_files_are_read_or_refused_and_nothing_else(data, name, tmp_path_factory):
    content = bytearray((ROOT / "data" / "mouths" / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damaged") / "x.jpg"
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        pixels = read_image(file)
    except ReadError as error:
        assert "x.jpg" in str(error)
    else:
        assert pixels.ndim == 3 and pixels.shape[2] == 3


def test_a_data_set_without_a_split_gets_one_that_does_not_move(tmp_path):
    for label in "01":
        for number in range(20):
            save(tmp_path / label / f"{number}.png")
    parts = split(dataset(tmp_path))
    assert {part: len(chosen) for part, chosen in parts.items()} == {"train": 32, "validation": 4, "test": 4}
    assert all(chosen.labels.mean() == 0.5 for chosen in parts.values())
    assert sorted(file for chosen in parts.values() for file in chosen.files) == image_files(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in parts["test"].files] == [
        "0/1.png",  # the third and fourth of their class in the order of sha256sum
        "0/2.png",
        "1/6.png",
        "1/8.png",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a split"),
        ("[" * 100_000, "is not a split"),
        ('{"train": []}', "is not a split"),
        ('{"train": ["0/b.png"], "validation": [], "test": []}', "names '0/b.png', which is not in the data set"),
        ('{"train": ["0/a.png"], "validation": ["0/a.png"], "test": []}', "names '0/a.png' twice"),
    ],
)
def test_a_broken_split_is_named(tmp_path, content, message):
    save(tmp_path / "0" / "a.png")
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(ReadError, match=message):
        split(dataset(tmp_path))


def test_a_split_of_its_own_is_followed(tmp_path):
    save(tmp_path / "0" / "a.png")
    save(tmp_path / "1" / "b.png")
    listing = {"train": ["1/b.png"], "validation": [], "test": ["0/a.png"]}
    (tmp_path / "split.json").write_text(json.dumps(listing))
    parts = split(dataset(tmp_path))
    assert parts["train"].labels.tolist() == [1] and parts["test"].files[0].name == "a.png"


@pytest.mark.skipif(not MOUTH.is_dir(), reason="the photographs (../shared/mouth) are not here")
def test_the_real_photographs_load_although_thirteen_are_of_another_size():
    data = dataset(MOUTH)
    assert len(data) == 1000 and data.labels.sum() == 500
    assert load_images(data.files, Preprocessing(crop=(48, 48))).shape == (1000, 3, 48, 48)
    assert len({read_image(file).shape for file in data.files}) > 1
