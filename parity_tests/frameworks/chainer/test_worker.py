"""Real Chainer, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_net
from runtimes import needs_runtime

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("chainer")

SOURCE = '''
"""A net as a person writes it."""

import chainer
import chainer.functions as F
import chainer.links as L


class Net(chainer.Chain):
    def __init__(self, classes, scale=1.0):
        super().__init__()
        self.scale = scale
        with self.init_scope():
            norm = L.BatchNormalization(4, eps=1e-3)
            self.features = chainer.Sequential(L.Convolution2D(2, 4, 3, pad=1), norm, F.relu)
            self.fc = L.Linear(None, classes)

    def forward(self, image):
        pool = F.max_pooling_2d(self.features(image), 2)
        return F.softmax(self.scale * self.fc(F.dropout(pool)))

    def twice(self, image, again):
        one, other = F.split_axis(self.fc(self.features(image)[:, :, :3, :4]), [1], 1)
        return one + F.relu(F.relu(one)), self.fc(again)


class Counting(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.memory = L.StatefulPeepholeLSTM(2, 2)

    def __call__(self, x, times=2):
        for _ in range(times):
            y = self.memory(x)
        return {"last": y}
'''


@pytest.fixture(scope="module")
def chainer():
    with environments.open_runtime("chainer") as runtime:
        yield runtime


def stored() -> dict[str, np.ndarray]:
    """What ``save_npz`` writes for the net above."""
    w = tiny_net.weights()
    names = {
        **{"features/0/W": "conv_weight", "features/0/b": "conv_bias", "features/1/gamma": "gamma"},
        **{"features/1/beta": "beta", "features/1/avg_mean": "mean", "features/1/avg_var": "variance"},
        **{"fc/W": "fc_weight", "fc/b": "fc_bias"},
    }
    return {"features/1/N": np.array(5), **{key: w[name] for key, name in names.items()}}


@pytest.fixture
def model(tmp_path):
    """Makes a model of the source above and of weights."""

    def make(weights: dict | None = None, **options) -> SimpleNamespace:
        files = {"source": tmp_path / "net.py", "weights": tmp_path / "net.npz"}
        files["source"].write_text(SOURCE)
        np.savez(files["weights"], **(stored() if weights is None else weights))
        options = {"object": "Net", "arguments": [3], **options}
        return SimpleNamespace(framework="chainer", files=files, options=options)

    return make


def test_every_link_and_function_is_given_for_any_batch(chainer, model):
    names = {
        **{"conv": "features/0", "norm": "features/1", "relu": "features", "pool": "MaxPoolingND", "fc": "fc"},
        "softmax": "output",
    }
    with chainer.open(model(shapes={"image": [1, 2, 6, 8]})) as session:
        assert session.names.inputs == ("image",) and session.names.outputs == ("output",)
        assert set(names.values()) <= {"output", *session.names.taps}
        for batch in (1, 3):
            x = tiny_net.images(batch)
            found = session.run({"image": x}, "all")
            for layer, expected in tiny_net.layers(x).items():
                np.testing.assert_allclose(found[names[layer]], expected, **tiny_net.TOLERANCE)
            assert session.run({"image": x}, ["MaxPoolingND"]).keys() == {"MaxPoolingND"}
            np.testing.assert_array_equal(session.run({"image": x})["output"], found["output"])


def test_without_shapes_links_alone_have_taps(chainer, model):
    x = tiny_net.images(3)
    with chainer.open(model()) as session:
        assert set(session.names.taps) == {"features", "features/0", "features/1", "fc"}
        found = session.run({"image": x}, "all")
    np.testing.assert_allclose(found["features/0"], tiny_net.layers(x)["conv"], **tiny_net.TOLERANCE)


def test_arguments_of_the_constructor_are_given(chainer, model):
    x = tiny_net.images(1)
    plain, scaled = (
        chainer.open(model(keywords={"scale": scale}, shapes={"image": x.shape})).run({"image": x}, "all")
        for scale in (1.0, 2.0)
    )
    np.testing.assert_allclose(scaled["output"], plain["output"] ** 2 / (plain["output"] ** 2).sum(), rtol=1e-4)


def test_another_method_several_values_and_repeated_calls(chainer, model):
    x = tiny_net.images(2)
    again = np.zeros((2, 48))
    shapes = {"image": x.shape, "again": again.shape}
    with chainer.open(model(method="twice", outputs=["sum", "bias"], shapes=shapes)) as session:
        assert session.names.inputs == ("image", "again") and session.names.outputs == ("sum", "bias")
        assert {"fc", "fc#1", "SplitAxis:0", "SplitAxis:1", "ReLU", "ReLU#1"} <= set(session.names.taps)
        found = session.run({"image": x, "again": again}, "all")
    np.testing.assert_array_equal(found["fc"][:, :1], found["SplitAxis:0"])
    np.testing.assert_array_equal(found["sum"], found["SplitAxis:0"] + found["ReLU#1"])
    np.testing.assert_array_equal(found["bias"], np.broadcast_to(tiny_net.weights()["fc_bias"], (2, 3)))
    np.testing.assert_array_equal(found["fc#1"], found["bias"])


def test_a_run_does_not_remember_the_one_before(chainer, model):
    weights = {
        **{"memory/upward/W": np.ones((8, 2)), "memory/upward/b": np.zeros(8), "memory/lateral/W": np.ones((8, 2))},
        **{f"memory/peep_{gate}/W": np.ones((2, 2)) for gate in "ifo"},
    }
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    x = np.ones((1, 2))
    options = {"object": "Counting", "arguments": [], "outputs": ["last"], "shapes": {"x": x.shape}}
    with chainer.open(model(weights, **options)) as session:
        assert session.names.inputs == ("x",) and {"memory", "memory#1"} <= set(session.names.taps)
        first, second = session.run({"x": x}, "all"), session.run({"x": x}, "all")
    assert (first["memory"] != first["last"]).all()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fc/c": np.zeros(3)}, "weights that the net has not: fc/c; weights that the file has not: none"),
        ({"fc/b": None}, "weights that the net has not: none; weights that the file has not: fc/b"),
        # Chainer itself would spread it.
        ({"features/0/b": np.zeros(1, "f4")}, r"features/0/b has the shape \(1,\) where the net has \(4,\)"),
    ],
)
def test_weights_of_another_net_are_refused(chainer, model, changes, reason):
    weights = {name: value for name, value in {**stored(), **changes}.items() if value is not None}
    with pytest.raises(WorkerFailed, match=reason):
        chainer.open(model(weights))


def test_a_pickle_in_the_weights_is_not_run(chainer, model, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    with pytest.raises(WorkerFailed, match="allow_pickle=False"):
        chainer.open(model({**stored(), "fc/b": np.array([Touch()], object)}))
    assert not (tmp_path / "touched").exists()


def test_it_writes_nothing_beside_the_model(chainer, model, tmp_path):
    chainer.open(model()).run({"image": tiny_net.images(1)})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.npz", "net.py"]


def test_it_says_its_versions(chainer):
    assert chainer.versions()["chainer"] == "7.8.1"
