"""Real MXNet, in a process of its own."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_net
from runtimes import build_in, needs_runtime

from converter import environments
from converter.errors import UsageError, WorkerFailed

pytestmark = needs_runtime("mxnet")

BUILD = """
import mxnet as mx, numpy as np
w = {name: mx.nd.array(value) for name, value in np.load("weights.npz").items()}

net = mx.sym.Convolution(mx.sym.var("data"), name="conv", kernel=(3, 3), pad=(1, 1), num_filter=4)
net = mx.sym.BatchNorm(net, name="norm", eps=1e-3, fix_gamma=False)
net = mx.sym.Activation(net, name="relu", act_type="relu")
net = mx.sym.Pooling(net, name="pool", kernel=(2, 2), stride=(2, 2), pool_type="max")
net = mx.sym.FullyConnected(net, name="fc", num_hidden=3)
net = mx.sym.SoftmaxOutput(net, name="softmax")
net.save("net-symbol.json")
stored = {
    **{"arg:conv_weight": w["conv_weight"], "arg:conv_bias": w["conv_bias"]},
    **{"arg:norm_gamma": w["gamma"], "arg:norm_beta": w["beta"]},
    **{"aux:norm_moving_mean": w["mean"], "aux:norm_moving_var": w["variance"]},
    **{"arg:fc_weight": w["fc_weight"], "arg:fc_bias": w["fc_bias"]},
}
mx.nd.save("net-0000.params", stored)
mx.nd.save("without-norm.params", {name: value for name, value in stored.items() if not name.startswith("aux:")})
mx.nd.save("without-fc.params", {name: value for name, value in stored.items() if name != "arg:fc_weight"})
mx.nd.save("wrong-shape.params", dict(stored, **{"arg:fc_bias": mx.nd.zeros(4)}))
mx.nd.save("nameless.params", list(stored.values()))
with mx.util.np_shape(True):
    mx.nd.save("np-shape.params", stored)

two = mx.sym.var("first") * 2 + mx.sym.var("second")
mx.sym.Group([two, mx.sym.relu(two, name="positive")]).save("two-symbol.json")

block = mx.gluon.nn.HybridSequential()
block.add(mx.gluon.nn.Conv2D(4, 3, padding=1, in_channels=2), mx.gluon.nn.GlobalAvgPool2D())
block.initialize()
block[0].weight.set_data(w["conv_weight"])
block[0].bias.set_data(w["conv_bias"])
block.cast("float64")
block.hybridize()
block(mx.nd.zeros((1, 2, 6, 8), dtype="float64"))
block.export("gluon")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mxnet")
    tiny_net.save_weights(folder)
    build_in("mxnet", BUILD, folder)
    return folder


@pytest.fixture(scope="module")
def mxnet():
    with environments.open_runtime("mxnet") as runtime:
        yield runtime


@pytest.fixture
def model(folder):
    """Makes a model of two of the files that the script above left."""

    def make(symbol: str = "net-symbol.json", params: str | None = "net-0000.params") -> SimpleNamespace:
        files = {"symbol": folder / symbol, **({} if params is None else {"params": folder / params})}
        return SimpleNamespace(framework="mxnet", files=files, options={})

    return make


@pytest.mark.parametrize("params", ["net-0000.params", "np-shape.params"])
def test_every_output_is_given_for_any_batch(mxnet, model, params):
    with mxnet.open(model(params=params)) as session:
        # The label is no input: only training reads it.
        assert session.names.inputs == ("data",)
        assert session.names.outputs == ("softmax_output",)
        assert session.names.taps == ("conv_output", "norm_output", "relu_output", "pool_output", "fc_output")
        for batch in (1, 3):
            x = tiny_net.images(batch)
            found = session.run({"data": x}, "all")
            for layer, expected in tiny_net.layers(x).items():
                np.testing.assert_allclose(found[f"{layer}_output"], expected, **tiny_net.TOLERANCE)
            np.testing.assert_array_equal(session.run({"data": x})["softmax_output"], found["softmax_output"])
            assert session.run({"data": x}, ["pool_output"]).keys() == {"pool_output"}


def test_several_inputs_and_outputs(mxnet, model):
    first, second = np.arange(6).reshape(2, 3), np.ones((2, 3), np.uint8)
    with mxnet.open(model("two-symbol.json", None)) as session:
        assert session.names.inputs == ("first", "second") and len(session.names.outputs) == 2
        found = session.run({"first": first, "second": second})
    for name in session.names.outputs:
        np.testing.assert_array_equal(found[name], 2 * first + second)


def test_a_gluon_export_of_double_precision(mxnet, model):
    x = tiny_net.images(3)
    with mxnet.open(model("gluon-symbol.json", "gluon-0000.params")) as session:
        found = session.run({"data": x}, "all")
    (output,) = session.names.outputs
    expected = tiny_net.layers(x)["conv"].mean(axis=(2, 3), keepdims=True)
    assert found[output].dtype == np.float64
    np.testing.assert_allclose(found[output], expected, rtol=1e-12)


def test_what_the_parameters_lack_is_told(mxnet, model):
    with pytest.raises(WorkerFailed, match="the parameters lack norm_moving_mean, norm_moving_var"):
        mxnet.open(model(params="without-norm.params"))
    with (
        mxnet.open(model(params="without-fc.params")) as session,
        pytest.raises(UsageError, match='no value for the input "fc_weight"'),
    ):
        session.run({"data": tiny_net.images(1)})
    with pytest.raises(WorkerFailed, match="its 8 arrays have no names"):
        mxnet.open(model(params="nameless.params"))


def test_parameters_of_another_net_are_refused(mxnet, model):
    with mxnet.open(model(params="wrong-shape.params")) as session, pytest.raises(WorkerFailed, match=r"(?i)shape"):
        session.run({"data": tiny_net.images(1)})


def test_damaged_files_are_an_error_and_the_runtime_goes_on(mxnet, model, tmp_path):
    good = model().files
    (tmp_path / "short.params").write_bytes(good["params"].read_bytes()[:200])
    graph = json.loads(good["symbol"].read_text())
    graph["nodes"][3]["op"] = "Nope"
    (tmp_path / "nope.json").write_text(json.dumps(graph))
    with pytest.raises(WorkerFailed, match="MXNetError"):
        mxnet.open(model(params=tmp_path / "short.params"))
    with pytest.raises(WorkerFailed, match="Nope"):
        mxnet.open(model(tmp_path / "nope.json"))
    assert mxnet.open(model()).run({"data": tiny_net.images(1)})["softmax_output"].shape == (1, 3)


def test_it_says_its_versions(mxnet):
    assert mxnet.versions()["mxnet"] == "1.9.1"
