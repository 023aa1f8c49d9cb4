"""Pooling against ONNX Runtime and against the rules measured on Caffe."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from converter.graph import ops

SPACE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def poolings(draw):
    rank = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    pads = [draw(st.integers(0, max(0, k - 1))) for k in kernel * 2]
    return [draw(st.integers(2, 9)) for _ in kernel], {
        "kernel_shape": kernel,
        "strides": draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)),
        "dilations": draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank)),
        "pads": pads,
        "ceil_mode": draw(st.integers(0, 1)),
    }


def fits(op, size, attributes):
    try:
        ops.infer(op, "", attributes, [ops.TensorInfo((2, 3, *size))])
    except ValueError:
        return False
    return True


@SPACE
@given(case=poolings())
def test_max_pool(agrees, normal, case):
    size, attributes = case
    assume(fits("MaxPool", size, attributes))
    agrees("MaxPool", normal(2, 3, *size), outputs=2, **attributes)


@SPACE
@given(case=poolings(), include=st.integers(0, 1))
def test_average_pool(agrees, normal, case, include):
    size, attributes = case
    assume(fits("AveragePool", size, attributes))
    agrees("AveragePool", normal(2, 3, *size), **attributes, count_include_pad=include)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4), (1, 2, 3, 4, 5)])
def test_global_pooling(agrees, normal, op, shape):
    agrees(op, normal(*shape))


def test_padding_never_wins_a_maximum():
    x = np.full((1, 1, 2, 2), -5.0)
    attributes = {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    assert (ops.find("MaxPool").evaluate(attributes, [x])[0] == -5).all()


def test_the_first_of_equal_maxima_is_taken(agrees):
    _, indices = agrees("MaxPool", np.zeros((1, 2, 4, 4), np.float32), outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    assert indices.ravel().tolist() == [0, 2, 8, 10, 16, 18, 24, 26]


def test_caffe_average_counts_padding_but_not_what_hangs_over():
    """6 wide, kernel 3, stride 2, padding 1: windows start at -1, 1, 3, 5 and end inside 7 = 6 + 1."""
    attributes = {"kernel_shape": [3], "strides": [2], "pads": [1, 1], "ceil_mode": 1, "count_include_pad": 1}
    x = np.ones((1, 1, 6))
    np.testing.assert_allclose(ops.find("AveragePool").evaluate(attributes, [x])[0][0, 0], [2 / 3, 1, 1, 1 / 2])


def test_a_window_that_would_start_behind_the_input_is_dropped():
    """Caffe keeps it (and answers NaN): its reader must refuse that shape."""
    attributes = {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1}
    assert ops.infer("MaxPool", "", attributes, [ops.TensorInfo((1, 1, 6, 6))])[0].shape == (1, 1, 2, 2)


def test_padding_as_large_as_the_kernel_is_refused():
    with pytest.raises(ValueError, match="smaller than the kernel"):
        ops.infer("MaxPool", "", {"kernel_shape": [2], "pads": [2, 0]}, [ops.TensorInfo((1, 1, 6))])
