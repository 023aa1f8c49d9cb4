"""A list of detections that float32 could have made is legal; one with a real mistake is not."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from converter.graph import ops
from converter.parity.detections import legal

PRIORS = 40


@st.composite
def detections(draw):
    """Attributes, inputs and the float64 result of one random DetectionOutput over two images."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    corners = random.uniform(0, 0.6, (PRIORS, 2))
    priors = np.concatenate([corners, corners + random.uniform(0.2, 0.4, (PRIORS, 2))], axis=1)
    variance = np.tile([0.1, 0.1, 0.2, 0.2], (PRIORS, 1))
    scores = random.dirichlet([0.3] * 3, (2, PRIORS))
    attributes = {
        "num_classes": 3,
        "code_type": draw(st.sampled_from(["CENTER_SIZE", "CORNER"])),
        "nms_threshold": draw(st.sampled_from([0.3, 0.45, 0.7])),
        "top_k": draw(st.sampled_from([-1, 10])),
        "keep_top_k": draw(st.sampled_from([-1, 6])),
        "confidence_threshold": 0.2,
        "eta": draw(st.sampled_from([1.0, 0.8])),
    }
    inputs = [random.normal(0, 0.5, (2, PRIORS * 4)), scores.reshape(2, -1), np.stack([priors, variance])]
    inputs[2] = inputs[2].reshape(1, 2, -1)
    rows = ops.find("DetectionOutput", "converter").evaluate(attributes, inputs)[0][0, 0]
    return attributes, inputs, rows


@settings(deadline=None, max_examples=60, derandomize=True)
@given(detections())
def test_what_the_net_detects_is_legal_also_when_rounded_to_float32(case):
    attributes, inputs, rows = case
    assert legal(attributes, *inputs, rows)
    assert legal(attributes, *inputs, rows.astype(np.float32).astype(np.float64))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(detections(), st.data())
def test_a_missing_row_is_not(case, data):
    attributes, inputs, rows = case
    assume(len(rows) > 1 and attributes["eta"] == 1)  # a threshold that shrinks explains more than float32 does
    assert not legal(attributes, *inputs, np.delete(rows, data.draw(st.integers(0, len(rows) - 1)), axis=0))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(detections(), st.data())
def test_a_box_or_a_score_that_is_off_is_not(case, data):
    attributes, inputs, rows = case
    changed = rows.copy()
    changed[data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(2, 6))] += 0.01
    assert not legal(attributes, *inputs, changed)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(detections())
def test_a_row_twice_or_of_another_class_is_not(case):
    attributes, inputs, rows = case
    assert not legal(attributes, *inputs, np.concatenate([rows[:1], rows]))
    changed = rows.copy()
    changed[-1, 1] = 0  # the background
    assert not legal(attributes, *inputs, changed)


def test_of_equal_scores_either_box_may_be_kept():
    box = np.array([0.1, 0.1, 0.5, 0.5])
    priors = np.stack([np.concatenate([box, box + 0.01]), np.full(8, 0.1)])[None]
    inputs = [np.zeros((1, 8)), np.array([[0.1, 0.9, 0.1, 0.9]]), priors]
    attributes = {"num_classes": 2, "nms_threshold": 0.5, "confidence_threshold": 0.5}
    for kept in (box, box + 0.01):
        assert legal(attributes, *inputs, np.array([[0, 1, 0.9, *kept]]))
    assert not legal(attributes, *inputs, np.array([[0, 1, 0.9, *box], [0, 1, 0.9, *(box + 0.01)]]))


def test_no_detection_at_all_is_legal_only_where_there_is_none():
    priors = np.stack([np.array([0.1, 0.1, 0.5, 0.5]), np.full(4, 0.1)])[None]
    nothing = np.array([[0, -1, -1, -1, -1, -1, -1]])
    attributes = {"num_classes": 2, "nms_threshold": 0.5, "confidence_threshold": 0.5}
    assert legal(attributes, np.zeros((1, 4)), np.array([[0.9, 0.1]]), priors, nothing)
    assert not legal(attributes, np.zeros((1, 4)), np.array([[0.1, 0.9]]), priors, nothing)
