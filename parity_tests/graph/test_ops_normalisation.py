"""Normalisations against ONNX Runtime and the formulas of the Caffe fact sheet."""

import numpy as np
import pytest

from converter.graph import ops


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("bias", [1.0, 2.0])
def test_lrn(agrees, normal, size, beta, bias):
    agrees("LRN", 10 * normal(2, 6, 3, 4), size=size, alpha=0.05, beta=beta, bias=bias)


def test_lrn_clips_its_window_at_the_ends():
    """x / (k + alpha / n * sum of squares) ** beta with a window of 3 channels."""
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
    out = ops.find("LRN").evaluate({"size": 3, "alpha": 3.0, "beta": 1.0, "bias": 1.0}, [x])[0]
    np.testing.assert_allclose(out.ravel(), [1 / (1 + 5), 2 / (1 + 14), 3 / (1 + 13)])


def test_an_even_lrn_window_reaches_further_behind():
    """ONNX: from floor((size - 1) / 2) before to ceil((size - 1) / 2) behind."""
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
    out = ops.find("LRN").evaluate({"size": 2, "alpha": 2.0, "beta": 1.0, "bias": 1.0}, [x])[0]
    np.testing.assert_allclose(out.ravel(), [1 / (1 + 5), 2 / (1 + 13), 3 / (1 + 9)])


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 7), (2, 4, 5, 6), (1, 4, 2, 3, 4)])
@pytest.mark.parametrize("level", [0, 50])
def test_batch_normalization(agrees, normal, shape, level):
    statistics = [normal(4), normal(4), normal(4) + level, np.abs(normal(4))]
    agrees("BatchNormalization", normal(*shape) + level, *statistics, epsilon=1e-3)


@pytest.mark.parametrize("shape", [(2, 4, 30), (2, 4, 5, 6)])
@pytest.mark.parametrize("level", [0, 5])
def test_normalisation_by_own_statistics(agrees, normal, shape, level):
    x = normal(*shape) + level
    agrees("InstanceNormalization", x, normal(4), normal(4))
    agrees("GroupNormalization", x, normal(4), normal(4), num_groups=2, epsilon=1e-3)
    agrees("MeanVarianceNormalization", x, axes=(0, 2))


@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_normalization(agrees, normal, axis):
    shape = (3, 4, 20)
    agrees("LayerNormalization", normal(*shape), normal(*shape[axis:]), normal(*shape[axis:]), axis=axis)
    agrees("LayerNormalization", normal(*shape), normal(*shape[axis:]), axis=axis, epsilon=0.1)


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "complaint"),
    [
        ("BatchNormalization", [(1, 4, 2, 2), (4,), (4,), (3,), (4,)], {}, r"mean \(3,\)"),
        ("BatchNormalization", [(1, 4), (4,), (4,), (4,), (4,)], {"training_mode": 1}, "training"),
        ("GroupNormalization", [(1, 4, 2), (4,), (4,)], {"num_groups": 3}, "groups"),
        ("LayerNormalization", [(2, 3), (4,)], {}, "do not broadcast"),
        ("LRN", [(2, 3)], {"size": 0}, "LRN over 0"),
    ],
)
def test_what_does_not_fit_is_refused(op, shapes, attributes, complaint):
    with pytest.raises(ValueError, match=complaint):
        ops.infer(op, "", attributes, [ops.TensorInfo(shape) for shape in shapes])
