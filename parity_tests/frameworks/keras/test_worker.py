"""Real Keras, in a process of its own: Keras 3, and Keras 2 for older files."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tiny_net
from runtimes import build_in, needs_runtime

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("keras")

BUILD = """
import importlib, numpy as np
w = dict(np.load("weights.npz"))
fc = w["fc_weight"].reshape(3, 4, 3, 4).transpose(2, 3, 1, 0).reshape(48, 3)

for package, file in (("keras", "net.keras"), ("keras", "net.h5"), ("tf_keras", "old.h5"), ("tf_keras", "old.keras")):
    keras = importlib.import_module(package)
    layers, models = keras.layers, keras.models

    x = y = layers.Input((6, 8, 2), name="image")
    y = layers.Conv2D(4, 3, padding="same", name="conv")(y)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.ReLU(name="relu")(y)
    y = layers.MaxPooling2D(name="pool")(y)
    y = layers.Flatten(name="flat")(y)
    y = layers.Dense(3, name="fc")(y)
    net = models.Model(x, layers.Softmax(name="softmax")(y))
    net.get_layer("conv").set_weights([w["conv_weight"].transpose(2, 3, 1, 0), w["conv_bias"]])
    net.get_layer("norm").set_weights([w["gamma"], w["beta"], w["mean"], w["variance"]])
    net.get_layer("fc").set_weights([fc, w["fc_bias"]])
    net.save(file)

    # A nested model that is called twice, an input of integers, an output of a layer called twice, one with several.
    a, b = layers.Input((3,), name="a"), layers.Input((3,), dtype="int32", name="b")
    double = layers.Rescaling(2.0, name="double")
    inner = models.Sequential([layers.Input((3,)), double, layers.Rescaling(1.0, 1.0, name="plus")], name="inner")
    first = inner(a)
    second = inner(first)
    picked = layers.Embedding(5, 3, name="picked", embeddings_initializer="ones")(b)
    whole, last = layers.SimpleRNN(3, return_sequences=True, return_state=True, name="rnn")(picked)
    total = layers.Add(name="sum")([second, last])
    # Keras 3 does not read back its own .h5 with an operator of the language in it.
    total = layers.Add()([total, first]) if file == "net.h5" else total + first
    models.Model([a, b], [first, second, total]).save(file.replace(".", "-nested."))

    models.Sequential([layers.Input((3,)), layers.Lambda(lambda x: x + 1, name="secret")]).save(
        file.replace(".", "-lambda.")
    )
    models.Sequential(
        [layers.Input((2, 2, 1)), layers.UpSampling2D(interpolation="bilinear", name="up")]
    ).save(file.replace(".", "-up."))
    channels_first = models.Sequential(
        [layers.Input((2, 6, 8)), layers.Conv2D(4, 3, padding="same", data_format="channels_first", name="conv")]
    )
    channels_first.set_weights([w["conv_weight"].transpose(2, 3, 1, 0), w["conv_bias"]])
    channels_first.save(file.replace(".", "-first."))
net.save_weights("only.weights.h5")
"""
FILES = ("net.keras", "net.h5", "old.h5", "old.keras")
LAYERS = ("conv", "norm", "relu", "pool", "fc", "softmax")


def kind(file: str, kind: str) -> str:
    return file.replace(".", f"-{kind}.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    tiny_net.save_weights(folder)
    build_in("keras", BUILD, folder)
    return folder


@pytest.fixture(scope="module")
def keras():
    with environments.open_runtime("keras") as runtime:
        yield runtime


@pytest.fixture
def model(folder):
    def make(file: str, **options) -> SimpleNamespace:
        return SimpleNamespace(framework="keras", files={"model": folder / file}, options=options)

    return make


def channels_last(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@pytest.mark.parametrize("file", FILES)
def test_every_layer_is_given_for_any_batch(keras, model, file):
    with keras.open(model(file)) as session:
        assert session.names == (("image",), ("softmax",), ("conv", "norm", "relu", "pool", "flat", "fc"))
        for batch in (1, 3):
            x = tiny_net.images(batch)
            found = session.run({"image": channels_last(x)}, "all")
            for layer, expected in tiny_net.layers(x).items():
                np.testing.assert_allclose(found[layer], channels_last(expected), **tiny_net.TOLERANCE)
            assert session.run({"image": channels_last(x)}, ["pool"]).keys() == {"pool"}
            np.testing.assert_array_equal(session.run({"image": channels_last(x)})["softmax"], found["softmax"])


@pytest.mark.parametrize("file", FILES)
def test_nested_models_shared_layers_and_several_outputs(keras, model, file):
    a, b = np.arange(6).reshape(2, 3), np.array([[0, 1, 2], [3, 4, 0]])
    with keras.open(model(kind(file, "nested"))) as session:
        assert session.names.inputs == ("a", "b") and session.names.outputs[:2] == ("inner", "inner_1")
        inside = {f"inner{rest}" for rest in ("#0", "#1", "/double#0", "/double#1", "/plus#0", "/plus#1")}
        assert set(session.names.taps) == {*inside, "picked", "rnn:0", "rnn:1", "sum"}
        found = session.run({"a": a, "b": b}, "all")
    np.testing.assert_array_equal(found["inner"], 2 * a + 1)
    np.testing.assert_array_equal(found["inner#0"], 2 * a + 1)
    np.testing.assert_array_equal(found["inner/double#1"], 4 * a + 2)
    np.testing.assert_array_equal(found["inner_1"], 4 * a + 3)
    assert found["picked"].shape == (2, 3, 3) and found["rnn:0"].shape == (2, 3, 3)
    np.testing.assert_array_equal(found["rnn:0"][:, -1], found["rnn:1"])
    np.testing.assert_array_equal(found["sum"], found["inner_1"] + found["rnn:1"])
    np.testing.assert_array_equal(found[session.names.outputs[2]], found["sum"] + found["inner"])


@pytest.mark.parametrize("file", FILES)
def test_channels_first(keras, model, file):
    x = tiny_net.images(3)
    with keras.open(model(kind(file, "first"))) as session:
        (given,), (output,) = session.names.inputs, session.names.outputs
        np.testing.assert_allclose(session.run({given: x})[output], tiny_net.layers(x)["conv"], **tiny_net.TOLERANCE)


@pytest.mark.parametrize("file", FILES)
def test_bytecode_in_a_file_is_not_run(keras, model, file):
    with pytest.raises(WorkerFailed, match='"secret" is Python bytecode'):
        keras.open(model(kind(file, "lambda")))


def test_a_layer_that_reaches_files_is_not_run(keras, model, folder):
    shutil.copy(folder / "old-nested.h5", folder / "writes.h5")
    with h5py.File(folder / "writes.h5", "a") as file:
        config = file.attrs["model_config"]
        assert "__operators__.add" in config
        file.attrs["model_config"] = config.replace("__operators__.add", "io.write_file")
    with pytest.raises(WorkerFailed, match="a layer calls io.write_file, which runs code or reaches files"):
        keras.open(model("writes.h5"))


def test_what_an_old_keras_computed_otherwise_is_refused_unless_asked_for(keras, model, folder):
    shutil.copy(folder / "old-up.h5", folder / "older-up.h5")
    with h5py.File(folder / "older-up.h5", "a") as file:
        file.attrs["keras_version"] = "2.3.1"
    with pytest.raises(WorkerFailed, match='layer "up": Keras 2.3.1 places the points of a bilinear UpSampling2D'):
        keras.open(model("older-up.h5"))
    for opened in (model("older-up.h5", package="tf_keras"), model("old-up.h5")):
        with keras.open(opened) as session:
            row = np.broadcast_to(np.array([1.0, 2.0])[None, None, :, None], (1, 2, 2, 1))
            found = session.run({session.names.inputs[0]: row})["up"]
        np.testing.assert_allclose(found[0, 0, :, 0], [1, 1.25, 1.75, 2])


def test_the_kind_of_file_is_told_by_its_content(keras, model, folder, tmp_path):
    for file in FILES:
        link = tmp_path / f"{file}.backup"
        shutil.copy(folder / file, link)
        assert keras.open(model(link)).names.inputs == ("image",)
    assert len(list(tmp_path.iterdir())) == len(FILES)


def test_files_that_are_no_model_are_an_error_and_the_runtime_goes_on(keras, model, folder):
    (folder / "cut.keras").write_bytes((folder / "net.keras").read_bytes()[:2000])
    for file in ("only.weights.h5", "cut.keras"):
        with pytest.raises(WorkerFailed, match="holds weights and no model|OSError"):
            keras.open(model(file))
    assert keras.open(model("net.keras")).names.outputs == ("softmax",)


def test_it_says_its_versions(keras):
    assert {"keras", "tf_keras", "tensorflow", "numpy"} <= keras.versions().keys()
