"""Real TensorFlow, in a process of its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_net
from runtimes import build_in, needs_runtime

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("tensorflow")

BUILD = """
import numpy as np, tensorflow as tf
v1 = tf.compat.v1
w = dict(np.load("weights.npz"))
kernel = w["conv_weight"].transpose(2, 3, 1, 0)
fc = w["fc_weight"].reshape(3, 4, 3, 4).transpose(2, 3, 1, 0).reshape(48, 3)

def net(x, conv_weight, layout="NHWC"):
    window = [1, 2, 2, 1] if layout == "NHWC" else [1, 1, 2, 2]
    x = tf.nn.conv2d(x, conv_weight, 1, "SAME", data_format=layout)
    x = tf.nn.bias_add(x, w["conv_bias"], data_format=layout, name="conv")
    x = v1.nn.fused_batch_norm(
        x, w["gamma"], w["beta"], w["mean"], w["variance"], 1e-3, layout, is_training=False, name="norm"
    )[0]
    x = tf.nn.max_pool2d(tf.nn.relu(x, name="relu"), window, window, "VALID", layout, name="pool")
    weight = fc if layout == "NHWC" else w["fc_weight"].T
    x = tf.add(tf.matmul(tf.reshape(x, [-1, 48]), weight), w["fc_bias"], name="fc")
    return tf.nn.softmax(x, name="softmax")

def write(graph, file):
    with open(file, "wb") as stream:
        stream.write(graph.as_graph_def().SerializeToString())

for layout, shape in (("NHWC", (None, 6, 8, 2)), ("NCHW", (None, 2, 6, 8))):
    with tf.Graph().as_default() as graph:
        net(v1.placeholder(tf.float32, shape, "image"), kernel, layout)
        write(graph, layout + ".pb")

with tf.Graph().as_default() as graph, v1.Session() as session:
    x = v1.placeholder(tf.float32, (None, 6, 8, 2), "image")
    variable = v1.Variable(kernel, use_resource=False)
    scale = v1.placeholder(tf.float32, (), "factor")
    outputs = {"probabilities": net(x, variable), "half": scale * x}
    session.run(v1.global_variables_initializer())
    v1.saved_model.simple_save(session, "version_1", {"picture": x, "scale": scale}, outputs)

class Net(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(kernel)

    @tf.function(input_signature=[tf.TensorSpec((None, 6, 8, 2), name="image")])
    def inner(self, image):
        return net(image, self.kernel)

    @tf.function(input_signature=[tf.TensorSpec((), name="scale"), tf.TensorSpec((None, 6, 8, 2), name="picture")])
    def serve(self, scale, picture):
        return {"probabilities": self.inner(picture), "half": scale * picture}

module = Net()
tf.saved_model.save(module, "version_2", signatures={"serving_default": module.serve, "inner": module.inner})

with tf.Graph().as_default() as graph:
    x = v1.placeholder(tf.float32, (None,), "x")
    v1.disable_control_flow_v2()
    _, total = tf.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, tf.add(s, x, name="inside")), (0, 0 * x))
    total = tf.cond(tf.reduce_sum(total) > 0, lambda: tf.negative(total, name="negative"), lambda: total)
    tf.multiply(total, 2.0, name="result")
    tf.strings.as_string(total, name="text")
    write(graph, "loop.pb")

class Writer(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((), name="x")])
    def serve(self, x):
        tf.io.write_file("written", "x")
        return {"y": x}

tf.saved_model.save(Writer(), "writes")
with tf.Graph().as_default() as graph:
    tf.io.write_file("written", "x")
    write(graph, "writes.pb")
with tf.Graph().as_default() as graph:
    v1.py_func(lambda: 1.0, [], tf.float32, name="code")
    write(graph, "python.pb")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensorflow")
    tiny_net.save_weights(folder)
    build_in("tensorflow", BUILD, folder)
    return folder


@pytest.fixture(scope="module")
def tensorflow():
    with environments.open_runtime("tensorflow") as runtime:
        yield runtime


@pytest.fixture
def model(folder):
    """Makes a model of a frozen graph ("x.pb") or of a folder with a SavedModel."""

    def make(name: str, **options) -> SimpleNamespace:
        path = folder / name
        files = {"graph": path} if path.suffix == ".pb" else {"saved_model": path / "saved_model.pb"}
        return SimpleNamespace(framework="tensorflow", files=files, options=options)

    return make


def channels_last(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@pytest.mark.parametrize(("layout", "turned"), [("NHWC", channels_last), ("NCHW", np.asarray)])
def test_every_tensor_of_a_frozen_graph_is_given_for_any_batch(tensorflow, model, layout, turned):
    with tensorflow.open(model(f"{layout}.pb")) as session:
        assert session.names.inputs == ("image:0",) and session.names.outputs == ("softmax:0",)
        assert {"conv:0", "norm:0", "relu:0", "pool:0", "fc:0"} <= set(session.names.taps)
        for batch in (1, 3):
            x = tiny_net.images(batch)
            found = session.run({"image:0": turned(x)}, "all")
            for layer, expected in tiny_net.layers(x).items():
                np.testing.assert_allclose(found[f"{layer}:0"], turned(expected), **tiny_net.TOLERANCE)
            alone = session.run({"image:0": turned(x)}, ["softmax:0"])
            np.testing.assert_array_equal(alone["softmax:0"], found["softmax:0"])


def test_a_graph_is_cut_where_the_user_says(tensorflow, model):
    layers = tiny_net.layers(tiny_net.images(3))
    with tensorflow.open(model("NHWC.pb", inputs=["pool:0"], outputs=["fc:0"])) as session:
        assert session.names[:2] == (("pool:0",), ("fc:0",))
        # What comes before the cut has no value.
        assert not {"conv:0", "norm:0", "relu:0"} & set(session.names.taps)
        found = session.run({"pool:0": channels_last(layers["pool"])}, "all")
    np.testing.assert_allclose(found["fc:0"], layers["fc"], **tiny_net.TOLERANCE)


@pytest.mark.parametrize("version", ["version_1", "version_2"])
def test_every_tensor_of_a_saved_model_is_given(tensorflow, model, version):
    with tensorflow.open(model(version)) as session:
        assert set(session.names.inputs) == {"picture", "scale"}
        assert set(session.names.outputs) == {"probabilities", "half"}
        for batch in (1, 3):
            x = tiny_net.images(batch)
            inputs = {"picture": channels_last(x), "scale": np.float64(0.5)}
            found = session.run(inputs, "all")
            expected = tiny_net.layers(x)
            np.testing.assert_allclose(found["probabilities"], expected["softmax"], **tiny_net.TOLERANCE)
            for layer in ("conv", "relu", "pool", "fc"):
                (tap,) = (name for name in session.names.taps if name.split("/")[-1] == f"{layer}:0")
                np.testing.assert_allclose(found[tap], channels_last(expected[layer]), **tiny_net.TOLERANCE)
            np.testing.assert_array_equal(found["half"], inputs["picture"] / 2)


def test_a_signature_is_chosen_by_name(tensorflow, model):
    x = tiny_net.images(1)
    with tensorflow.open(model("version_2", signature="inner")) as session:
        (output,) = session.names.outputs
        found = session.run({"image": channels_last(x)})[output]
    np.testing.assert_allclose(found, tiny_net.layers(x)["softmax"], **tiny_net.TOLERANCE)
    with pytest.raises(WorkerFailed, match="the signature other is not among: serving_default, inner"):
        tensorflow.open(model("version_2", signature="other"))


def test_what_is_inside_loops_and_branches_is_no_tap(tensorflow, model):
    with tensorflow.open(model("loop.pb")) as session:
        assert session.names.outputs == ("while/Exit:0", "result:0"), "the first counts, and nothing reads it"
        assert not any("inside" in name or "negative" in name for name in session.names.taps)
        assert session.run({"x:0": np.array([1, 2])}, "all")["result:0"].tolist() == [-6, -12]
        assert session.run({"x:0": np.array([-1])})["result:0"].tolist() == [-6]


@pytest.mark.parametrize("file", ["writes", "writes.pb", "python.pb"])
def test_a_graph_that_reaches_files_or_runs_code_is_refused(tensorflow, model, file, folder):
    with pytest.raises(WorkerFailed, match=r"\((WriteFile|PyFunc)\) runs code or reaches files"):
        tensorflow.open(model(file)).run({})
    assert not (folder / "written").exists()


def test_a_damaged_graph_is_an_error_and_the_runtime_goes_on(tensorflow, model, folder):
    (folder / "cut.pb").write_bytes((folder / "NHWC.pb").read_bytes()[:1000])
    with pytest.raises(WorkerFailed, match="DecodeError"):
        tensorflow.open(model("cut.pb"))
    assert tensorflow.open(model("NHWC.pb")).names.inputs == ("image:0",)


def test_it_says_its_versions(tensorflow):
    assert {"tensorflow", "numpy"} <= tensorflow.versions().keys()
