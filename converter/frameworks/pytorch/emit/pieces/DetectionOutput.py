# ruff: noqa: ANN001, ANN201, ANN204
import torch
from torch import nn


class DetectionOutput(nn.Module):
    """Decode boxes, suppress overlapping ones and list the detections (SSD, Liu et al. 2016).

    Takes location (N, P * 4), confidence (N, P * num_classes) and priors (1, 2, P * 4): boxes
    and variances. Returns (1, 1, K, 7), rows of image, label, score, x0, y0, x1, y1 by image, label
    and descending score; K varies. Where nothing is found, there is one row per image that holds -1
    behind the image's number.
    """

    def __init__(
        self,
        num_classes,
        share_location=True,
        background_label_id=0,
        code_type="CORNER",
        variance_encoded_in_target=False,
        confidence_threshold=None,
        nms_threshold=None,
        top_k=-1,
        eta=1.0,
        keep_top_k=-1,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.share_location = share_location
        self.background_label_id = background_label_id
        self.code_type = code_type
        self.variance_encoded_in_target = variance_encoded_in_target
        self.confidence_threshold = confidence_threshold
        self.nms_threshold = nms_threshold
        self.top_k = top_k
        self.eta = eta
        self.keep_top_k = keep_top_k

    def forward(self, location, confidence, priors):
        count = priors.shape[2] // 4
        groups = 1 if self.share_location else self.num_classes
        boxes = self.decode(location.reshape(-1, count, groups, 4), priors.reshape(2, count, 1, 4))
        scores = confidence.reshape(-1, count, self.num_classes)
        rows = [self.detect(i, boxes[i], scores[i]) for i in range(len(scores))]
        if not any(len(row) for row in rows):
            rows = [scores.new_tensor([[i] + [-1] * 6]) for i in range(len(scores))]
        return torch.cat(rows)[None, None]

    def decode(self, location, priors):
        """Corners of the boxes from their offsets to the priors."""
        corners, variance = priors
        offset = location if self.variance_encoded_in_target else location * variance
        size = corners[..., 2:] - corners[..., :2]
        if self.code_type == "CORNER":
            return corners + offset
        if self.code_type == "CORNER_SIZE":
            return corners + offset * torch.cat((size, size), dim=-1)
        centre = (corners[..., :2] + corners[..., 2:]) / 2 + offset[..., :2] * size
        half = size * offset[..., 2:].exp() / 2
        return torch.cat((centre - half, centre + half), dim=-1)

    def detect(self, image, boxes, scores):
        """Rows of one image, from boxes (P, 1 or classes, 4) and scores (P, classes)."""
        rows = [scores.new_zeros(0, 7)]
        for label in range(self.num_classes):
            if label == self.background_label_id:
                continue
            own = boxes[:, 0 if self.share_location else label]
            kept = self.select(scores[:, label], own)
            head = scores.new_tensor([image, label]).expand(len(kept), 2)
            rows.append(torch.cat((head, scores[kept, label, None], own[kept]), dim=1))
        rows = torch.cat(rows)
        if 0 <= self.keep_top_k < len(rows):
            best = rows[:, 2].sort(descending=True, stable=True).indices[: self.keep_top_k]
            rows = rows[best.sort().values]
        return rows

    def select(self, scores, boxes):
        """Indices of the boxes that stay of one class, best first."""
        order = scores.sort(descending=True, stable=True).indices
        if self.confidence_threshold is not None:
            order = order[scores[order] > self.confidence_threshold]
        if self.nms_threshold is None:
            return order
        if self.top_k >= 0:
            order = order[: self.top_k]
        return order[self.suppress(boxes[order])]

    def suppress(self, boxes):
        """Greedy: positions of the boxes that overlap none of those kept before by too much."""
        threshold, kept = self.nms_threshold, []
        worst = boxes.new_zeros(len(boxes))
        for position in range(len(boxes)):
            if worst[position] > threshold:
                continue
            kept.append(position)
            rest = self.overlap(boxes[position], boxes[position + 1 :])
            worst[position + 1 :] = torch.maximum(worst[position + 1 :], rest)
            if self.eta < 1 and threshold > 0.5:
                threshold *= self.eta
        return kept

    @staticmethod
    def overlap(box, others):
        """Intersection over union of one box with others; 0 where they do not meet."""
        sides = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
        shared = sides.clamp(min=0).prod(dim=1)
        area, areas = ((b[..., 2:] - b[..., :2]).clamp(min=0).prod(dim=-1) for b in (box, others))
        return torch.where(shared > 0, shared / (area + areas - shared), shared)
