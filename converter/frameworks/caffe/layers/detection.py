"""The SSD layers: PriorBox and DetectionOutput (Liu et al. 2016)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from converter.graph.model import HUB_DOMAIN

from ..message import Message
from .context import LayerContext, constant_array, require
from .registry import layer


def _positive(
    context: LayerContext, message: Message, names: tuple[str, str, str], default: tuple[float, float]
) -> tuple[float, float]:
    """(height, width) of a field with a common spelling and one per axis."""
    both, height, width = names
    if message.has(height) or message.has(width):
        found = message.get(height) or 0, message.get(width) or 0
        if message.has(both):
            raise context.error(f"{both} and {height}, {width} exclude each other")
    elif message.has(both):
        found = message.get(both), message.get(both)
    else:
        return default
    if min(found) <= 0:
        raise context.error(f"{both} {found} must be positive")
    return found


def _ratios(message: Message) -> list[float]:
    """1, then every other aspect ratio (and its inverse with ``flip``), none twice."""
    ratios = [1.0]
    for ratio in message.all("aspect_ratio"):
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if message.get("flip") else [ratio]
    return ratios


def _box_sizes(context: LayerContext, message: Message) -> np.ndarray:
    """float32 (n, 2), width and height in pixels of the boxes of one cell. Sizes are cut to whole pixels, as in Caffe.

    The precision of every step is Caffe's (square roots of ratios in float32), so that the boxes are equal to the bit.
    """
    smallest, largest = message.all("min_size"), message.all("max_size")
    if not smallest or min(smallest) <= 0 or (largest and len(largest) != len(smallest)):
        raise context.error(f"has {len(smallest)} min_size and {len(largest)} max_size values")
    if any(low >= high for low, high in zip(smallest, largest, strict=False)):
        raise context.error("max_size must be greater than min_size")
    if any(ratio <= 0 for ratio in message.all("aspect_ratio")):
        raise context.error("aspect_ratio must be positive")
    sizes = []
    for index, size in enumerate(map(int, smallest)):
        sizes.append((size, size))
        if largest:
            sizes.append((np.sqrt(size * int(largest[index])),) * 2)
        roots = np.sqrt(np.float32([ratio for ratio in _ratios(message) if abs(ratio - 1) >= 1e-6]))
        sizes += [(np.float32(size) * root, np.float32(size) / root) for root in roots]
    return np.array(sizes, np.float32)


@layer("PriorBox")
def prior_box(context: LayerContext) -> ir.Value:
    """(1, 2, P*4): the boxes x0 y0 x1 y1 in units of the image, row by row of the first bottom; then their variances.

    They depend on shapes alone, so they are an initializer.
    """
    context.expect(bottoms=2, rank=4)
    message = context.param("prior_box_param")
    (rows, columns), image = context.shape(context.bottoms[0])[2:], context.shape(context.bottoms[1])
    if len(image) != 4:
        raise context.error(f"its second bottom has shape {image}, Caffe wants 4 axes")
    height, width = _positive(context, message, ("img_size", "img_h", "img_w"), image[2:])
    step_height, step_width = _positive(
        context, message, ("step", "step_h", "step_w"), (height / rows, width / columns)
    )
    sizes, variance = _box_sizes(context, message), message.all("variance") or [0.1]
    if len(variance) not in (1, 4) or min(variance) <= 0:
        raise context.error(f"has {len(variance)} variances, Caffe wants 1 or 4 positive ones")
    require(rows * columns * len(sizes) < 2**24, f"{rows * columns * len(sizes)} boxes")
    steps, offset = np.float32([step_width, step_height]), np.float32(message.get("offset"))
    grid = np.stack(np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)), axis=-1)
    centres = ((grid + offset) * steps)[:, :, None]
    halves = sizes.astype(np.float64) / 2
    corners = np.concatenate([centres - halves, centres + halves], axis=-1) / np.tile([width, height], 2)
    boxes = corners.astype(np.float32).ravel()
    if message.get("clip"):
        boxes = boxes.clip(0, 1)
    variances = np.resize(np.float32(variance), boxes.size)
    priors = constant_array(context, np.stack([boxes, variances])[None], "priors")
    return context.op("Identity", priors)


@layer("DetectionOutput")
def detection_output(context: LayerContext) -> ir.Value:
    """Rows (image, label, score, x0, y0, x1, y1) of what is left after decoding and suppression."""
    context.expect(bottoms=3)
    location, confidence, priors = context.bottoms
    message = context.param("detection_output_param")
    suppression, classes = message.get("nms_param"), message.get("num_classes") or 0
    if classes < 1:
        raise context.error("num_classes must be positive")
    if message.get("share_location") and message.get("background_label_id") == -1:
        raise context.error("background_label_id -1 with share_location: real Caffe aborts; give a number of no class")
    if not 0 < suppression.get("eta") <= 1 or suppression.get("nms_threshold") < 0:
        raise context.error("eta must lie in (0, 1] and nms_threshold must not be negative")
    boxes = context.shape(priors)[-1] // 4 * (classes - (0 <= message.get("background_label_id") < classes))
    require(
        message.has("nms_param") or 0 <= message.get("keep_top_k") < boxes,
        f"without nms_param and with keep_top_k {message.get('keep_top_k')} Caffe lists all {boxes} boxes, unsorted",
        "give it nms_param, or a smaller keep_top_k",
    )
    flat = [x if len(context.shape(x)) == 2 else context.op("Flatten", x, axis=1) for x in (location, confidence)]
    top_k = suppression.get("top_k")
    return context.op(
        "DetectionOutput",
        *flat,
        priors,
        domain=HUB_DOMAIN,
        num_classes=classes,
        share_location=int(message.get("share_location")),
        background_label_id=message.get("background_label_id"),
        nms_threshold=suppression.get("nms_threshold"),
        top_k=-1 if top_k is None else top_k,
        eta=suppression.get("eta"),
        code_type=message.get("code_type"),
        variance_encoded_in_target=int(message.get("variance_encoded_in_target")),
        keep_top_k=message.get("keep_top_k"),
        # Without suppression Caffe keeps every box, whatever its score.
        confidence_threshold=message.get("confidence_threshold") if message.has("nms_param") else None,
        without_nms=int(not message.has("nms_param")),
    )
