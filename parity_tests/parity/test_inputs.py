"""The inputs of a verdict: images first, probes that expose mistakes after them, only what is legal for the net."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converter.errors import ReadError, UsageError
from converter.graph.builder import GraphBuilder
from converter.graph.model import HUB_DOMAIN, Model, Preprocessing
from converter.parity.inputs import inputs_for
from converter.parity.judge import batches


def net(*shapes, op="Sum", **attributes):
    """A net of one operator, with an input a, b, ... of each shape."""
    builder = GraphBuilder("net")
    operands = [builder.input(name, shape) for name, shape in zip("abcd", shapes, strict=False)]
    return Model(builder.build([builder.op(op, operands, "y", **attributes)]), "hub")


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of one colour each."""
    for number in range(3):
        Image.new("RGB", (20, 20), (number * 40, 10, 200)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_images_come_first_and_probes_after_them(pictures):
    model = net((1, 3, 8, 8), op="Relu")
    data = inputs_for(model, pictures, Preprocessing("bgr", mean=(1, 2, 3)), limit=2)["a"]
    assert data.shape == (2 + 5, 3, 8, 8)
    assert np.array_equal(data[0, :, 0, 0], [199, 8, -3])
    assert np.array_equal(data, inputs_for(model, pictures, Preprocessing("bgr", mean=(1, 2, 3)), limit=2)["a"])


def test_without_preprocessing_images_are_resized_rgb_or_gray(pictures):
    colour = inputs_for(net((1, 3, 8, 6), op="Relu"), pictures, None, limit=3)["a"]
    gray = inputs_for(net((1, 1, 8, 6), op="Relu"), pictures, None, limit=3)["a"]
    assert np.array_equal(colour[:3, :, 0, 0], [[0, 10, 200], [40, 10, 200], [80, 10, 200]])
    assert np.all(gray[:3] == np.array([29, 41, 53]).reshape(3, 1, 1, 1))


def test_the_mean_of_a_gray_net_is_kept_when_only_the_order_of_channels_was_not_given(pictures):
    data = inputs_for(net((1, 1, 8, 8), op="Relu"), pictures, Preprocessing(mean=(9,)), limit=1)["a"]
    assert np.all(data[0] == 29 - 9)


@pytest.mark.parametrize(
    ("preprocessing", "says"),
    [
        (Preprocessing(resize=(9, 9)), "give --resize 8,8"),
        (Preprocessing(resize=(9, 9), crop=(7, 8)), "give --crop 8,8"),
        (Preprocessing(mean=(1, 2)), "the mean has 2 values"),
    ],
)
def test_preprocessing_that_does_not_fit_the_net_is_refused(pictures, preprocessing, says):
    with pytest.raises(UsageError, match=says):
        inputs_for(net((1, 3, 8, 8), op="Relu"), pictures, preprocessing, limit=2)


def test_a_broken_image_is_named(pictures):
    (pictures / "0.png").write_bytes(b"no picture")
    with pytest.raises(ReadError, match=r"0\.png"):
        inputs_for(net((1, 3, 8, 8), op="Relu"), pictures, None, limit=2)


@pytest.mark.parametrize("shape", [(1, 4, 6, 6), (2, 3, 5, 7)])
def test_no_probe_has_a_symmetry_that_hides_a_flip_or_a_transposition(shape):
    probes = inputs_for(net(shape, op="Relu"), None, None, limit=1)["a"]
    changes = [probes[:, ::-1], probes[:, :, ::-1], probes[..., ::-1]]
    changes += [probes.swapaxes(2, 3)] if shape[2] == shape[3] else []
    for changed in changes:
        assert all(not np.array_equal(one, other) for one, other in zip(probes, changed, strict=True))


def test_probes_are_of_both_signs_tiny_and_large():
    noise, _, _, tiny, large = inputs_for(net((1, 3, 8, 8), op="Relu"), None, Preprocessing(), limit=1)["a"]
    assert 0 <= noise.min() < 10 < 245 < noise.max() <= 255
    assert -0.25 < tiny.min() < -0.2 < 0.2 < tiny.max() < 0.25
    assert -1020 <= large.min() < -1000 < 1000 < large.max() <= 1020


def test_a_probe_that_overflows_or_has_no_logarithm_is_left_out():
    assert len(inputs_for(net((1, 40), op="Log"), None, None, limit=1)["a"]) == 3
    assert len(inputs_for(net((1, 40), op="Exp"), None, Preprocessing(scale=0.1), limit=1)["a"]) == 4


def test_inputs_of_one_shape_get_different_numbers_so_that_they_cannot_be_exchanged():
    inputs = inputs_for(net((1, 3, 4), (1, 3, 4)), None, None, limit=1)
    same = [np.array_equal(one, other) for one, other in zip(inputs["a"], inputs["b"], strict=True)]
    assert same == [False, True, True, False, False]  # the slope and the impulses are of the shape alone


def test_indices_are_within_the_table_and_all_of_it_is_asked_for():
    builder = GraphBuilder("net")
    table = builder.initializer("table", np.arange(10, dtype=np.float32).reshape(5, 2))
    index = builder.input("index", (1, 7))
    model = Model(builder.build([builder.op("Gather", [table, builder.op("Cast", [index], to=7)], "rows")]), "hub")
    assert set(np.unique(inputs_for(model, None, None, limit=1)["index"])) == set(range(5))


def test_an_index_into_two_tables_fits_the_smaller():
    builder = GraphBuilder("net")
    index = builder.op("Cast", [builder.input("index", (6,))], to=7)
    tables = [builder.initializer(f"table{size}", np.ones((size, 2), np.float32)) for size in (3, 9)]
    model = Model(builder.build([builder.op("Gather", [table, index]) for table in tables]), "hub")
    assert inputs_for(model, None, None, limit=1)["index"].max() == 2


def test_indices_that_look_like_a_picture_are_no_picture(pictures):
    builder = GraphBuilder("net")
    table = builder.initializer("table", np.ones((5, 2), np.float32))
    index = builder.op("Cast", [builder.input("index", (1, 1, 4, 4))], to=7)
    model = Model(builder.build([builder.op("Gather", [table, index])]), "hub")
    assert inputs_for(model, pictures, None, limit=2)["index"].max() < 5


def test_a_selector_is_0_or_1_and_sometimes_either():
    builder = GraphBuilder("net")
    x, keep = builder.input("x", (4, 2)), builder.input("keep", (4,))
    model = Model(builder.build([builder.op("Compress", [x, builder.op("Cast", [keep], to=9)], axis=0)]), "hub")
    assert set(np.unique(inputs_for(model, None, None, limit=1)["keep"])) == {0, 1}


def test_every_sequence_starts_anew():
    builder = GraphBuilder("net")
    operands = [builder.input("x", (5, 2, 3)), builder.input("continuation", (5, 2))]
    operands += [
        builder.initializer(name, np.ones(shape, np.float32)) for name, shape in (("w", (16, 3)), ("r", (16, 4)))
    ]
    operands.append(builder.initializer("b", np.ones(16, np.float32)))
    y, _, _ = builder.op("ResettableLSTM", operands, ["y", "h", "c"], domain=HUB_DOMAIN)
    inputs = inputs_for(Model(builder.build([y]), "hub"), None, None, limit=1)
    continuation = inputs["continuation"].reshape(-1, 5, 2)
    assert not continuation[:, 0].any()
    assert set(np.unique(continuation[:, 1:])) == {0, 1}


def test_a_batch_is_filled_up_and_a_probe_is_one_sample_of_it(pictures):
    data = inputs_for(net((10, 3, 8, 8), op="Relu"), pictures, None, limit=2)["a"]
    assert len(data) == 10
    assert len(np.unique(data[2:].reshape(8, -1), axis=0)) == 8


def test_where_axis_0_is_no_batch_a_probe_is_a_whole_input():
    builder = GraphBuilder("net")
    flat = builder.op("Reshape", [builder.input("a", (2, 6)), builder.initializer("shape", np.array([4, 3]))])
    assert inputs_for(Model(builder.build([flat]), "hub"), None, None, limit=1)["a"].shape == (5 * 2, 6)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=5),
    count=st.integers(1, 3),
    limit=st.integers(1, 5),
)
def test_the_judge_takes_what_is_made(shape, count, limit):
    model = net(*[tuple(shape)] * count)
    inputs = inputs_for(model, None, None, limit)
    assert inputs.keys() == model.input_shapes().keys()
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in inputs.values())
    assert sum(1 for _ in batches(model, inputs)) >= 1
