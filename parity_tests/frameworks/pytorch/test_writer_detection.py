"""DetectionOutput as written, against the hub's evaluator: the same rows in the same order."""

from __future__ import annotations

import numpy as np
import pytest
from frameworks.pytorch.writer_cases import Input, convert, one_node, run
from runtimes import needs_runtime

from converter import environments
from converter.graph.evaluate import evaluate
from converter.graph.model import HUB_DOMAIN

pytestmark = needs_runtime("pytorch")

BOXES, CLASSES, IMAGES = 30, 3, 2


@pytest.fixture(scope="module")
def pytorch():
    with environments.open_runtime("pytorch") as runtime:
        yield runtime


def boxes(random):
    corners = random.uniform(0, 0.7, (BOXES, 2))
    priors = np.concatenate([corners, corners + random.uniform(0.1, 0.3, (BOXES, 2))], axis=1)
    variances = np.broadcast_to([0.1, 0.1, 0.2, 0.2], priors.shape)
    return np.stack([priors.ravel(), variances.ravel()])[None].astype(np.float32)


@pytest.mark.parametrize(
    "attributes",
    [
        {"nms_threshold": 0.4},
        {"nms_threshold": 0.4, "code_type": "CENTER_SIZE", "confidence_threshold": 0.4, "top_k": 10, "keep_top_k": 12},
        {"nms_threshold": 0.6, "code_type": "CORNER_SIZE", "eta": 0.8, "keep_top_k": 5},
        {"nms_threshold": 0.3, "share_location": 0, "background_label_id": -1, "variance_encoded_in_target": 1},
        {"nms_threshold": 0.0, "without_nms": 1, "confidence_threshold": 0.5},
        {"nms_threshold": 0.5, "confidence_threshold": 2.0},
    ],
    ids=["corner", "centre", "eta", "own-location", "without-nms", "nothing-found"],
)
def test_detections(pytorch, tmp_path, attributes):
    random = np.random.default_rng(0)
    groups = 1 if attributes.get("share_location", 1) else CLASSES
    location = random.standard_normal((IMAGES, BOXES * groups * 4)) * 0.1
    # Scores well apart, so that float32 cannot change their order, and one tie, which keeps the order of the priors.
    scores = random.permutation(np.linspace(0.05, 0.95, IMAGES * BOXES * CLASSES)).reshape(IMAGES, -1)
    scores[0, 4] = scores[0, 1]
    operands = [
        Input(*location.shape, values=location),
        Input(*scores.shape, values=scores),
        boxes(random),
    ]
    model = one_node("DetectionOutput", operands, domain=HUB_DOMAIN, num_classes=CLASSES, **attributes)
    inputs = {"input0": location.astype(np.float32), "input1": scores.astype(np.float32)}
    expected = evaluate(model, inputs)["output0"]
    found = run(pytorch, convert(model, tmp_path), inputs)["output0"]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found[..., :2], expected[..., :2])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
