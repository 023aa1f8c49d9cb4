"""Reductions, ArgMax, ArgMin and TopK against ONNX Runtime."""

import numpy as np
import pytest

from converter.graph import ops

REDUCTIONS = ["Sum", "Mean", "L1", "L2", "SumSquare", "Max", "Min", "Prod"]


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("axes", [(1,), (0, 2), (-1,), (0, 1, 2), None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduction(agrees, normal, op, axes, keepdims):
    operands = [] if axes is None else [np.array(axes, np.int64)]
    agrees(f"Reduce{op}", normal(3, 4, 5), *operands, keepdims=keepdims)


def test_no_axes_may_mean_nothing_to_reduce(agrees, normal):
    agrees("ReduceSum", normal(3, 4), np.array([], np.int64), noop_with_empty_axes=1)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_arg(agrees, normal, op, axis, keepdims, last):
    ties = np.round(normal(4, 6, 5))
    agrees(op, ties, axis=axis, keepdims=keepdims, select_last_index=last)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(agrees, normal, axis, largest):
    ties = np.round(normal(4, 6, 5))
    agrees("TopK", ties, np.array([3], np.int64), outputs=2, axis=axis, largest=largest)


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="top 4 of 3"):
        ops.infer("TopK", "", {}, [ops.TensorInfo((2, 3)), ops.TensorInfo((1,), "int64", np.array([4]))])


def test_an_axis_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="axis 2 does not exist"):
        ops.infer("ReduceSum", "", {}, [ops.TensorInfo((2, 3)), ops.TensorInfo((1,), "int64", np.array([2]))])
