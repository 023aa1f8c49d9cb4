"""Real Caffe, in a process of its own."""

from __future__ import annotations

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from runtimes import needs_runtime

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("caffe")

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }\n'
NET = (
    HEAD
    + """
layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }
layer { name: "relu" type: "ReLU" bottom: "twice" top: "relu" }
layer { name: "negative" type: "Power" bottom: "twice" top: "negative" power_param { scale: -1 } }
layer { name: "sum" type: "Eltwise" bottom: "relu" bottom: "negative" top: "sum" }
"""
)
FULLY_CONNECTED = (
    HEAD + 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }'
)


@pytest.fixture(scope="module")
def caffe():
    with environments.open_runtime("caffe") as runtime:
        yield runtime


@pytest.fixture
def model(tmp_path):
    """Makes a model of a prototxt and, if given, weights."""

    def make(prototxt: str, **weights) -> SimpleNamespace:
        file = tmp_path / "net.prototxt"
        file.write_text(prototxt)
        return SimpleNamespace(framework="caffe", files={"prototxt": file, **weights}, options={})

    return make


def test_every_blob_is_given_for_any_batch(caffe, model):
    with caffe.open(model(NET)) as session:
        assert session.names == (("data",), ("sum",), ("data", "twice", "relu", "negative", "sum"))
        for batch in (1, 5, 2):
            x = np.random.default_rng(batch).normal(size=(batch, 2, 4, 4)).astype(np.float32)
            assert session.run({"data": x}).keys() == {"sum"}
            blobs = session.run({"data": x}, "all")
            np.testing.assert_array_equal(blobs["twice"], 2 * x)
            np.testing.assert_array_equal(blobs["relu"], np.maximum(2 * x, 0))
            np.testing.assert_array_equal(blobs["sum"], np.maximum(2 * x, 0) - 2 * x)


@pytest.mark.parametrize("name", ["weights.h5", "weights.hdf5"])
def test_hdf5_weights_whatever_their_name(caffe, model, tmp_path, name):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 32)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    with h5py.File(tmp_path / name, "w") as file:
        layer = file.create_group("data/fc")
        layer["0"], layer["1"] = weight, bias
    x = rng.normal(size=(4, 2, 4, 4)).astype(np.float32)
    with caffe.open(model(FULLY_CONNECTED, hdf5=tmp_path / name)) as session:
        np.testing.assert_allclose(session.run({"data": x})["fc"], x.reshape(4, 32) @ weight.T + bias, atol=1e-5)


def test_it_writes_nothing_beside_the_model(caffe, model, tmp_path):
    with caffe.open(model(NET)) as session:
        session.run({"data": np.ones((1, 2, 4, 4))})
    assert [file.name for file in tmp_path.iterdir()] == ["net.prototxt"]


def test_a_failed_check_is_told_and_the_runtime_recovers(caffe, model, tmp_path):
    with pytest.raises(WorkerFailed, match="SIGABRT.*Check failed.*Unknown layer type: Nope"):
        caffe.open(model('layer { name: "a" type: "Nope" }'))
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["data/fc/0"] = np.zeros((3, 5), np.float32)
    with pytest.raises(WorkerFailed, match="SIGABRT.*Incompatible number of blobs for layer fc"):
        caffe.open(model(FULLY_CONNECTED, hdf5=tmp_path / "weights.h5"))
    assert caffe.open(model(NET)).run({"data": np.ones((1, 2, 4, 4))})["sum"].max() == 0


def test_it_says_its_version(caffe):
    assert caffe.versions()["caffe"].startswith("1.0")
