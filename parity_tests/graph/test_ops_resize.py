"""Resize against ONNX Runtime."""

import numpy as np
import pytest

from converter.graph import ops

MODES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(7, 13), (10, 8), (3, 4), (1, 5)])
def test_linear(agrees, normal, mode, size):
    agrees(
        "Resize",
        normal(2, 3, 5, 8),
        None,
        None,
        np.array([2, 3, *size], np.int64),
        mode="linear",
        coordinate_transformation_mode=mode,
    )


@pytest.mark.parametrize("mode", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("size", [(10, 16), (4, 4), (2, 12)])
def test_nearest(agrees, normal, mode, rounding, size):
    agrees(
        "Resize",
        normal(2, 3, 4, 8),
        None,
        None,
        np.array([2, 3, *size], np.int64),
        coordinate_transformation_mode=mode,
        nearest_mode=rounding,
    )


def test_by_scales(agrees, normal):
    agrees("Resize", normal(1, 2, 5, 6), None, np.array([1, 1, 2, 1.5], np.float32), mode="linear")
    upsampled = agrees(
        "Resize",
        normal(1, 2, 3, 3),
        None,
        np.array([1, 1, 2, 2], np.float32),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    assert (upsampled[..., ::2, ::2] == upsampled[..., 1::2, 1::2]).all()


def test_align_corners_keeps_the_corners():
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    out = ops.find("Resize").evaluate(attributes, [x, None, None, np.array([1, 1, 7, 9])])[0]
    assert out[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 3, 8, 11]


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"mode": "cubic"}, "cubic"),
        ({"coordinate_transformation_mode": "tf_crop_and_resize"}, "tf_crop_and_resize"),
        ({"nearest_mode": "up"}, "up"),
        ({"antialias": 1}, "antialias"),
    ],
)
def test_what_is_not_understood_is_refused(attributes, complaint):
    sizes = ops.TensorInfo((2,), "int64", np.array([4, 4]))
    with pytest.raises(ValueError, match=complaint):
        ops.infer("Resize", "", attributes, [ops.TensorInfo((2, 2)), None, None, sizes])
