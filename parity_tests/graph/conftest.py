"""The operators' judge: ONNX Runtime on a graph of one node, within the rounding that the operator itself states."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import measure_noise  # noqa: E402

from converter.graph import ops  # noqa: E402

#: Standard deviations that no element may be away: 4.5 are one in 150,000, the rest is what runtimes approximate.
LIMIT = 8.0


@pytest.fixture
def noise_tool():
    """tools/measure_noise.py as a module."""
    return measure_noise


@pytest.fixture
def agrees(noise_tool):
    """Call with an operator, its arrays (the first is fed, the others are constants) and attributes.

    Asserts that shape, dtype and values of all ``outputs`` are ONNX Runtime's; returns ours, in float64.
    """
    pytest.importorskip("onnxruntime")

    def check(op, *arrays, outputs=1, **attributes):
        model = noise_tool.one_node(op, arrays, attributes, outputs)
        measured = noise_tool.run_onnxruntime(model, arrays[0])
        operator, operands = ops.find(op), noise_tool.double(arrays)
        expected = operator.evaluate(attributes, operands)
        rounding = operator.rounding(attributes, operands, expected)
        for value, real, ours, error in zip(model.graph.outputs, measured, expected, rounding, strict=False):
            assert real.shape == ours.shape == tuple(value.shape.numpy())
            assert real.dtype == value.dtype.numpy()
            np.testing.assert_array_less(np.abs(real - ours.astype(np.float64)), LIMIT * error + 1e-300)
        return expected if outputs > 1 else expected[0]

    return check


@pytest.fixture
def normal():
    """normal(*shape): the same float32 standard normal numbers in every run."""
    random = np.random.default_rng(7)
    return lambda *shape: random.standard_normal(shape).astype(np.float32)
