"""The rounding model against what ONNX Runtime and numpy really lose in float32: neither tight nor absurdly loose."""

import measure_noise  # of tools/, which conftest.py puts on the path
import numpy as np
import pytest

from converter.graph import ops
from converter.graph.ops.common import BLOCK, ROUNDING, rounded, rounded_sum


@pytest.mark.parametrize("case", measure_noise.CASES, ids=lambda case: case.label)
def test_onnxruntime_errs_as_predicted(case):
    pytest.importorskip("onnxruntime")
    arrays = measure_noise.arrays_of(case, seed=1)
    ratio = measure_noise.ratios(case, measure_noise.by_onnxruntime(case, arrays), arrays)
    assert 0.04 < np.sqrt(np.mean(np.square(ratio))) < 4
    assert np.quantile(np.abs(ratio), 0.999) < 8


@pytest.mark.parametrize("case", measure_noise.CASES, ids=lambda case: case.label)
def test_numpy_does_not_err_more_than_predicted(case):
    arrays = measure_noise.arrays_of(case, seed=1)
    ratio = measure_noise.ratios(case, measure_noise.by_numpy(case, arrays), arrays)
    assert np.sqrt(np.mean(np.square(ratio))) < 4
    assert np.quantile(np.abs(ratio), 0.999) < 8


@pytest.mark.parametrize("case", measure_noise.CASES, ids=lambda case: case.label)
def test_rounding_is_per_element(case):
    operands = measure_noise.double(measure_noise.arrays_of(case))
    outputs = ops.find(case.op).evaluate(case.attributes, operands)
    errors = ops.find(case.op).rounding(case.attributes, operands, outputs)
    assert [error.shape for error in errors] == [output.shape for output in outputs]


def test_one_rounding_is_uniform_in_half_a_unit_in_the_last_place():
    values = np.random.default_rng(0).uniform(1, 2, 10000)
    errors = values.astype(np.float32) - values
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(ROUNDING, rel=0.02)
    assert np.max(rounded(values)) == pytest.approx(2 * ROUNDING, rel=1e-3)


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("count", [10, 300, 3000])
def test_a_sum_added_in_sequence_errs_as_predicted(level, count):
    """numpy's cumulative sum is the plain loop; ``level`` makes the partial sums drift."""
    terms = (np.random.default_rng(0).standard_normal((2000, count)) + level).astype(np.float32)
    error = np.cumsum(terms, axis=1, dtype=np.float32)[:, -1] - terms.sum(axis=1, dtype=np.float64)
    total, squares = terms.sum(axis=1, dtype=np.float64), np.square(terms, dtype=np.float64).sum(axis=1)
    ratio = error / rounded_sum(count, squares, total)
    assert 0.4 < np.sqrt(np.mean(np.square(ratio))) < 1.3


def test_long_sums_are_taken_to_be_added_in_blocks():
    """Twice the terms of one block err like two blocks, not like one of twice the length."""
    one, two = rounded_sum(BLOCK, 1.0, 0.0), rounded_sum(2 * BLOCK, 2.0, 0.0)
    assert two / one == pytest.approx(np.sqrt(2), rel=1e-3)


@pytest.mark.parametrize("op", ["Relu", "Transpose", "Abs", "Max", "Greater", "GlobalMaxPool", "Clip"])
def test_operators_that_only_choose_are_exact(op, normal):
    x = [normal(2, 3, 4, 5)] * (2 if op in ("Max", "Greater") else 1)
    outputs = ops.find(op).evaluate({}, x)
    assert ops.find(op).rounding({}, x, outputs) == [0.0]
