"""Activations against ONNX Runtime, near zero, where they saturate, and at random."""

import math

import numpy as np
import pytest

from converter.graph import ops

SPECIAL = np.array([0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 0.5, -0.5, 3, -3, 6, -6, 20, -20, 88, -88], np.float32)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.1}),
        ("LeakyRelu", {"alpha": -0.5}),
        ("LeakyRelu", {}),
        ("Elu", {"alpha": 0.7}),
        ("Selu", {}),
        ("Sigmoid", {}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
        ("HardSwish", {}),
        ("Tanh", {}),
        ("Softplus", {}),
        ("Softsign", {}),
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
        ("Erf", {}),
    ],
)
def test_activation(agrees, normal, op, attributes):
    agrees(op, np.concatenate([SPECIAL, 3 * normal(2000)]), **attributes)


def test_erf_to_the_last_digits_of_float64():
    x = np.linspace(-7, 7, 2801)
    np.testing.assert_allclose(ops.find("Erf").evaluate({}, [x])[0], [math.erf(v) for v in x], rtol=2e-15)


@pytest.mark.parametrize("slope", [(1,), (4, 1, 1), (4, 1, 6)])
def test_prelu(agrees, normal, slope):
    agrees("PRelu", normal(2, 4, 5, 6), normal(*slope))


def test_prelu_slope_must_not_enlarge_the_input():
    with pytest.raises(ValueError, match="slope"):
        ops.infer("PRelu", "", {}, [ops.TensorInfo((1, 4)), ops.TensorInfo((3, 4))])


@pytest.mark.parametrize("limits", [(), (-0.5,), (None, 0.5), (-0.5, 0.5)])
def test_clip(agrees, normal, limits):
    agrees("Clip", normal(100), *[None if limit is None else np.array(limit, np.float32) for limit in limits])


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_softmax(agrees, normal, op, axis):
    agrees(op, 10 * normal(3, 4, 5), axis=axis)


def test_softmax_of_large_numbers_does_not_overflow():
    x = np.array([[1e4, 1e4, -1e4]])
    np.testing.assert_allclose(ops.find("Softmax").evaluate({}, [x])[0], [[0.5, 0.5, 0]])


@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Softplus", "Softmax", "Erf", "Gelu", "Selu", "HardSwish"])
def test_evaluation_follows_the_precision_of_its_input(normal, op):
    for dtype in (np.float32, np.float64):
        assert ops.find(op).evaluate({}, [normal(3, 4).astype(dtype)])[0].dtype == dtype
