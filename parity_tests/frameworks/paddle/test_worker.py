"""Real PaddlePaddle, in a process of its own: programs of version 3, and of version 2."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_net
from runtimes import build_in, needs_runtime

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("paddle")

BUILD = """
import paddle, numpy as np
from paddle.pir_utils import OldIrGuard
w = {name: paddle.to_tensor(value) for name, value in np.load("weights.npz").items()}

class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(2, 4, 3, padding=1)
        self.norm = paddle.nn.BatchNorm2D(4, epsilon=1e-3)
        self.pool = paddle.nn.MaxPool2D(2)
        self.fc = paddle.nn.Linear(48, 3)

    def forward(self, image):
        x = self.pool(paddle.nn.functional.relu(self.norm(self.conv(image))))
        return paddle.nn.functional.softmax(self.fc(paddle.flatten(x, 1)))

class Two(paddle.nn.Layer):
    def forward(self, first, second):
        left, right = paddle.split(first * 2, 2, axis=1)
        return left + second, right

def save(name):
    net, two = Net(), Two()
    net.set_state_dict({
        **{"conv.weight": w["conv_weight"], "conv.bias": w["conv_bias"], "norm.weight": w["gamma"]},
        **{"norm.bias": w["beta"], "norm._mean": w["mean"], "norm._variance": w["variance"]},
        **{"fc.weight": w["fc_weight"].T, "fc.bias": w["fc_bias"]},
    })
    net.eval()
    spec = paddle.static.InputSpec
    paddle.jit.save(net, name, [spec([None, 2, 6, 8], "float32", "image")])
    paddle.jit.save(two, name + "-two", [spec([None, 4], "float32", "first"), spec([None, 2], "float32", "second")])
    paddle.jit.save(paddle.nn.Linear(48, 4), name + "-other", [spec([None, 48], "float32", "x")])

import os, sys
save("net" if len(sys.argv) == 1 else sys.argv[1])
if len(sys.argv) == 1:
    os.environ["FLAGS_enable_pir_api"] = "0"
    os.execv(sys.executable, [sys.executable, "build.py", "old"])
"""
FILES = {"net.json": "net.pdiparams", "old.pdmodel": "old.pdiparams"}
# What each kind of file calls the layers.
TAPS = {
    "net.json": {"conv": "add_12", "norm": "batch_norm__13", "relu": "relu_14", "pool": "pool2d_16", "fc": "add_19"},
    "old.pdmodel": {
        **{"conv": "conv2d_0.tmp_1", "norm": "batch_norm_0.tmp_2", "relu": "relu_0.tmp_0", "pool": "pool2d_0.tmp_0"},
        "fc": "linear_0.tmp_1",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paddle")
    tiny_net.save_weights(folder)
    build_in("paddle", BUILD, folder)
    return folder


@pytest.fixture(scope="module")
def paddle():
    with environments.open_runtime("paddle") as runtime:
        yield runtime


@pytest.fixture
def model(folder):
    """Makes a model of two of the files that the script above left."""

    def make(file: str, params: str | None) -> SimpleNamespace:
        files = {"model": folder / file, **({} if params is None else {"params": folder / params})}
        return SimpleNamespace(framework="paddle", files=files, options={})

    return make


@pytest.mark.parametrize(("file", "params"), FILES.items())
def test_every_variable_is_given_for_any_batch(paddle, model, file, params):
    with paddle.open(model(file, params)) as session:
        assert session.names.inputs == ("image",)
        (output,) = session.names.outputs
        for batch in (1, 3):
            x = tiny_net.images(batch)
            found = session.run({"image": x}, "all")
            assert set(found) == {output, *session.names.taps}
            for layer, expected in tiny_net.layers(x).items():
                np.testing.assert_allclose(
                    found[{**TAPS[file], "softmax": output}[layer]], expected, **tiny_net.TOLERANCE
                )
            np.testing.assert_array_equal(session.run({"image": x})[output], found[output])
            assert session.run({"image": x}, [TAPS[file]["pool"]]).keys() == {TAPS[file]["pool"]}


@pytest.mark.parametrize("file", ["net-two.json", "old-two.pdmodel"])
def test_several_inputs_and_outputs_and_no_parameters(paddle, model, file):
    first, second = np.arange(8).reshape(2, 4), np.ones((2, 2))
    with paddle.open(model(file, None)) as session:
        assert session.names.inputs == ("first", "second")
        left, right = session.names.outputs
        found = session.run({"second": second, "first": first}, "all")
    np.testing.assert_array_equal(found[left], 2 * first[:, :2] + 1)
    np.testing.assert_array_equal(found[right], 2 * first[:, 2:])


def test_models_with_parameters_of_the_same_name_are_apart(paddle, model):
    x = tiny_net.images(1)
    flat = x.reshape(1, -1)[:, :48]
    with paddle.open(model("net.json", "net.pdiparams")) as net:
        before = net.run({"image": x})
        with paddle.open(model("net-other.json", "net-other.pdiparams")) as other:
            assert next(iter(other.run({"x": flat}).values())).shape == (1, 4)
        after = net.run({"image": x})
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


@pytest.mark.parametrize(
    ("file", "other"), [("net.json", "net-other.pdiparams"), ("old.pdmodel", "old-other.pdiparams")]
)
def test_parameters_of_another_net_are_refused(paddle, model, file, other):
    with pytest.raises(WorkerFailed):
        paddle.open(model(file, other))


@pytest.mark.parametrize("file", FILES)
def test_parameters_of_other_shapes_are_refused(paddle, model, folder, file):
    """As many parameters in the same order, one of them turned: Paddle itself takes the file."""
    data = bytearray((folder / FILES[file]).read_bytes())
    # The description of a float32 of (48, 3): field 1 the type, field 2 the extents.
    place = data.index(b"\x08\x05\x10\x30\x10\x03")
    data[place + 2 : place + 6] = b"\x10\x03\x10\x30"
    (folder / "turned.pdiparams").write_bytes(data)
    with pytest.raises(WorkerFailed, match=r"has the shape \[3, 48\] where the program has \[48, 3\]"):
        paddle.open(model(file, "turned.pdiparams"))


def test_an_operation_that_reaches_files_is_refused(paddle, model, folder):
    data = (folder / "old.pdmodel").read_bytes()
    (folder / "saves.pdmodel").write_bytes(data.replace(b"\x04relu", b"\x04save"))
    with pytest.raises(WorkerFailed, match="save reaches files or runs Python"):
        paddle.open(model("saves.pdmodel", "old.pdiparams"))


def test_the_pickle_beside_a_model_is_not_run(paddle, model, folder):
    class Touch:
        def __reduce__(self):
            return Path.touch, (folder / "touched",)

    for name in ("old", "net"):
        (folder / f"{name}.pdiparams.info").write_bytes(pickle.dumps(Touch()))
    for file, params in FILES.items():
        paddle.open(model(file, params)).run({"image": tiny_net.images(1)})
    assert not (folder / "touched").exists()


@pytest.mark.parametrize("file", FILES)
def test_damaged_files_are_an_error_and_the_runtime_goes_on(paddle, model, folder, file):
    (folder / f"cut-{file}").write_bytes((folder / file).read_bytes()[:300])
    (folder / "cut.pdiparams").write_bytes((folder / FILES[file]).read_bytes()[:300])
    for broken in (model(f"cut-{file}", FILES[file]), model(file, "cut.pdiparams")):
        with pytest.raises(WorkerFailed):
            paddle.open(broken)
    assert paddle.open(model(file, FILES[file])).names.inputs == ("image",)


def test_it_says_its_versions(paddle):
    assert paddle.versions()["paddle"].startswith("3.")
