"""Whether a list of detections is one that float32 could have made.

Greedy suppression decides by comparing scores and overlaps; where those are equal up to rounding, two right runtimes
may keep different boxes, and one decision changes many. So rows are not compared with rows. What is checked is that the
list as a whole obeys the rules within rounding: every row is a box of the net with its score, no two kept boxes of a
class overlap too much, and whatever is missing was below a threshold, covered by a kept box of no smaller score, or cut
off by the limit of detections per image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from converter.graph.ops.detection import decode, overlaps

#: Scores this close (relative) may be ordered either way; scores are copied, so this is about how they were made.
SCORE = 2.0**-18
#: Overlaps this close to the threshold may be decided either way.
OVERLAP = 1e-3
#: A row is a box of the net up to this share of its size: decoding, exp(v * d), amplifies the rounding of d by d.
BOX = 2.0**-13


def legal(
    attributes: dict[str, Any], location: np.ndarray, confidence: np.ndarray, priors: np.ndarray, rows: np.ndarray
) -> bool:
    """Whether ``rows`` (K, 7), (image, label, score, box), follow from the inputs of converter::DetectionOutput."""
    samples, count, classes = len(location), priors.shape[-1] // 4, attributes["num_classes"]
    boxes = decode(attributes, location.reshape(samples, count, -1, 4), priors.reshape(2, count, 4))
    scores = confidence.reshape(samples, count, classes)
    if (rows[:, 1] == -1).all():
        rows = rows[:0]
    if np.any(np.diff(rows[:, 0]) < 0) or not set(rows[:, 0]) <= set(range(samples)):
        return False
    return all(
        _legal_image(attributes, scores[image], boxes[image], rows[rows[:, 0] == image, 1:]) for image in range(samples)
    )


def _legal_image(attributes: dict[str, Any], scores: np.ndarray, boxes: np.ndarray, rows: np.ndarray) -> bool:
    limit = attributes.get("keep_top_k", -1)
    labels = [label for label in range(scores.shape[1]) if label != attributes.get("background_label_id", 0)]
    if np.any(np.diff(rows[:, 0]) < 0) or not set(rows[:, 0]) <= set(labels) or len(rows) > limit >= 0:
        return False
    # What is no better than the worst row may have been cut off, once the list is full.
    cut_off = rows[:, 1].min() * (1 + SCORE) if len(rows) == limit and limit > 0 else -np.inf
    if limit == 0:
        return True
    return all(
        _legal_class(
            attributes,
            scores[:, label],
            boxes[:, min(label, boxes.shape[1] - 1)],
            rows[rows[:, 0] == label, 1:],
            cut_off,
        )
        for label in labels
    )


def _legal_class(
    attributes: dict[str, Any], scores: np.ndarray, boxes: np.ndarray, rows: np.ndarray, cut_off: float
) -> bool:
    kept = list(_matched(scores, boxes, rows))
    if None in kept or np.any(np.diff(rows[:, 0]) > SCORE * np.abs(rows[1:, 0])):
        return False
    threshold = attributes.get("confidence_threshold", -np.inf)
    entry = max(threshold, _entry_score(attributes, scores))
    slack = SCORE * np.abs(scores)
    if np.any(scores[kept] + slack[kept] < entry):
        return False
    if attributes.get("without_nms", 0):
        lowest, highest = np.inf, np.inf
    else:
        highest = attributes["nms_threshold"]
        lowest = _decayed(highest, attributes.get("eta", 1.0), len(kept))
    unexplained = (scores - slack > entry) & (scores > cut_off)
    unexplained[kept] = False
    for index in kept:
        overlap = overlaps(boxes[index], boxes)
        if np.any(overlap[[other for other in kept if other != index]] > highest + OVERLAP):
            return False
        unexplained &= ~((overlap >= lowest - OVERLAP) & (scores <= scores[index] + slack))
    return not unexplained.any()


def _matched(scores: np.ndarray, boxes: np.ndarray, rows: np.ndarray) -> Iterator[int | None]:
    """For each row (score, box) the box of the net that it is, each used once; None where it is none."""
    free = np.ones(len(scores), bool)
    for row in rows:
        size = max(np.abs(row[1:]).max(), 1e-30)
        near = free & (np.abs(scores - row[0]) <= SCORE * max(abs(row[0]), 1e-30))
        near &= (np.abs(boxes - row[1:]) <= BOX * size).all(axis=1)
        if not near.any():
            yield None
            return
        index = int(np.flatnonzero(near)[0])
        free[index] = False
        yield index


def _entry_score(attributes: dict[str, Any], scores: np.ndarray) -> float:
    """The smallest score that the limit of candidates per class lets in."""
    top = attributes.get("top_k", -1)
    if attributes.get("without_nms", 0) or top < 0 or top >= len(scores):
        return -np.inf
    return float(np.sort(scores)[::-1][top]) if top else np.inf


def _decayed(threshold: float, eta: float, kept: int) -> float:
    """The overlap threshold after ``kept`` boxes: it shrinks while it is above one half."""
    for _ in range(kept if eta < 1 else 0):
        if threshold <= 0.5:
            break
        threshold *= eta
    return threshold
