"""PriorBox and DetectionOutput against the real Caffe."""

import numpy as np
import pytest

from converter.errors import ReadError, UnsupportedLayers
from converter.graph.evaluate import evaluate
from parity_tests.frameworks.caffe.reading import assert_as_real, layer, net, read_text, run_real
from parity_tests.runtimes import needs_runtime

pytestmark = needs_runtime("caffe")
BOXES, CLASSES = 12, 3


@pytest.mark.parametrize(
    "parameters",
    [
        "min_size: 10.9",
        "min_size: 10.9 max_size: 20.9 clip: false",
        "min_size: 10 min_size: 15 max_size: 21 max_size: 30 aspect_ratio: 2 aspect_ratio: 3",
        "min_size: 10 aspect_ratio: 2 aspect_ratio: 0.5 aspect_ratio: 2 flip: false variance: 0.2",
        "min_size: 10 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: 8",
        "min_size: 10 step_h: 7.5 step_w: 9.25 offset: 0.3 img_h: 60 img_w: 50 clip: false",
        "min_size: 10 img_size: 33",
    ],
)
def test_prior_box_is_equal_to_the_bit(caffe, tmp_path, parameters):
    text = net(
        {"feature": (2, 4, 5, 6), "data": (2, 3, 47, 49)},
        layer("PriorBox", "feature data", "top", f"prior_box_param {{ {parameters} }}"),
    )
    model = read_text(tmp_path, text)
    inputs = {name: np.zeros(shape, np.float32) for name, shape in model.input_shapes().items()}
    assert np.array_equal(run_real(caffe, model, inputs)["top"], evaluate(model, inputs)["top"])


@pytest.mark.parametrize(
    "parameters",
    ["", "min_size: 0", "min_size: 5 max_size: 4", "min_size: 5 variance: 0.1 variance: 0.1", "min_size: 5 step: 0"],
)
def test_prior_box_that_caffe_aborts_on(tmp_path, parameters):
    text = net(
        {"feature": (1, 4, 5, 6), "data": (1, 3, 40, 40)},
        layer("PriorBox", "feature data", "top", f"prior_box_param {{ {parameters} }}"),
    )
    with pytest.raises(ReadError, match="deploy.prototxt:3: "):
        read_text(tmp_path, text)


def detection_inputs(shared, seed=3):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 0.7, (BOXES, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.1, 0.3, (BOXES, 2))], axis=1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (BOXES, 1))
    scores = random.uniform(0, 1, (2, BOXES, CLASSES))
    return {
        "location": random.normal(0, 0.5, (2, BOXES * 4 * (1 if shared else CLASSES))),
        "confidence": (scores / scores.sum(axis=2, keepdims=True)).reshape(2, -1),
        "priors": np.stack([boxes.ravel(), variances.ravel()])[None],
    }


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
@pytest.mark.parametrize(
    "parameters",
    [
        "nms_param { nms_threshold: 0.45 top_k: 8 } keep_top_k: 6 confidence_threshold: 0.2",
        "nms_param { nms_threshold: 0.3 }",
        "nms_param { nms_threshold: 0.9 eta: 0.7 } keep_top_k: 20",
        "nms_param { nms_threshold: 0.5 } background_label_id: 7 variance_encoded_in_target: true",
        "keep_top_k: 5",
        "keep_top_k: 5 confidence_threshold: 0.3",
        "nms_param { nms_threshold: 0.5 } confidence_threshold: 2",
    ],
)
def test_detection_output(caffe, tmp_path, shared, code, parameters):
    inputs = {name: value.astype(np.float32) for name, value in detection_inputs(shared).items()}
    common = f"num_classes: {CLASSES} share_location: {str(shared).lower()} code_type: {code}"
    text = net(
        {name: value.shape for name, value in inputs.items()},
        layer("DetectionOutput", " ".join(inputs), "top", f"detection_output_param {{ {common} {parameters} }}"),
    )
    model = read_text(tmp_path, text)
    real, expected = run_real(caffe, model, inputs)["top"], evaluate(model, inputs)["top"]
    assert real.shape == expected.shape
    assert np.allclose(real, expected, rtol=1e-5, atol=1e-6)


def test_a_list_of_all_boxes_is_refused_with_a_reason(tmp_path):
    shapes = {name: value.shape for name, value in detection_inputs(True).items()}
    parameters = f"detection_output_param {{ num_classes: {CLASSES} }}"
    with pytest.raises(UnsupportedLayers, match="without nms_param"):
        read_text(tmp_path, net(shapes, layer("DetectionOutput", " ".join(shapes), "top", parameters)))


def test_a_background_label_that_caffe_aborts_on(tmp_path):
    shapes = {name: value.shape for name, value in detection_inputs(True).items()}
    parameters = f"detection_output_param {{ num_classes: {CLASSES} background_label_id: -1 nms_param {{ }} }}"
    with pytest.raises(ReadError, match="background_label_id"):
        read_text(tmp_path, net(shapes, layer("DetectionOutput", " ".join(shapes), "top", parameters)))


def test_location_with_planes_of_one_pixel(caffe, tmp_path):
    inputs = {name: value.astype(np.float32) for name, value in detection_inputs(True).items()}
    inputs["location"] = inputs["location"][:, :, None, None]
    text = net(
        {name: value.shape for name, value in inputs.items()},
        layer(
            "DetectionOutput",
            " ".join(inputs),
            "top",
            f"detection_output_param {{ num_classes: {CLASSES} nms_param {{ }} }}",
        ),
    )
    assert_as_real(caffe, read_text(tmp_path, text), inputs)
