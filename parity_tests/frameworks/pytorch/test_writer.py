"""What the PyTorch writer leaves on disk: readable source, a state dict that fits, nothing of ours in either."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from frameworks.pytorch import writer_nets
from frameworks.pytorch.writer_cases import CASES, Input, assert_close, convert, one_node, run, weight
from hypothesis import given, settings
from hypothesis import strategies as st
from ruff import find_ruff_bin
from runtimes import needs_runtime
from safetensors.numpy import load_file

from converter import environments
from converter.errors import UnsupportedLayers
from converter.frameworks.options import WriteOptions
from converter.frameworks.pytorch import writer
from converter.frameworks.pytorch.emit.names import LONGEST, MODULE_ATTRIBUTES, Names
from converter.graph import passes
from converter.graph.builder import GraphBuilder
from converter.graph.model import Model, Origin, Preprocessing

EXAMPLE = Path(__file__).with_name("model_smile.py")
NETS = ["smile", "resnet", "googlenet", "mobilenet", "densenet", "squeezenet"]


def ruff(*arguments, path):
    return subprocess.run([find_ruff_bin(), *arguments, "--isolated", "--line-length=100", path], capture_output=True)


def assert_clean(path: Path) -> None:
    assert ruff("check", "--select=E,F,I,B,UP", path=path).returncode == 0, path.read_text()
    assert ruff("format", "--check", path=path).returncode == 0


def chain(names, op="Relu") -> Model:
    """A chain of layers with these names."""
    builder = GraphBuilder("chain")
    value = builder.input("data", (1, 3, 4, 4))
    for name in names:
        with builder.layer(Origin(name, op)):
            value = builder.op(op, [value], name or None)
    return Model(builder.build([value]), "caffe")


def test_the_example(tmp_path):
    model = writer_nets.smile()
    model.files = (Path("deploy.prototxt"), Path("smile.caffemodel"))
    model.preprocessing = Preprocessing("bgr", (20, 20), None, (104.0, 117.0, 123.0), 1 / 64)
    legal = passes.run(model, writer.PASSES)
    artifact = writer.write(legal, tmp_path, WriteOptions(preprocessing=model.preprocessing))
    assert artifact.files["source"].read_text() == EXAMPLE.read_text()
    assert artifact.taps["pool1"] == ":3" and artifact.taps["prob"] == "prob"
    assert artifact.inputs == {"data": "data"} and artifact.options == {"class": "Smile", "outputs": ["prob"]}
    assert list(load_file(artifact.files["weights"])) == [
        "bn1.num_batches_tracked", "bn2.num_batches_tracked", "conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias",
        "bn1.running_mean", "bn1.running_var", "conv2.weight", "conv2.bias", "bn2.weight", "bn2.bias",
        "bn2.running_mean", "bn2.running_var", "fc.weight", "fc.bias",
    ]  # fmt: skip


@pytest.mark.parametrize("net", NETS)
def test_source_is_clean_and_stands_alone(tmp_path, net):
    source = convert(getattr(writer_nets, net)(), tmp_path).files["source"]
    assert_clean(source)
    imported = [
        node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert {getattr(node, "module", None) or node.names[0].name for node in imported} <= {
        "torch", "torch.nn.functional",
    }  # fmt: skip


@pytest.mark.parametrize(("op", "operands", "attributes"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_source_of_each_operator_is_clean(tmp_path, op, operands, attributes):
    assert_clean(convert(one_node(op, operands, **attributes), tmp_path).files["source"])


HOSTILE = [
    'quote" + __import__("os").system("true") + "',
    '"""\nimport os\n"""',
    "new\nline",
    "back\\slash\\",
    "für/Größe",
    "模型",
    "{0} {module} $12$",
    "for",
    "training",
    "forward",
    "half",
    "type",
    "self",
    "torch",
    "x",
    "F",
    "_parameters",
    "__class__",
    "3x3",
    "",
    "a/b",
    "a_b",
    "long" * 60,
]


def test_hostile_names_stay_data(tmp_path):
    model = chain(HOSTILE)
    model.ir.graph.name = HOSTILE[1]
    model.files = (Path(HOSTILE[0]), Path(HOSTILE[2]))
    artifact = convert(model, tmp_path)
    assert_clean(artifact.files["source"])
    tree = ast.parse(artifact.files["source"].read_text())
    (net,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    # A docstring, the import and the class: whatever the names say, no other statement comes into being.
    assert [type(node) for node in tree.body] == [ast.Expr, ast.ImportFrom, ast.ClassDef]
    attributes = [node.targets[0].attr for node in ast.walk(net) if isinstance(node, ast.Assign)
                  and isinstance(node.targets[0], ast.Attribute)]  # fmt: skip
    assert len(set(attributes)) == len(attributes) == len(HOSTILE)
    assert {"for_", "training_", "a_b", "a_b_2", "layer_3x3"} <= set(attributes)
    assert max(map(len, attributes)) <= LONGEST


@given(st.lists(st.text(max_size=60), max_size=30))
def test_every_name_becomes_an_identifier_of_its_own(names):
    taken = Names(MODULE_ATTRIBUTES)
    given_out = [taken.take(name) for name in names]
    assert len(set(given_out)) == len(names)
    assert all(name.isidentifier() and name.isascii() and not name.startswith("_") for name in given_out)
    assert not MODULE_ATTRIBUTES & set(given_out)


def test_all_layers_that_cannot_be_written_are_named(tmp_path):
    builder = GraphBuilder("net")
    x = builder.input("data", (1, 2, 3, 3, 3, 3))
    for number in (1, 2):
        with builder.layer(Origin(f"c{number}", "Convolution", "a.prototxt", number)):
            x = builder.op(
                "Conv", [x, builder.initializer(f"c{number}.weight", weight(2, 2, 1, 1, 1, 1))], f"c{number}"
            )
    with pytest.raises(UnsupportedLayers, match='a.prototxt:1: layer "c1".*\n.*a.prototxt:2: layer "c2"'):
        convert(Model(builder.build([x]), "caffe"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_shared_weights_are_one_parameter(tmp_path):
    builder = GraphBuilder("siamese")
    shared = builder.initializer("conv.weight", weight(2, 2, 1, 1))
    values = []
    for name in ("conv", "conv_p"):
        x = builder.input(f"data_{name}", (1, 2, 3, 3))
        with builder.layer(Origin(name, "Convolution")):
            values.append(builder.op("Conv", [x, shared], name))
    with builder.layer(Origin("sum", "Eltwise")):
        total = builder.op("Add", values, "sum")
    source = convert(Model(builder.build([total]), "caffe"), tmp_path).files["source"].read_text()
    assert "self.conv_p.weight = self.conv.weight" in source


@pytest.fixture(scope="module")
def pytorch():
    with environments.open_runtime("pytorch") as runtime:
        yield runtime


@needs_runtime("pytorch")
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "blocks"])
@pytest.mark.parametrize("net", NETS)
def test_every_tap_addresses_its_tensor(pytorch, tmp_path, net, flat):
    model = getattr(writer_nets, net)()
    artifact = convert(model, tmp_path, flat)
    batch_of_two = (2, *model.input_shapes()["data"][1:])
    inputs = {"data": np.random.default_rng(3).standard_normal(batch_of_two).astype(np.float32)}
    names = {value.name for node in passes.run(model, writer.PASSES).graph for value in node.outputs
             if not value.metadata_props.get("converter.private")}  # fmt: skip
    assert set(artifact.taps) == names
    assert_close(model, inputs, run(pytorch, artifact, inputs, names))


@needs_runtime("pytorch")
def test_hostile_names_run(pytorch, tmp_path):
    model = chain(HOSTILE, "Sigmoid")
    inputs = {"data": weight(1, 3, 4, 4)}
    artifact = convert(model, tmp_path)
    assert_close(model, inputs, run(pytorch, artifact, inputs, list(artifact.taps)))


@needs_runtime("pytorch")
def test_several_inputs_and_outputs_keep_their_names(pytorch, tmp_path):
    builder = GraphBuilder("net")
    a, b = builder.input("a/1", (2, 3)), builder.input("self", (2, 3))
    with builder.layer(Origin("sum", "Eltwise")):
        total = builder.op("Add", [a, b], "sum")
    with builder.layer(Origin("tanh", "TanH")):
        squashed = builder.op("Tanh", [total], "out/put")
    constant = builder.initializer("anchors", weight(1, 4))
    model = Model(builder.build([squashed, total, constant]), "caffe")
    inputs = {"a/1": weight(2, 3), "self": weight(2, 3, seed=1)}
    artifact = convert(model, tmp_path)
    found = run(pytorch, artifact, inputs)
    assert list(found) == ["out/put", "sum", "anchors"]
    assert_close(model, inputs, {name: found[name] for name in ("out/put", "sum")})
    np.testing.assert_array_equal(found["anchors"], weight(1, 4))


UNARY = ["Relu", "Tanh", "Abs", "Neg", "Identity", "Softmax", "Dropout", "Tanh of square"]


@st.composite
def graphs(draw):
    """Small graphs of any shape: values used once or often, soon or late, private or not; constants and numbers."""
    builder = GraphBuilder(draw(st.sampled_from(["net", "x", "Net 2"])))
    values = [builder.input(draw(st.sampled_from(["data", "x", "out"])), (2, 4))]
    for number in range(draw(st.integers(1, 14))):
        name = draw(st.sampled_from(["conv", "x", "out", "block1/a", "block2/a", "a_b"]))
        public = draw(st.sampled_from([None, name, f"{name}@{number}"]))
        first, second = (values[-1 - draw(st.integers(0, min(3, len(values) - 1)))] for _ in range(2))
        op = draw(st.sampled_from([*UNARY, "Add", "Sub", "Mul", "Concat", "Gemm", "Number", "Split", "Parameter"]))
        with builder.layer(Origin(name, op)):
            if op == "Tanh of square":
                value = builder.op("Tanh", [builder.op("Mul", [first, first])], public)
            elif op in UNARY:
                value = builder.op(op, [first], public)
            elif op == "Concat":
                joined = builder.op("Concat", [first, second], axis=1)
                value = builder.op("Slice", [joined, *map(builder.constant, ([2], [6], [1]))], public)
            elif op == "Gemm":
                value = builder.op("Gemm", [first, builder.initializer(f"{name}.weight", weight(4, 4))], public)
            elif op == "Number":
                number = builder.constant(draw(st.sampled_from([-0.5, 2.0])), "float32")
                value = builder.op(draw(st.sampled_from(["Add", "Sub", "Mul"])), [first, number], public)
            elif op == "Split":
                halves = builder.op("Split", [first, builder.constant([2, 2])], [f"{name}.0", f"{name}.1"], axis=1)
                value = builder.op("Concat", list(halves), public, axis=1)
            elif op == "Parameter":
                value = builder.op("Mul", [first, builder.initializer(f"{name}.weight", weight(4))], public)
            else:
                value = builder.op(op, [first, second], public)
        values.append(value)
    outputs = [values[-1]]
    if draw(st.booleans()) and len(values) > 2:
        outputs.append(values[-2])
    return Model(builder.build(outputs), "caffe")


@needs_runtime("pytorch")
@settings(max_examples=60, deadline=None)
@given(graphs(), st.booleans())
def test_any_wiring(pytorch, tmp_path_factory, model, flat):
    artifact = convert(model, tmp_path_factory.mktemp("any"), flat)
    inputs = {name: weight(*shape, seed=4) for name, shape in model.input_shapes().items()}
    assert_close(model, inputs, run(pytorch, artifact, inputs, list(artifact.taps)))


FURTHER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from torch import nn
import model as written
from worker import read_safetensors
net = getattr(written, sys.argv[2])()
state = read_safetensors(sys.argv[1] + "/model.safetensors")
net.load_state_dict(state, strict=True)
x = torch.randn(4, *map(int, sys.argv[3].split(",")))
before = {k: v.clone() for k, v in net.state_dict().items()}
net.train()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
losses = []
for _ in range(3):
    loss = nn.functional.nll_loss(net(x).log(), torch.tensor([0, 1, 2, 3]))
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    losses.append(loss.item())
moved = sum(not torch.equal(before[k], v) for k, v in net.state_dict().items())
net.eval()
exported = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
with torch.no_grad():
    same = torch.allclose(exported.module()(x[:2]), net(x[:2]), atol=1e-6)
scan = [n for n in dir(nn.Module()) if not n.startswith("_")]
print(json.dumps({"losses": losses, "moved": moved, "of": len(before), "same": same, "attributes": scan}))
"""


@needs_runtime("pytorch")
@pytest.mark.parametrize("net", ["smile", "resnet"])
def test_it_trains_and_exports(tmp_path, net):
    model = getattr(writer_nets, net)()
    artifact = convert(model, tmp_path)
    (tmp_path / "further.py").write_text(FURTHER)
    environment = {"PYTHONPATH": str(Path(writer.__file__).parent)}
    shape = ",".join(map(str, model.input_shapes()["data"][1:]))
    command = [
        environments.status("pytorch").python,
        tmp_path / "further.py",
        tmp_path,
        artifact.options["class"],
        shape,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["losses"][-1] < result["losses"][0]
    assert result["moved"] == result["of"]
    assert result["same"]
    assert set(result["attributes"]) <= MODULE_ATTRIBUTES


def test_nothing_heavy_is_imported_by_the_writer():
    code = "import sys, converter.frameworks.pytorch.writer; print([m for m in ('torch', 'h5py') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_input_shapes_are_not_baked_in(tmp_path):
    model = one_node("Reshape", [Input(5, 3, 2, 2), np.array([0, -1], np.int64)])
    assert "input0.flatten(1)" in convert(model, tmp_path).files["source"].read_text()
