import pickle
import random
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from converter.errors import ConverterError, ReadError, WriteError
from converter.frameworks.caffe.format import classify, read_mean, read_weights, write_caffemodel
from parity_tests.frameworks.caffe.encoding import (
    blob_v2,
    chunk,
    integer,
    layer_v0,
    layer_v1,
    layer_v2,
    legacy_shape,
    packed,
    shape,
    unpacked,
)

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4) / 8


def written(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "blob, expected_shape",
    [
        (shape((3, 4)) + packed(VALUES), (3, 4)),
        (packed(VALUES) + shape((3, 4)), (3, 4)),
        (shape((3, 4)) + unpacked(5, VALUES.ravel()), (3, 4)),
        (shape((3, 4)) + packed(VALUES.ravel()[:5]) + unpacked(5, VALUES.ravel()[5:]), (3, 4)),
        (shape((3, 4)) + packed(VALUES, 8, "<f8"), (3, 4)),
        (shape((3, 4)) + unpacked(8, VALUES.ravel(), "<d"), (3, 4)),
        (shape((3, 4)) + packed(VALUES + 1) + packed(VALUES, 8, "<f8"), (3, 4)),
        (legacy_shape((1, 1, 3, 4)) + packed(VALUES), (1, 1, 3, 4)),
        (legacy_shape((1, 1, 3, 4)) + shape((12,)) + packed(VALUES), (1, 1, 3, 4)),
        (shape((3, 4)) + integer(10, 2) + packed(VALUES, 12, "<f2"), (3, 4)),
        (shape((3, 4)) + integer(10, 1) + packed(VALUES, 12, "<f4"), (3, 4)),
        (shape((3, 4)) + packed(VALUES, 12, "<f8"), (3, 4)),
        (shape((3, 4)) + packed(VALUES) + packed(VALUES, 6) + unpacked(6, VALUES.ravel()), (3, 4)),
    ],
)
@pytest.mark.parametrize("layer", [layer_v2, lambda n, t, b: layer_v1(n, 4, b), lambda n, t, b: layer_v0(n, "conv", b)])
def test_every_form_of_a_blob_in_every_form_of_a_layer(tmp_path, layer, blob, expected_shape):
    weights = read_weights(written(tmp_path / "w", chunk(1, "net") + layer("c", "Convolution", [blob])))
    (read,) = weights.layers["c"]
    assert (read.shape, read.count, read.legacy) == (expected_shape, 12, len(expected_shape) == 4)
    assert weights.types == {"c": "Convolution"}
    assert read.array().dtype == np.float32
    np.testing.assert_array_equal(read.array(), VALUES.reshape(expected_shape))


def test_contiguous_floats_are_a_view_of_the_file(tmp_path):
    path = written(
        tmp_path / "w",
        layer_v2("c", "", [blob_v2(VALUES)]) + layer_v2("d", "", [shape((12,)) + unpacked(5, VALUES.ravel())]),
    )
    weights = read_weights(path)
    (view,), (copied,) = weights.layers["c"], weights.layers["d"]
    assert path.read_bytes()[view.offset : view.offset + view.length] == VALUES.tobytes()
    assert not view.array().flags.owndata and not view.array().flags.writeable
    assert copied.offset is copied.length is None


def test_scalars_and_empty_layers(tmp_path):
    weights = read_weights(
        written(tmp_path / "w", layer_v2("p", "PReLU", [packed([0.25])]) + layer_v2("r", "ReLU", []))
    )
    assert weights.layers["p"][0].shape == () and weights.layers["p"][0].array() == 0.25
    assert weights.layers["r"] == []


def test_of_two_stored_copies_the_last_counts(tmp_path):
    copies = [layer_v2("c", "", [blob_v2(VALUES + i)]) for i in (0, 1)]
    np.testing.assert_array_equal(
        read_weights(written(tmp_path / "w", b"".join(copies))).layers["c"][0].array(), VALUES + 1
    )
    with pytest.raises(ReadError, match="stored twice"):
        read_weights(written(tmp_path / "x", copies[0] + layer_v2("c", "", [])))


@pytest.mark.parametrize(
    "blob, complaint",
    [
        (shape((2**20, 2**20, 2**20)) + packed(VALUES), "impossible shape"),
        (shape((-3, 4)) + packed(VALUES), "impossible shape"),
        (shape((1,) * 33) + packed([1]), "impossible shape"),
        (shape((3, 5)) + packed(VALUES), r"\(3, 5\) = 15 values, but 12 are stored"),
        (shape((3, 4)), "but 0 are stored"),
        (legacy_shape((3,)) + packed(VALUES), r"\(3, 0, 0, 0\)"),
        (shape((12,)) + chunk(5, b"abc"), "no whole number"),
        (shape((12,)) + packed(VALUES) + integer(10, 1) + packed(VALUES, 12), "twice"),
        (shape((12,)) + integer(10, 3) + packed(VALUES, 12), "not a floating-point type"),
        (chunk(1, "x"), "should be a varint"),
    ],
)
def test_shapes_and_data_must_agree(tmp_path, blob, complaint):
    with pytest.raises(ReadError, match=complaint):
        read_weights(written(tmp_path / "w", layer_v2("c", "", [blob])))


def test_both_generations_of_layers_are_refused(tmp_path):
    with pytest.raises(ReadError, match="both the old and the new"):
        read_weights(written(tmp_path / "w", layer_v2("c", "", []) + layer_v1("d", 4, [])))


@pytest.mark.parametrize(
    "data, kind, words",
    [
        (b"", "empty file", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer", "git lfs pull"),
        (b"PK\x03\x04rest", "zip archive", "zip archive"),
        (pickle.dumps({"a": 1}), "pickle", "pickle"),
        (integer(1, 8) + chunk(2, "pytorch") + chunk(7, chunk(1, chunk(1, "x"))), "ONNX model", "ONNX model"),
        (b'name: "n"\nlayer { name: "a" type: "ReLU" }', "prototxt", "net as text"),
        (b'net: "train_val.prototxt"\nbase_lr: 0.01\n', "solver", "solver"),
        (b"hello there, this is\nno net", "text file", "text file"),
        (legacy_shape((1, 3, 2, 2)) + packed(np.arange(12)), "mean", "mean file"),
    ],
)
def test_files_of_another_kind_are_told_by_content(tmp_path, data, kind, words):
    path = written(tmp_path / "weights.caffemodel", data)
    assert classify(path) == kind
    with pytest.raises(ReadError, match=words) as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ReadError, match="cannot be opened: No such file"):
        read_weights(tmp_path / "none")
    with pytest.raises(ReadError, match="cannot be opened"):
        read_weights(tmp_path)


def test_mean_image(tmp_path):
    mean = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    np.testing.assert_array_equal(read_mean(written(tmp_path / "m", legacy_shape((1, 3, 2, 2)) + packed(mean))), mean)
    with pytest.raises(ReadError, match="a mean image has the shape"):
        read_mean(written(tmp_path / "m", shape((12,)) + packed(mean)))


NAMES = st.text(st.characters(exclude_categories=["Cs"]))
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@settings(max_examples=30)
@given(st.dictionaries(NAMES, st.lists(arrays_of.arrays(np.float32, SHAPES), max_size=3), min_size=1))
def test_what_is_written_is_read(tmp_path_factory, layers):
    path = tmp_path_factory.mktemp("w") / "w.caffemodel"
    write_caffemodel(path, ((name, "T", arrays) for name, arrays in layers.items()), name="net")
    weights = read_weights(path)
    assert list(weights.layers) == list(layers)
    for name, arrays in layers.items():
        for blob, array in zip(weights.layers[name], arrays, strict=True):
            assert blob.array().tobytes() == array.tobytes() and blob.shape == array.shape


def test_a_failed_write_leaves_nothing(tmp_path):
    def layers():
        yield "a", "T", [VALUES]
        raise ReadError("the source broke")

    with pytest.raises(ReadError):
        write_caffemodel(tmp_path / "w", layers())
    with pytest.raises(WriteError):
        write_caffemodel(tmp_path / "none" / "w", [])
    assert list(tmp_path.iterdir()) == []


def hdf5(path, fill):
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def test_hdf5_weights(tmp_path):
    def fill(file):
        file["data/conv/0"] = VALUES
        file["data/conv/1"] = VALUES[0].astype(">f8")
        file.create_group("data/relu")

    weights = read_weights(hdf5(tmp_path / "w.h5", fill))
    np.testing.assert_array_equal(weights.layers["conv"][0].array(), VALUES)
    np.testing.assert_array_equal(weights.layers["conv"][1].array(), VALUES[0])
    assert weights.layers["conv"][0].offset is not None and weights.layers["conv"][1].offset is None
    assert weights.layers["relu"] == []


@pytest.mark.parametrize(
    "fill, complaint",
    [
        (lambda f: f.create_group("model_weights"), "no group 'data'"),
        (lambda f: f.create_group("data"), "no layers"),
        (lambda f: f.create_dataset("data/c/1", data=VALUES), "not 0, 1, 2"),
        (lambda f: f.create_dataset("data/c/0", data=[1, 2]), "floating-point"),
        (lambda f: f.create_dataset("data/c/0", data=VALUES, compression="gzip"), "compressed"),
        (lambda f: f.create_dataset("data/c/0", (2**20, 2**20), chunks=(1, 1), dtype="f4"), "chunked"),
        (
            lambda f: f.create_group("data").__setitem__("c", h5py.ExternalLink("/etc/passwd", "/")),
            "link to somewhere else",
        ),
        (lambda f: f.create_group("data").__setitem__("c", h5py.SoftLink("/data")), "link to somewhere else"),
        (lambda f: f.create_dataset("data/c/0", (4,), "f4", external=[("other.bin", 0, 16)]), "external"),
    ],
)
def test_hostile_hdf5(tmp_path, fill, complaint):
    with pytest.raises(ReadError, match=complaint):
        read_weights(hdf5(tmp_path / "w.h5", fill))


def test_a_truncated_hdf5_file(tmp_path):
    path = hdf5(tmp_path / "w.h5", lambda f: f.create_dataset("data/c/0", data=np.zeros(5000, "f4")))
    with pytest.raises(ReadError):
        read_weights(written(tmp_path / "cut.h5", path.read_bytes()[:9000]))


BLOBS = [
    blob_v2(VALUES),
    shape((4,)) + unpacked(5, VALUES[0]),
    legacy_shape((1, 1, 1, 4)) + packed(VALUES[0]),
]
WHOLE = chunk(1, "net") + layer_v2("a", "Convolution", BLOBS) + layer_v2("b", "Scale", BLOBS)


@settings(max_examples=300, deadline=2000)
@given(st.data())
def test_mutated_files_give_read_errors_only(tmp_path_factory, data):
    mutated = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated)))
        mutation = data.draw(st.sampled_from(["flip", "cut", "splice", "insert"]))
        if mutation == "flip" and at < len(mutated):
            mutated[at] ^= 1 << data.draw(st.integers(0, 7))
        elif mutation == "cut":
            del mutated[at:]
        elif mutation == "splice":
            start = data.draw(st.integers(0, len(mutated)))
            mutated[at:at] = mutated[start : start + 40]
        else:
            mutated[at:at] = data.draw(st.binary(max_size=12))
    path = tmp_path_factory.getbasetemp() / "mutated.caffemodel"
    path.write_bytes(mutated)
    try:
        classify(path)
        for blobs in read_weights(path).layers.values():
            assert all(blob.array().shape == blob.shape for blob in blobs)
    except ConverterError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_millions_of_tiny_fields_are_refused_in_bounded_time(tmp_path):
    for tiny in (b"\x2a\x00", unpacked(5, [0]) + unpacked(6, [0]), b"\x3a\x02\x0a\x00"):
        begin = time.perf_counter()
        with pytest.raises(ReadError, match="more than 1,000,000"):
            read_weights(written(tmp_path / "w", layer_v2("c", "", [tiny * 1_100_000])))
        assert time.perf_counter() - begin < 60


def test_random_bytes_are_refused(tmp_path):
    generator = random.Random(0)
    for length in (1, 2, 5, 50, 5000):
        with pytest.raises(ReadError):
            read_weights(written(tmp_path / "w", generator.randbytes(length)))
