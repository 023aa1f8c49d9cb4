"""Real public nets: every blob is what the real Caffe computes, outputs are what was recorded."""

import numpy as np
import pytest
from PIL import Image

from converter.graph.evaluate import evaluate
from parity_tests.frameworks.caffe.reading import assert_as_real, assert_golden, read
from parity_tests.runtimes import needs_runtime
from parity_tests.traps import SHARED

MODELS = SHARED / "models" / "caffe"
NETS = [
    ("lenet_mnist", "mnist_deploy.prototxt", "lenet_iter_10000.caffemodel"),
    *(("mtcnn", f"det{number}.prototxt", f"det{number}.caffemodel") for number in (1, 2, 3, 4)),
    ("open_nsfw", "deploy.prototxt", "resnet_50_1by2_nsfw.caffemodel"),
    ("seed_smile", "deploy.prototxt", "simpleconv3__iter_10000.caffemodel"),
    ("ultraface_slim320", "slim-320.prototxt", "slim-320.caffemodel"),
    ("wechat_qrcode", "detect.prototxt", "detect.caffemodel"),
]
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason=f"no real models in {MODELS}")


def each(nets):
    names = [weights.split(".")[0] for _, _, weights in nets]
    return pytest.mark.parametrize("folder, prototxt, weights", nets, ids=names)


each_net = each(NETS)
each_recorded_net = each(
    [net for net in NETS if net[0] != "seed_smile"]
)  # of which photographs are recorded, see below


def reference_input(model):
    """The input of the recorded outputs (MANIFEST.json)."""
    draw = np.random.RandomState(0).uniform
    return {name: draw(0, 1, shape).astype("float32") for name, shape in model.input_shapes().items()}


@needs_runtime("caffe")
@each_net
def test_every_blob_is_as_in_real_caffe(caffe, folder, prototxt, weights):
    model = read([MODELS / folder / prototxt, MODELS / folder / weights])
    assert_as_real(caffe, model, reference_input(model))


@each_recorded_net
def test_recorded_outputs(folder, prototxt, weights):
    model = read([MODELS / folder / prototxt, MODELS / folder / weights])
    with np.load(MODELS / folder / "golden" / f"{weights.split('.')[0]}.npz", allow_pickle=False) as arrays:
        golden = {name: arrays[name] for name in arrays.files}
    if folder == "wechat_qrcode":  # recorded by OpenCV, which pads the detections with rows of zeros
        golden = {name: value[:, :, value[0, 0, :, 2] > 0] for name, value in golden.items()}
    assert_golden(model, reference_input(model), golden)


def test_recorded_logits_of_the_smile_net():
    """100 photographs of the validation set, centre-cropped to 48x48, BGR minus the mean."""
    folder = MODELS / "seed_smile"
    model = read([folder / "deploy.prototxt", folder / "simpleconv3__iter_10000.caffemodel"])
    with np.load(folder / "golden" / "seed_caffe_gold_val.npz", allow_pickle=False) as arrays:
        names, logits = arrays["names"], arrays["logits"]
    photographs = {path.name: path for path in (SHARED / "mouth").rglob("*.jpg")}
    mean = np.float32([104.008, 116.669, 122.675])
    images = []
    for name in names:
        pixels = np.asarray(Image.open(photographs[str(name)]).convert("RGB"), np.float32)
        top, left = (pixels.shape[0] - 48) // 2, (pixels.shape[1] - 48) // 2
        images.append((pixels[top : top + 48, left : left + 48, ::-1] - mean).transpose(2, 0, 1))
    found = evaluate(model, {"data": np.stack(images)}, ["ip2"])["ip2"]
    assert np.abs(found - logits).max() < 1e-5  # measured: 2.2e-6, of logits up to 5


def test_a_caffemodel_alone_is_the_net_that_it_was_trained_as():
    folder = MODELS / "lenet_mnist"
    alone = read([folder / "lenet_iter_10000.caffemodel"], input_shapes={None: (1, 1, 28, 28)})
    deployed = read([folder / "lenet_iter_10000.caffemodel", folder / "mnist_deploy.prototxt"])
    inputs = reference_input(deployed)
    assert np.array_equal(evaluate(alone, inputs)["loss"], evaluate(deployed, inputs)["loss"])
    assert any("without a prototxt" in note for note in alone.notes)
