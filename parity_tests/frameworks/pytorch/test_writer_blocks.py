"""Repeated parts become classes with the names that their layers suggest."""

from __future__ import annotations

import ast

import pytest
from frameworks.pytorch import writer_nets
from frameworks.pytorch.writer_cases import assert_close, convert, run, weight
from hypothesis import given, settings
from hypothesis import strategies as st
from runtimes import needs_runtime
from safetensors.numpy import load_file

from converter import environments
from converter.frameworks.pytorch.emit.naming import common_run, shorten, stem


@pytest.fixture(scope="module")
def pytorch():
    with environments.open_runtime("pytorch") as runtime:
        yield runtime


def constructed(path, name):
    """Attribute -> the call that makes it, in the constructor of class ``name``."""
    tree = ast.parse(path.read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return {
        node.targets[0].attr: ast.unparse(node.value)
        for node in found.body[0].body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute)
    }


def test_resnet(tmp_path):
    artifact = convert(writer_nets.resnet(), tmp_path)
    net = constructed(artifact.files["source"], "ResNet50")
    assert {name: call for name, call in net.items() if name.startswith("res")} == {
        "res2a": "ProjectionBottleneck(8, 4, 16)",
        "res2b": "Bottleneck(16, 4)",
        "res2c": "Bottleneck(16, 4)",
        "res3a": "ProjectionBottleneck(16, 8, 32, stride=2)",
        "res3b": "Bottleneck(32, 8)",
        "res3c": "Bottleneck(32, 8)",
    }
    block = constructed(artifact.files["source"], "Bottleneck")
    assert block["res_branch2b"] == "nn.Conv2d(channels, channels, 3, padding=1, bias=False)"
    assert {"res2b.res_branch2b.weight", "res2b.bn_branch2b.running_mean"} <= set(load_file(artifact.files["weights"]))
    assert artifact.taps["res2a_branch2a"] == "res2a:2"
    assert artifact.taps["res2b_relu"] == ":4", "what a block returns is assigned by the net"


@pytest.mark.parametrize(
    ("net", "block", "instances"),
    [
        ("googlenet", "Inception", {"inception_3a": (8, 4, 3, 6, 4), "inception_4a": (24, 8, 4, 8, 6)}),
        ("mobilenet", "DepthwiseSeparable", {"conv2_1": (8, 8), "conv4_1": (16, 16)}),
        ("densenet", "DenseLayer", {"conv2_1": (8,), "conv3_2": (14,)}),
        ("squeezenet", "Fire", {"fire2": (2, 4), "fire4": (3, 6)}),
    ],
)
def test_other_families(tmp_path, net, block, instances):
    artifact = convert(getattr(writer_nets, net)(), tmp_path)
    source = artifact.files["source"].read_text()
    assert source.count(f"class {block}(nn.Module)") == 1
    for name, arguments in instances.items():
        assert f"self.{name} = {block}({', '.join(map(str, arguments))})" in source


def test_flat_is_one_class(tmp_path):
    source = convert(writer_nets.resnet(), tmp_path, flat=True).files["source"].read_text()
    assert source.count("class ") == 1 and "self.res2b_branch2b = nn.Conv2d(4, 4, 3" in source


def test_layers_that_share_weights_are_in_no_block(tmp_path):
    net = writer_nets.Net("shared", (1, 4, 8, 8))
    kernel, x = net.parameter("shared.weight", 4, 4, 1, 1), net.data
    for number in (1, 2, 3):
        y = net.op(f"block{number}/conv", "Convolution", [x, kernel], "Conv")
        y = net.relu(f"block{number}/relu2", net.conv(f"block{number}/conv2", net.relu(f"block{number}/relu", y), 4))
        x = net.add(f"block{number}/sum", x, y)
    source = convert(net.build(x), tmp_path).files["source"].read_text()
    assert source.count("class ") == 1 and "self.block3_conv.weight = self.block1_conv.weight" in source


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["conv_stage0_block1_branch2a", "bn_stage0_block1_branch2a", "relu_stage0_block1"], "stage0_block1"),
        (["res2a_branch2a", "bn2a_branch2a", "res2a_relu"], "res2a"),
        (["inception_3a/1x1", "inception_3a/relu_1x1"], "inception_3a"),
        (["conv2_1/x1/bn", "relu2_1/x1", "conv2_1/x2"], "conv2_1"),
        (["conv", "relu"], ""),
        (["conv1", "relu2"], ""),
        ([], ""),
    ],
)
def test_stem(names, expected):
    assert stem(names) == expected


def test_what_is_left_of_a_name():
    run = common_run(["res2a_branch2a", "bn2a_branch2a", "res2a_relu"])
    assert shorten("bn2a_branch2a", run, "layer") == "bn_branch2a"
    assert shorten("inception_3a/1x1", common_run(["inception_3a/1x1", "inception_3a/pool"]), "conv") == "conv_1x1"


PARTS = ["conv", "conv3", "depthwise", "relu", "norm", "scaled norm", "half", "square", "side", "join"]


@st.composite
def repetitive_nets(draw):
    """One random part several times, with other numbers of channels, some layers between, and perhaps a long skip."""
    net = writer_nets.Net("net", (2, 3, 6, 6))
    inner = st.tuples(st.sampled_from(PARTS), st.integers(0, 2))
    program = [*draw(st.lists(inner, min_size=4, max_size=9)), ("join", 0)]
    style = draw(st.sampled_from(["block{0}/{1}", "{1}_{0}", "res{0}a_{1}", "{1}"]))
    x, skip = net.data, None
    for number in range(draw(st.integers(2, 5))):
        channels = draw(st.sampled_from([2, 4]))
        x = net.conv(f"entry{number}", x, channels)
        if draw(st.booleans()):
            skip = x
        recent = [x]
        for index, (part, back) in enumerate(program):
            name, x = style.format(number, f"{part[:4]}{'abcdefghij'[index]}"), recent[-1 - min(back, len(recent) - 1)]
            if part.startswith("conv"):
                x = net.conv(name, x, channels, 3 if part == "conv3" else 1)
            elif part == "depthwise":
                x = net.conv(name, x, channels, 3, group=channels)
            elif part == "relu":
                x = net.relu(name, x)
            elif part.endswith("norm"):
                x = net.norm(name, f"{name}_scale" if part.startswith("scaled") else None, x)
            elif part == "half":
                x = net.op(name, "Power", [x, net.builder.constant(0.5, "float32")], "Mul")
            elif part == "square":
                with net.layer(name, "Power"):
                    x = net.builder.op("Tanh", [net.builder.op("Mul", [x, x])], name)
            elif part == "join":
                x = net.add(name, x, recent[0])
            else:
                net.relu(name, x)
            recent.append(x)
    if skip is not None and skip.shape == x.shape:
        x = net.add("skip", x, skip)
    return net.build(x)


@needs_runtime("pytorch")
@settings(max_examples=50, deadline=None)
@given(repetitive_nets())
def test_any_repetition(pytorch, tmp_path_factory, model):
    artifact = convert(model, tmp_path_factory.mktemp("net"))
    inputs = {"data": weight(2, 3, 6, 6)}
    assert_close(model, inputs, run(pytorch, artifact, inputs, list(artifact.taps)))
