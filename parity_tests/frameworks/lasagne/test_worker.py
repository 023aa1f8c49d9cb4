"""Real Lasagne on Theano, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_net
from runtimes import needs_runtime

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("lasagne")

SOURCE = '''
"""Nets as a person writes them."""

from collections import OrderedDict

import lasagne
from lasagne.layers import *
from lasagne.nonlinearities import rectify, softmax


class BatchNormLayer(Layer):
    """As in Lasagne 0.2: it stores 1 / sqrt(variance + epsilon)."""

    def __init__(self, incoming, **kwargs):
        super().__init__(incoming, **kwargs)
        shape = (self.input_shape[1],)
        self.beta = self.add_param(lasagne.init.Constant(0), shape, "beta")
        self.gamma = self.add_param(lasagne.init.Constant(1), shape, "gamma")
        self.mean = self.add_param(lasagne.init.Constant(0), shape, "mean", trainable=False)
        self.inv_std = self.add_param(lasagne.init.Constant(1), shape, "inv_std", trainable=False)

    def get_output_for(self, input, **kwargs):
        beta, gamma, mean, inv_std = (
            p.dimshuffle("x", 0, "x", "x") for p in (self.beta, self.gamma, self.mean, self.inv_std)
        )
        return (input - mean) * gamma * inv_std + beta


def build(classes, dropout=0.5):
    net = OrderedDict()
    net["image"] = InputLayer((None, 2, 6, 8), name="image")
    net["conv"] = Conv2DLayer(net["image"], 4, 3, pad=1, nonlinearity=None, name="conv")
    net["norm"] = BatchNormLayer(net["conv"], name="norm")
    net["relu"] = NonlinearityLayer(net["norm"], rectify, name="relu")
    net["pool"] = MaxPool2DLayer(net["relu"], 2)
    net["drop"] = DropoutLayer(net["pool"], dropout, name="drop")
    net["out"] = DenseLayer(net["drop"], classes, nonlinearity=softmax, name="out")
    return net


def pools():
    x = InputLayer((None, 2, 6, 8), name="x")
    return [
        MaxPool2DLayer(x, 3, stride=2, pad=1, name="max"),
        MaxPool2DLayer(x, (4, 3), ignore_border=False, name="ceil"),
        Pool2DLayer(x, 3, stride=2, pad=1, mode="average_inc_pad", name="counted"),
        Pool2DLayer(x, 3, stride=2, pad=1, mode="average_exc_pad", name="left out"),
    ]


def recurrent():
    first, second = InputLayer((None, None, 2), name="sequence"), InputLayer((None, 3))
    return [RecurrentLayer(first, 3, nonlinearity=rectify, name="states"), ElemwiseSumLayer([second, second])]
'''


@pytest.fixture(scope="module")
def lasagne():
    with environments.open_runtime("lasagne") as runtime:
        yield runtime


def stored() -> list[np.ndarray]:
    """What ``savez(file, *get_all_param_values(net))`` writes for the first net; Lasagne 0.1 flips its kernels."""
    w = {name: value.astype(np.float64) for name, value in tiny_net.weights().items()}
    norm = [w["beta"], w["gamma"], w["mean"], 1 / np.sqrt(w["variance"] + tiny_net.EPSILON)]
    return [w["conv_weight"][:, :, ::-1, ::-1], w["conv_bias"], *norm, w["fc_weight"].T, w["fc_bias"]]


@pytest.fixture
def model(tmp_path):
    """Makes a model of the source above and of weights: a list, or a dictionary of what is in the archive."""

    def make(weights: list | dict | None = None, **options) -> SimpleNamespace:
        files = {"source": tmp_path / "net.py", "weights": tmp_path / "net.npz"}
        files["source"].write_text(SOURCE)
        weights = stored() if weights is None else weights
        named = weights if isinstance(weights, dict) else {f"arr_{i}": array for i, array in enumerate(weights)}
        # The order within an archive is any.
        np.savez(files["weights"], **dict(sorted(named.items(), reverse=True)))
        options = {"object": "build", "arguments": [3], **options}
        return SimpleNamespace(framework="lasagne", files=files, options=options)

    return make


def test_every_layer_is_given_for_any_batch(lasagne, model):
    names = {"pool": "MaxPool2DLayer_4", "fc": "out:linear", "softmax": "out"}
    with lasagne.open(model()) as session:
        assert session.names.inputs == ("image",) and session.names.outputs == ("out",)
        assert set(session.names.taps) == {"conv", "norm", "relu", "MaxPool2DLayer_4", "drop", "out:linear"}
        for batch in (1, 3):
            x = tiny_net.images(batch)
            found = session.run({"image": x}, "all")
            for layer, expected in tiny_net.layers(x).items():
                np.testing.assert_allclose(found[names.get(layer, layer)], expected, **tiny_net.TOLERANCE)
            np.testing.assert_array_equal(found["drop"], found["MaxPool2DLayer_4"])
            assert session.run({"image": x}, ["relu"]).keys() == {"relu"}
            np.testing.assert_array_equal(session.run({"image": x})["out"], found["out"])
            assert found["out"].dtype == np.float32


def pooled(x: np.ndarray, size: tuple[int, int], stride: tuple[int, int], pad: int, blank: float, reduce) -> np.ndarray:
    """Pooling of windows that may reach over the far border."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=blank)
    extents = zip(padded.shape[2:], size, stride, strict=True)
    rows, columns = (range(0, extent - (window - 1 if pad else 0), step) for extent, window, step in extents)
    windows = [[padded[:, :, r : r + size[0], c : c + size[1]] for c in columns] for r in rows]
    return np.stack([np.stack([reduce(w, axis=(2, 3)) for w in row], -1) for row in windows], -2)


def test_pooling_over_the_border(lasagne, model):
    x = tiny_net.images(2)
    with lasagne.open(model([], object="pools", arguments=[])) as session:
        found = session.run({"x": x})
    expected = {
        "max": pooled(x, (3, 3), (2, 2), 1, -np.inf, np.max),
        "ceil": pooled(x, (4, 3), (4, 3), 0, 0, np.max),
        "counted": pooled(x, (3, 3), (2, 2), 1, 0, np.mean),
        "left out": pooled(x, (3, 3), (2, 2), 1, np.nan, np.nanmean),
    }
    assert found["ceil"].shape == (2, 2, 2, 3)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6)


def test_recurrence_several_outputs_and_layers_without_names(lasagne, model):
    rng = np.random.default_rng(0)
    start, w_in, bias, w_hid = (rng.normal(size=shape) for shape in ((1, 3), (2, 3), (3,), (3, 3)))
    sequence, other = rng.normal(size=(2, 4, 2)), rng.normal(size=(2, 3))
    with lasagne.open(model([start, w_in, bias, w_hid], object="recurrent", arguments=[])) as session:
        assert session.names.outputs == ("states", "ElemwiseSumLayer_3")
        assert session.names.inputs == ("sequence", "InputLayer_2")
        found = session.run({"InputLayer_2": other, "sequence": sequence})
    state = np.repeat(start, 2, axis=0)
    for step in range(4):
        state = np.maximum(sequence[:, step] @ w_in + bias + state @ w_hid, 0)
        np.testing.assert_allclose(found["states"][:, step], state, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["ElemwiseSumLayer_3"], 2 * other, rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (stored()[:-1], "holds 7 arrays, the net has 8 parameters"),
        ([*stored()[:-1], np.zeros(4)], r"arr_7 has the shape \(4,\) where out.b has \(3,\)"),
        ({"W": np.zeros(3)}, "the arrays are not called arr_0, arr_1 and so on"),
    ],
)
def test_weights_of_another_net_are_refused(lasagne, model, weights, reason):
    with pytest.raises(WorkerFailed, match=reason):
        lasagne.open(model(weights))


def test_a_pickle_in_the_weights_is_not_run(lasagne, model, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    with pytest.raises(WorkerFailed, match="allow_pickle=False"):
        lasagne.open(model([*stored()[:-1], np.array([Touch()] * 3, object)]))
    assert not (tmp_path / "touched").exists()


def test_it_writes_nothing_beside_the_model(lasagne, model, tmp_path):
    lasagne.open(model()).run({"image": tiny_net.images(1)})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.npz", "net.py"]


def test_it_says_its_versions(lasagne):
    assert lasagne.versions()["theano"] == "1.0.5"
