"""The main job, end to end, as its user meets it: a real .caffemodel goes in, a proven PyTorch module comes out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runtimes import needs_runtime

import converter
from converter import environments
from converter.frameworks.caffe.format import write_caffemodel

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
REFERENCE = [ROOT / "reference_models/caffe/deploy.prototxt", ROOT / "reference_models/caffe/smile.caffemodel"]


@pytest.fixture(scope="module")
def smile(tmp_path_factory):
    """The repository's own model, converted once, over some of the test images."""
    return converter.convert("caffe->pytorch", out=tmp_path_factory.mktemp("smile") / "out", limit=60)


@needs_runtime("pytorch")
@needs_runtime("caffe")
def test_the_reference_model_is_converted_and_proven(smile):
    assert (smile.status, smile.exit_code) == ("right", 0)
    assert smile.listing == ["conversion.json", "model.py", "model.safetensors", "parity.json", "report.html"]
    judged = {layer.name for layer in smile.verdict.layers if layer.source and layer.target}
    assert {"conv1", "conv2", "conv3", "ip1", "ip2", "prob"} <= judged


@needs_runtime("pytorch")
@needs_runtime("caffe")
def test_the_lines_that_are_printed_load_the_result(smile):
    python = environments.status("pytorch").python
    code = "\n".join([*smile.loading, "import torch", "print(net(torch.zeros(2, 3, 48, 48)).shape)"])
    done = subprocess.run([python, "-c", code], cwd=smile.directory, capture_output=True, text=True)
    assert done.stdout.strip() == "torch.Size([2, 2])", done.stderr


@needs_runtime("pytorch")
@needs_runtime("caffe")
def test_a_changed_weight_is_found_and_its_layer_named(smile, tmp_path):
    tampered = tmp_path / "out"
    shutil.copytree(smile.directory, tampered)
    weights = tampered / "model.safetensors"
    data = bytearray(weights.read_bytes())
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    begin = 8 + int.from_bytes(data[:8], "little") + header["conv2.bias"]["data_offsets"][0]
    bias = np.frombuffer(data, "<f4", 1, begin) * np.float32(1.001) + np.float32(1e-3)
    data[begin : begin + 4] = bias.tobytes()
    weights.write_bytes(data)
    result = converter.verify(REFERENCE, [tampered], limit=4)
    assert (result.status, result.exit_code) == ("wrong", 1)
    assert result.verdict.side == "target"
    assert result.verdict.bad_layer.origin.layer == "conv2"
    assert "since the certificate: model.safetensors is another file" in result.details


@needs_runtime("pytorch")
@needs_runtime("caffe")
def test_verify_judges_two_models_on_disk(smile, tmp_path):
    command = [sys.executable, "-m", "converter", "verify", *map(str, REFERENCE), "--", str(smile.directory)]
    command += ["--limit", "2", "--json", "-o", str(tmp_path / "evidence")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    answer = json.loads(done.stdout)
    assert done.returncode == answer["exit_code"] == 0, done.stderr
    assert answer["files"] == ["conversion.json", "parity.json", "report.html"]


@needs_runtime("pytorch")
def test_without_caffe_the_verdict_rests_on_its_recorded_outputs(tmp_path, monkeypatch):
    only_pytorch = tmp_path / "home"
    (only_pytorch / "environments").mkdir(parents=True)
    location = environments.status("pytorch").location
    if location is not None:
        (only_pytorch / "environments" / location.name).symlink_to(location)
    monkeypatch.setenv("CONVERTER_HOME", str(only_pytorch))
    result = converter.convert("caffe->pytorch", out=tmp_path / "out")
    assert result.exit_code == 0
    assert result.verdict.recorded == ("caffe",)
    assert any("python -m converter env install caffe" in line for line in result.details)


def test_without_any_runtime_it_is_converted_but_not_proven(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVERTER_HOME", str(tmp_path / "home"))
    if environments.status("pytorch").python is not None:
        pytest.skip("PyTorch is in the Python that runs the tests, so it cannot be missing")
    result = converter.convert("caffe->pytorch", out=tmp_path / "out")
    assert (result.status, result.exit_code) == ("unproven", 3)
    assert "python -m converter env install pytorch" in result.headline
    assert "model.py" in result.listing


CLIP = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "clip" type: "Clip" bottom: "conv" top: "clip" clip_param { min: -1 max: 1 } }
"""


@needs_runtime("pytorch")
@needs_runtime("caffe")
def test_a_layer_that_the_reference_caffe_lacks_is_converted_but_not_proven(tmp_path):
    (tmp_path / "net.prototxt").write_text(CLIP)
    weights = [np.ones((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)]
    write_caffemodel(tmp_path / "net.caffemodel", [("conv", "Convolution", weights)])
    files = [tmp_path / "net.prototxt", tmp_path / "net.caffemodel"]
    result = converter.convert("caffe->pytorch", files, tmp_path / "out")
    assert (result.status, result.exit_code) == ("unproven", 3)
    assert '"clip" (Clip)' in result.headline
    assert "model.py" in result.listing


def test_no_verify_says_so(tmp_path):
    result = converter.convert("caffe->pytorch", REFERENCE[::-1], tmp_path / "out", no_verify=True)
    assert (result.status, result.exit_code) == ("unverified", 0)
    assert json.loads((tmp_path / "out/conversion.json").read_text())["verdict"] == "unverified"


def test_inspect_prints_the_graph():
    command = [sys.executable, "-m", "converter", "inspect", *map(str, REFERENCE)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    conv1 = next(row for row in rows if row and row[0] == "conv1")
    assert conv1[:3] == ["conv1", "Convolution", "Conv"]
    assert "deploy.prototxt:" in conv1[-1]
    assert "to pytorch can take it" in done.stdout


MODELS = {
    "seed_smile": ["seed_smile/deploy.prototxt", "seed_smile/simpleconv3__iter_10000.caffemodel"],
    "open_nsfw": ["open_nsfw/deploy.prototxt", "open_nsfw/resnet_50_1by2_nsfw.caffemodel"],
    "lenet": ["lenet_mnist/mnist_deploy.prototxt", "lenet_mnist/lenet_iter_10000.caffemodel"],
    "ultraface": ["ultraface_slim320/slim-320.prototxt", "ultraface_slim320/slim-320.caffemodel"],
    "wechat": ["wechat_qrcode/detect.prototxt", "wechat_qrcode/detect.caffemodel"],
    **{f"det{number}": [f"mtcnn/det{number}.prototxt", f"mtcnn/det{number}.caffemodel"] for number in (1, 2, 3, 4)},
}


@needs_runtime("pytorch")
@needs_runtime("caffe")
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real models and photographs lie beside the project, in ../shared")
@pytest.mark.parametrize("name", MODELS)
def test_real_models_agree_on_photographs(name, tmp_path):
    files = [SHARED / "models/caffe" / file for file in MODELS[name]]
    before = [file.stat().st_mtime_ns for file in files]
    result = converter.convert("caffe->pytorch", files, tmp_path / "out", images=SHARED / "mouth", limit=2)
    assert result.exit_code == 0, result.headline
    assert len(result.verdict.layers) > 5
    assert all(layer.target for layer in result.verdict.outputs)
    assert [file.stat().st_mtime_ns for file in files] == before


@needs_runtime("onnx")
@needs_runtime("caffe")
def test_the_hub_itself_is_a_target(tmp_path):
    result = converter.convert("caffe->onnx", out=tmp_path / "out", limit=20)
    assert (result.status, result.exit_code) == ("right", 0)
    assert "model.onnx" in result.listing
