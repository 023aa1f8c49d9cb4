"""DetectionOutput, step by step: decoding, suppression, limits, the order of rows, and no detection at all."""

import numpy as np
import pytest

from converter.graph import ops
from converter.graph.model import HUB_DOMAIN
from converter.graph.ops.detection import decode, overlaps, suppress

OPERATOR = ops.find("DetectionOutput", HUB_DOMAIN)
VARIANCE = [0.1, 0.1, 0.2, 0.2]
#: Three priors: two that overlap by 0.81 / 1.19, and one elsewhere.
PRIORS = np.array([[[0.0, 0.0, 0.5, 0.5], [0.05, 0.05, 0.55, 0.55], [0.6, 0.6, 0.9, 0.8]], [VARIANCE] * 3])
ATTRIBUTES = {"num_classes": 3, "background_label_id": 0, "nms_threshold": 0.5, "confidence_threshold": 0.1}


def detect(scores, location=None, priors=PRIORS, **attributes):
    """Rows for class scores (N, P, 3); boxes are the priors unless ``location`` (N, P, 4) moves them."""
    scores = np.asarray(scores, float)
    location = np.zeros((*scores.shape[:2], 4)) if location is None else location
    operands = [location.reshape(len(scores), -1), scores.reshape(len(scores), -1), priors.reshape(1, 2, -1)]
    return OPERATOR.evaluate(ATTRIBUTES | attributes, operands)[0][0, 0]


def test_decoding():
    prior = np.array([[[0.2, 0.2, 0.6, 0.4]], [VARIANCE]])
    offset = np.array([1.0, -1.0, np.log(2) / 0.2, 0.0]).reshape(1, 1, 1, 4)
    corner = decode({"code_type": "CORNER"}, offset, prior)[0, 0, 0]
    np.testing.assert_allclose(corner, [0.3, 0.1, 0.6 + np.log(2), 0.4])
    centre = decode({"code_type": "CENTER_SIZE"}, offset, prior)[0, 0, 0]
    np.testing.assert_allclose(centre, [0.44 - 0.4, 0.28 - 0.1, 0.44 + 0.4, 0.28 + 0.1])
    size = decode({"code_type": "CORNER_SIZE"}, offset, prior)[0, 0, 0]
    np.testing.assert_allclose(size, [0.2 + 0.1 * 0.4, 0.2 - 0.1 * 0.2, 0.6 + np.log(2) * 0.4, 0.4])
    raw = decode({"code_type": "CORNER", "variance_encoded_in_target": 1}, offset, prior)[0, 0, 0]
    np.testing.assert_allclose(raw, prior[0, 0] + offset.ravel())


def test_overlap_is_intersection_over_union():
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [5, 5, 5, 5]], float)
    np.testing.assert_allclose(overlaps(others[0], others), [1, 1 / 3, 0, 0])


def test_suppression_is_greedy():
    """The second box falls to the first; the third, which overlaps the second alone, stays."""
    boxes = np.array([[0, 0, 1, 1], [0.4, 0, 1.4, 1], [0.8, 0, 1.8, 1]])
    assert suppress({"nms_threshold": 0.4}, boxes) == [0, 2]
    assert suppress({"nms_threshold": 0.45}, boxes) == [0, 1, 2]


def test_eta_tightens_the_threshold_after_each_kept_box():
    boxes = np.array([[0, 0, 1, 1], [3, 3, 4, 4], [0.2, 0, 1.2, 1]])
    assert suppress({"nms_threshold": 0.7}, boxes) == [0, 1, 2]
    assert suppress({"nms_threshold": 0.7, "eta": 0.9}, boxes) == [0, 1]


def test_rows_are_in_the_order_image_class_descending_score():
    scores = [[[0, 0.2, 0.9], [0, 0.0, 0.0], [0, 0.6, 0.3]], [[0, 0.0, 0.0], [0, 0.5, 0.0], [0.9, 0.0, 0.0]]]
    rows = detect(scores)
    np.testing.assert_allclose(rows[:, :3], [[0, 1, 0.6], [0, 1, 0.2], [0, 2, 0.9], [0, 2, 0.3], [1, 1, 0.5]])
    np.testing.assert_allclose(rows[:, 3:], PRIORS[0][[2, 0, 0, 2, 1]])


def test_the_better_of_two_overlapping_boxes_stays():
    rows = detect([[[0, 0.5, 0], [0, 0.8, 0], [0, 0, 0]]])
    np.testing.assert_allclose(rows, [[0, 1, 0.8, *PRIORS[0, 1]]])


def test_without_suppression_all_boxes_stay():
    assert len(detect([[[0, 0.5, 0], [0, 0.8, 0], [0, 0, 0]]], without_nms=1)) == 2


def test_equal_scores_keep_the_order_of_the_priors():
    assert detect([[[0, 0.5, 0]] * 3])[:, 3].tolist() == [0.0, 0.6]


def test_a_score_must_be_above_the_threshold():
    assert len(detect([[[0, 0.1, 0], [0, 0, 0], [0, 0.11, 0]]])) == 1


def test_top_k_acts_before_suppression_and_keep_top_k_over_all_classes():
    scores = [[[0, 0.5, 0.7], [0, 0.8, 0.1], [0, 0.3, 0.9]]]
    assert detect(scores, top_k=2)[:, 2].tolist() == [0.8, 0.9, 0.7]
    assert detect(scores, keep_top_k=2)[:, 1:3].tolist() == [[1, 0.8], [2, 0.9]]


def test_no_detection_at_all_is_one_row_per_image():
    assert detect(np.zeros((2, 3, 3))).tolist() == [[0] + [-1] * 6, [1] + [-1] * 6]


def test_an_image_without_detections_among_others_has_no_row():
    scores = np.zeros((2, 3, 3))
    scores[1, 2, 1] = 0.9
    assert detect(scores)[:, 0].tolist() == [1]


def test_classes_may_have_boxes_of_their_own():
    location = np.zeros((1, 3, 3, 4))
    location[0, :, 2] = [1, 1, 1, 1]
    scores = np.array([[[0, 0.5, 0.6], [0, 0, 0], [0, 0, 0]]])
    rows = detect(scores, location, share_location=0, variance_encoded_in_target=1)
    np.testing.assert_allclose(rows[:, 3:], [[0, 0, 0.5, 0.5], [1, 1, 1.5, 1.5]])


@pytest.mark.parametrize(
    ("attributes", "rows"), [({}, 12), ({"top_k": 2}, 8), ({"keep_top_k": 3}, 6), ({"background_label_id": -1}, 18)]
)
def test_inference_knows_the_most_rows_there_can_be(attributes, rows):
    infos = [ops.TensorInfo(shape) for shape in ((2, 12), (2, 9), (1, 2, 12))]
    assert OPERATOR.infer(ATTRIBUTES | attributes, infos)[0].shape == (1, 1, rows, 7)


@pytest.mark.parametrize(
    ("shapes", "attributes", "complaint"),
    [
        (((2, 16), (2, 9), (1, 2, 12)), {}, "location"),
        (((2, 12), (2, 8), (1, 2, 12)), {}, "confidence"),
        (((2, 12), (2, 9), (1, 1, 12)), {}, "priors"),
        (((2, 12), (2, 9), (1, 2, 12)), {"code_type": "ROUND"}, "ROUND"),
    ],
)
def test_what_does_not_fit_is_refused(shapes, attributes, complaint):
    with pytest.raises(ValueError, match=complaint):
        OPERATOR.infer(ATTRIBUTES | attributes, [ops.TensorInfo(shape) for shape in shapes])


def test_only_coordinates_round():
    rows = np.array([[[[0, 1, 0.5, 0.1, 0.2, 0.3, 0.4]]]])
    error = OPERATOR.rounding(ATTRIBUTES, [], [rows])[0]
    assert (error[..., :3] == 0).all() and (error[..., 3:] > 0).all() and (error < 1e-6).all()
