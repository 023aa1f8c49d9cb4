"""The written .onnx files: valid, run by the real ONNX Runtime as the float64 reference says, streamed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
from frameworks.pytorch.writer_cases import CASES, assert_close, feeds, one_node
from onnx import numpy_helper
from runtimes import needs_runtime
from traps import traps

from converter import api, environments
from converter.errors import ConverterError, UnsupportedLayers
from converter.frameworks.onnx import format, writer
from converter.frameworks.options import WriteOptions
from converter.graph import passes
from converter.graph.builder import GraphBuilder
from converter.graph.model import HUB_DOMAIN, Artifact, Model, Origin, Preprocessing

#: What check() refuses, so that no file is written.
REFUSED = {"lrn-even"}
WRITTEN = [pytest.param(*case[1:], id=case[0]) for case in CASES if case[0] not in REFUSED]


@pytest.fixture(scope="module")
def runtime():
    with environments.open_runtime("onnx") as runtime:
        yield runtime


def convert(model, directory, options=None):
    """Write ``model`` as the tool does."""
    return writer.write(passes.run(model, writer.PASSES), directory, options)


def dims(value: onnx.ValueInfoProto) -> list:
    """Sizes and symbols; "" for one that is open."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]


@needs_runtime("onnx")
@pytest.mark.parametrize(("op", "operands", "attributes"), WRITTEN)
def test_operator(runtime, tmp_path, op, operands, attributes):
    model = one_node(op, operands, **attributes)
    artifact = convert(model, tmp_path)
    onnx.checker.check_model(artifact.files["model"], full_check=True)
    inputs = feeds(operands)
    with runtime.open(artifact) as session:
        assert_close(model, inputs, session.run(inputs, list(artifact.taps.values())))


@needs_runtime("onnx")
@pytest.mark.parametrize("trap", traps("caffe"))
def test_trap_case(runtime, tmp_path, trap):
    try:
        model = api.read(trap.files, "caffe")
        artifact = convert(model, tmp_path)
    except ConverterError as error:
        assert trap.expects != "right" or isinstance(error, UnsupportedLayers)
        return
    onnx.checker.check_model(artifact.files["model"])
    inputs = trap.golden()["input"]
    assert_close(model, inputs, runtime.open(artifact).run(inputs))


def small_net() -> Model:
    """conv -> relu -> fully connected, on a batch of 2, with what a reader knows of it."""
    random = np.random.default_rng(0)
    builder = GraphBuilder("small")
    x = builder.input("data", (2, 3, 4, 4))
    with builder.layer(Origin("conv1", "Convolution", "/home/somebody/deploy.prototxt", 12)):
        weight = builder.initializer("conv1.weight", random.standard_normal((8, 3, 3, 3)).astype(np.float32))
        y = builder.op("Conv", [x, weight], "conv1", kernel_shape=[3, 3])
    with builder.layer(Origin("relu1", "ReLU", "/home/somebody/deploy.prototxt", 30)):
        y = builder.op("Relu", [y], "relu1")
    with builder.layer(Origin("fc", "InnerProduct", "/home/somebody/deploy.prototxt", 34)):
        weight = builder.initializer("fc.weight", random.standard_normal((50, 32)).astype(np.float32))
        y = builder.op("Gemm", [builder.op("Flatten", [y], axis=1), weight], "fc", transB=1)
    return Model(builder.build([y]), "caffe")


def test_the_file_says_where_it_comes_from_but_not_in_which_folder(tmp_path):
    preprocessing = Preprocessing("bgr", mean=(104.0, 117.0, 123.0))
    artifact = convert(small_net(), tmp_path, WriteOptions(preprocessing=preprocessing))
    model = onnx.load(artifact.files["model"])
    properties = {p.key: p.value for p in model.graph.node[0].metadata_props}
    assert properties["converter.file"] == "deploy.prototxt"
    assert (properties["converter.layer"], properties["converter.line"]) == ("conv1", "12")
    assert b"somebody" not in artifact.files["model"].read_bytes()
    stored = json.loads(next(p.value for p in model.metadata_props if p.key == "converter.preprocessing"))
    assert Preprocessing.from_json(stored) == preprocessing


def test_weights_are_the_same_bits(tmp_path):
    net = small_net()
    written = onnx.load(convert(net, tmp_path).files["model"]).graph.initializer
    for tensor in written:
        expected = net.graph.initializers[tensor.name].const_value.numpy()
        assert np.array_equal(numpy_helper.to_array(tensor), expected)
    assert {tensor.name for tensor in written} == {"conv1.weight", "fc.weight"}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        np.arange(24, dtype=np.int64).reshape(2, 3, 4)[:, ::-1, ::2],
        np.broadcast_to(np.float32(0.1), (1500, 1000)),
        np.frombuffer(b"x" + np.float32([1, 2, 3]).tobytes(), np.uint8)[1:].view("<f4"),
        np.arange(3, dtype=">f8"),
        np.array([True, False]),
        np.float32(7),
        np.empty((0, 3), np.float32),
    ],
    ids=["transposed", "strided", "broadcast", "unaligned", "big-endian", "logical", "scalar", "empty"],
)
def test_arrays_of_any_layout(tmp_path, array):
    builder = GraphBuilder("constant")
    name = np.dtype(array.dtype).name
    constant = builder.initializer("constant", lambda: array, array.shape, name)
    path = tmp_path / "model.onnx"
    format.write(path, builder.build([constant]))
    (tensor,) = onnx.load(path).graph.initializer
    assert np.array_equal(numpy_helper.to_array(tensor), array)


def test_names_are_those_of_the_source(tmp_path):
    artifact = convert(small_net(), tmp_path)
    assert set(artifact.taps) >= {"conv1", "relu1", "fc"}
    assert all(hub == own for hub, own in artifact.taps.items())
    assert artifact.inputs == {"data": "data"} and artifact.outputs == {"fc": "fc"}


@needs_runtime("onnx")
def test_a_free_batch_is_a_symbol_and_takes_any_number(runtime, tmp_path):
    artifact = convert(small_net(), tmp_path)
    graph = onnx.load(artifact.files["model"]).graph
    assert dims(graph.input[0]) == ["batch", 3, 4, 4]
    assert dims(graph.output[0]) == ["batch", 50]
    inputs = {"data": np.ones((5, 3, 4, 4), np.float32)}
    found = runtime.open(artifact).run(inputs)
    assert found["fc"].shape == (5, 50)
    assert_close(small_net(), inputs, found)


def test_a_batch_that_the_net_counts_on_stays_a_number(tmp_path):
    builder = GraphBuilder("counts")
    x = builder.input("data", (2, 6))
    shape = builder.constant([2, 2, 3])
    model = Model(builder.build([builder.op("Reshape", [x, shape], "fixed")]), "caffe")
    graph = onnx.load(convert(model, tmp_path).files["model"]).graph
    assert dims(graph.input[0]) == [2, 6] and dims(graph.output[0]) == [2, 2, 3]


def test_a_multiple_of_the_batch_is_left_open(tmp_path):
    builder = GraphBuilder("folds")
    x = builder.input("data", (2, 6))
    folded = builder.op("Reshape", [x, builder.constant([-1, 3])], "folded")
    model = Model(builder.build([builder.op("Reshape", [folded, builder.constant([-1, 6])], "back")]), "caffe")
    graph = onnx.load(convert(model, tmp_path).files["model"]).graph
    assert {value.name: dims(value) for value in graph.value_info} == {"folded": ["", 3]}
    assert dims(graph.output[0]) == ["batch", 6]


@needs_runtime("onnx")
def test_sizes_that_the_values_decide_are_left_open(runtime, tmp_path):
    builder = GraphBuilder("filter")
    x, selector = builder.input("data", (4, 3)), builder.input("selector", (4,), "bool")
    chosen = builder.op("Compress", [x, selector], "chosen", axis=0)
    model = Model(builder.build([builder.op("Relu", [chosen], "positive")]), "caffe")
    artifact = convert(model, tmp_path)
    assert dims(onnx.load(artifact.files["model"]).graph.output[0]) == ["", ""]
    inputs = {"data": np.ones((4, 3), np.float32), "selector": np.array([True, False, True, False])}
    assert runtime.open(artifact).run(inputs)["positive"].shape == (2, 3)


@needs_runtime("onnx")
def test_an_output_may_be_a_constant_or_an_input(runtime, tmp_path):
    builder = GraphBuilder("ends")
    x = builder.input("data", (2, 3))
    constant = builder.initializer("priors", np.arange(6, dtype=np.float32))
    y = builder.op("Relu", [x], "relu")
    artifact = convert(Model(builder.build([y, constant, x]), "caffe"), tmp_path)
    onnx.checker.check_model(artifact.files["model"])
    found = runtime.open(artifact).run({"data": np.ones((2, 3), np.float32)})
    assert found["priors"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["data"].tolist() == found["relu"].tolist() == [[1, 1, 1]] * 2


@needs_runtime("onnx")
@pytest.mark.parametrize("name", ["a/b:0", "x y", 'q"uote', "new\nline", "ünïcode", "a" * 5000, "../up", "{}%s"])
def test_any_name_is_carried(runtime, tmp_path, name):
    builder = GraphBuilder(name)
    x = builder.input(name, (1, 3))
    with builder.layer(Origin(name, name, name, 1)):
        y = builder.op("Mul", [x, builder.initializer(f"{name}.weight", np.float32([1, 2, 3]))], f"{name}.out")
    artifact = convert(Model(builder.build([y]), "caffe"), tmp_path)
    onnx.checker.check_model(artifact.files["model"])
    assert runtime.open(artifact).run({name: np.ones((1, 3))})[f"{name}.out"].tolist() == [[1, 2, 3]]
    compile("\n".join(writer.loading_lines(artifact)), "lines", "exec")


@needs_runtime("onnx")
def test_above_the_limit_large_weights_lie_beside_the_file(runtime, tmp_path):
    net = wide_net()
    path, data = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    assert format.write(path, net.ir, largest=10_000) == [path, data]
    onnx.checker.check_model(path)
    inside = {tensor.name: tensor for tensor in onnx.load(path, load_external_data=False).graph.initializer}
    assert inside["bias"].raw_data, "small ones stay inside"
    first, second = ({e.key: e.value for e in inside[name].external_data} for name in ("fc1.weight", "fc2.weight"))
    assert first == {"location": "model.onnx.data", "offset": "0", "length": "6400"}
    assert second == {"location": "model.onnx.data", "offset": "8192", "length": "10000"}
    inputs = {"data": np.ones((2, 32), np.float32)}
    assert_close(net, inputs, runtime.open(Artifact("onnx", {"model": path})).run(inputs))


def wide_net() -> Model:
    """Two fully connected layers of 6,400 and 10,000 bytes, and a bias of 200."""
    random = np.random.default_rng(0)
    builder = GraphBuilder("wide")
    y = builder.input("data", (2, 32))
    for name, shape in (("fc1", (50, 32)), ("fc2", (50, 50))):
        weight = builder.initializer(f"{name}.weight", random.standard_normal(shape).astype(np.float32))
        y = builder.op("Gemm", [y, weight], name, transB=1)
    y = builder.op("Add", [y, builder.initializer("bias", np.ones(50, np.float32))], "sum")
    return Model(builder.build([y]), "caffe")


def test_one_weight_at_a_time_is_held(tmp_path):
    """Sixteen weights of 16 MB, made when asked for, go out within 40 MB of memory."""
    code = """
        import resource, sys
        from pathlib import Path
        import numpy as np
        from converter.frameworks.onnx import writer
        from converter.graph.builder import GraphBuilder
        from converter.graph.model import Model

        builder = GraphBuilder("large")
        y = builder.input("data", (1, 2048))
        for index in range(16):
            weight = builder.initializer(
                f"fc{index}.weight", lambda i=index: np.full((2048, 2048), i, np.float32), (2048, 2048)
            )
            y = builder.op("Gemm", [y, weight], f"fc{index}", transB=1)
        model = Model(builder.build([y]), "caffe")
        status = Path("/proc/self/status").read_text()
        used = int(status.split("VmData:")[1].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + 40 * 2**20,) * 2)
        writer.write(model, Path(sys.argv[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.onnx").stat().st_size > 2**28


def test_every_layer_that_cannot_be_written_is_told(tmp_path):
    builder = GraphBuilder("detects")
    data = builder.input("data", (1, 8))
    with builder.layer(Origin("norm", "LRN", "deploy.prototxt", 20)):
        image = builder.input("image", (1, 4, 2, 2))
        normal = builder.op("LRN", [image], "norm", size=4)
    with builder.layer(Origin("loc", "ReLU", "deploy.prototxt", 30)):
        location = builder.op("Relu", [data], "loc")
    with builder.layer(Origin("detection", "DetectionOutput", "deploy.prototxt", 40)):
        confidence = builder.input("confidence", (1, 4))
        priors = builder.initializer("priors", np.ones((1, 2, 8), np.float32))
        found = builder.op(
            "DetectionOutput", [location, confidence, priors], "detection", domain=HUB_DOMAIN,
            num_classes=2, share_location=1, background_label_id=0, nms_threshold=0.45, top_k=-1, eta=1.0,
            code_type="CENTER_SIZE", variance_encoded_in_target=0, keep_top_k=-1, without_nms=0,
        )  # fmt: skip
    with pytest.raises(UnsupportedLayers) as error:
        convert(Model(builder.build([found, normal]), "caffe"), tmp_path)
    assert str(error.value).splitlines() == [
        "onnx: 2 layers cannot be converted",
        '  deploy.prototxt:20: layer "norm" (LRN): ONNX Runtime takes no LRN over an even number of channels',
        '  deploy.prototxt:40: layer "detection" (DetectionOutput): ONNX has no operator for DetectionOutput; '
        "cut the net before it with --output loc",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_lines_to_load_it(tmp_path):
    assert writer.loading_lines(convert(small_net(), tmp_path)) == [
        "import onnxruntime",
        "session = onnxruntime.InferenceSession('model.onnx')",
        "outputs = session.run(None, {'data': array})",
    ]
