"""converter::DetectionOutput: decode boxes, suppress overlapping ones, list the detections (SSD, Liu et al. 2016).

Inputs: location (N, P*4) or, without share_location, (N, P*C*4); confidence (N, P*C); priors (1, 2, P*4), row 0 the
boxes x0 y0 x1 y1, row 1 the four variances of each. Output (1, 1, K, 7), rows (image, label, score, x0, y0, x1, y1)
in the order image, class, descending score. Source: the SSD branch of Caffe, detection_output_layer and bbox_util.
"""

from __future__ import annotations

from math import prod

import numpy as np

from converter.graph.model import HUB_DOMAIN
from converter.graph.ops.common import Array, Arrays, Infos, rounded
from converter.graph.ops.registry import Attributes, Inferred, Op, register


def _infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
    """The upper bound: every prior detected for every class, or keep_top_k."""
    location, confidence, priors = (info.shape for info in inputs)
    samples, boxes, classes = location[0], priors[-1] // 4, attributes["num_classes"]
    per_box = 4 if attributes.get("share_location", 1) else 4 * classes
    if len(priors) != 3 or priors[1] != 2 or priors[-1] % 4:
        raise ValueError(f"priors {priors} must be (1, 2, 4 * number of boxes)")
    if prod(location) != samples * boxes * per_box:
        raise ValueError(f"location {location} must hold {boxes * per_box} values per image for {boxes} priors")
    if prod(confidence) != samples * boxes * classes:
        raise ValueError(f"confidence {confidence} must hold {boxes * classes} values per image for {boxes} priors")
    if attributes.get("code_type", "CORNER") not in ("CORNER", "CENTER_SIZE", "CORNER_SIZE"):
        raise ValueError(f"code_type {attributes['code_type']} is not understood")
    if "nms_threshold" not in attributes and not attributes.get("without_nms", 0):
        raise ValueError("without an nms_threshold, without_nms must say that nothing is suppressed")
    per_class = boxes if attributes.get("top_k", -1) < 0 else min(boxes, attributes["top_k"])
    background = attributes.get("background_label_id", 0)
    per_image = per_class * (classes - (0 <= background < classes))
    if attributes.get("keep_top_k", -1) >= 0:
        per_image = min(per_image, attributes["keep_top_k"])
    return [Inferred((1, 1, samples * max(1, per_image), 7))]


def decode(attributes: Attributes, location: Array, priors: Array) -> Array:
    """Boxes (N, P, L, 4) as corners x0 y0 x1 y1, from offsets (N, P, L, 4) and priors (2, P, 4); nothing is clipped."""
    corners, variance = priors[0][:, None], priors[1][:, None]
    code = attributes.get("code_type", "CORNER")
    offset = location if attributes.get("variance_encoded_in_target", 0) else location * variance
    size = corners[..., 2:] - corners[..., :2]
    if code == "CORNER":
        return corners + offset
    if code == "CORNER_SIZE":
        return corners + offset * np.concatenate([size, size], axis=-1)
    centre = (corners[..., :2] + corners[..., 2:]) / 2 + offset[..., :2] * size
    half = size * np.exp(offset[..., 2:]) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of one box (4) with others (n, 4); 0 where they do not meet."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    area, areas = (np.prod(np.maximum(b[..., 2:] - b[..., :2], 0), axis=-1) for b in (box, others))
    return np.divide(shared, area + areas - shared, out=np.zeros_like(shared), where=shared > 0)


def suppress(attributes: Attributes, boxes: Array) -> list[int]:
    """Positions kept of boxes (n, 4) in descending order of score: greedy, each overlapping no kept one too much."""
    threshold, eta = attributes["nms_threshold"], attributes.get("eta", 1.0)
    worst, kept = np.zeros(len(boxes), boxes.dtype), []
    for position, box in enumerate(boxes):
        if worst[position] > threshold:
            continue
        kept.append(position)
        worst[position + 1 :] = np.maximum(worst[position + 1 :], overlaps(box, boxes[position + 1 :]))
        if eta < 1 and threshold > 0.5:
            threshold *= eta
    return kept


def _class_detections(attributes: Attributes, scores: Array, boxes: Array) -> Array:
    """Indices of the priors detected as one class, in descending order of score."""
    order = np.argsort(-scores, kind="stable")
    if "confidence_threshold" in attributes:
        order = order[scores[order] > attributes["confidence_threshold"]]
    if attributes.get("without_nms", 0):
        return order
    if attributes.get("top_k", -1) >= 0:
        order = order[: attributes["top_k"]]
    return order[suppress(attributes, boxes[order])]


def _image_detections(attributes: Attributes, scores: Array, boxes: Array) -> Array:
    """Rows (label, score, x0, y0, x1, y1) of one image from scores (P, C) and boxes (P, 1 or C, 4)."""
    rows = []
    for label in range(scores.shape[1]):
        if label == attributes.get("background_label_id", 0):
            continue
        own = boxes[:, min(label, boxes.shape[1] - 1)]
        found = _class_detections(attributes, scores[:, label], own)
        labels = np.full((len(found), 1), label, scores.dtype)
        rows.append(np.concatenate([labels, scores[found, label, None], own[found]], axis=1))
    rows = np.concatenate(rows) if rows else np.empty((0, 6), scores.dtype)
    limit = attributes.get("keep_top_k", -1)
    if 0 <= limit < len(rows):
        rows = rows[np.sort(np.argsort(-rows[:, 1], kind="stable")[:limit])]
    return rows


def _evaluate(attributes: Attributes, inputs: Arrays) -> list[Array]:
    location, confidence, priors = inputs
    samples, count, classes = location.shape[0], priors.shape[-1] // 4, attributes["num_classes"]
    boxes = decode(attributes, location.reshape(samples, count, -1, 4), priors.reshape(2, count, 4))
    scores = confidence.reshape(samples, count, classes)
    images = [_image_detections(attributes, s, b) for s, b in zip(scores, boxes, strict=True)]
    rows = [np.insert(found, 0, image, axis=1) for image, found in enumerate(images)]
    if not any(map(len, rows)):
        # Nothing at all: one row per image, all -1 but for the number of the image.
        rows = [np.array([[image, *[-1] * 6]], scores.dtype) for image in range(samples)]
    return [np.concatenate(rows)[None, None]]


def _rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
    """Scores are copied; a coordinate is made of a centre and a size, both no larger than the box's own coordinates.

    That a row may come or go where a score or an overlap is close to its threshold is not in here.
    """
    rows = outputs[0]
    size = np.abs(rows[..., 3:]).max(axis=-1, keepdims=True)
    return [np.concatenate([np.zeros_like(rows[..., :3]), np.broadcast_to(rounded(2 * size), rows[..., 3:].shape)], -1)]


register(Op("DetectionOutput", HUB_DOMAIN, _infer, _evaluate, _rounding))
