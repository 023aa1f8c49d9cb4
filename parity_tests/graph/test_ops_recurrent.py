"""The resettable recurrences against ONNX Runtime's LSTM and RNN, their resets, and their rounding."""

import numpy as np
import onnx_ir as ir
import pytest

from converter.graph import ops
from converter.graph.model import HUB_DOMAIN

STEPS, SAMPLES, FEATURES, HIDDEN = 6, 3, 5, 4
GATES = {"ResettableLSTM": 4, "ResettableRNN": 1}


@pytest.fixture(params=GATES)
def op(request):
    return request.param


@pytest.fixture
def operands(op, normal):
    """x, continuation, W, R, B of either recurrence; every sequence starts at step 0 and goes on."""
    rows = GATES[op] * HIDDEN
    continuation = np.ones((STEPS, SAMPLES), np.float32)
    continuation[0] = 0
    x, weight, recurrent, bias = (
        normal(STEPS, SAMPLES, FEATURES),
        normal(rows, FEATURES),
        normal(rows, HIDDEN),
        normal(rows),
    )
    return [x, continuation, weight, recurrent, bias]


def run(op, operands):
    doubled = [None if array is None else array.astype(np.float64) for array in operands]
    return ops.find(op, HUB_DOMAIN).evaluate({}, doubled)


def onnxruntime_lstm_or_rnn(op, x, weight, recurrent, bias):
    """ONNX has the gates in the order i, o, f, g, and a second bias."""
    onnxruntime = pytest.importorskip("onnxruntime")
    order = [0, 2, 1, 3] if op == "ResettableLSTM" else [0]

    def reordered(array):
        blocks = array.reshape(len(order), HIDDEN, -1)[order]
        return blocks.reshape(1, len(order) * HIDDEN, *array.shape[1:])

    bias = np.concatenate([reordered(bias), np.zeros((1, len(bias)), np.float32)], axis=1)
    weights = [ir.Value(name=n, const_value=ir.Tensor(a, name=n)) for n, a in
               (("W", reordered(weight)), ("R", reordered(recurrent)), ("B", bias))]  # fmt: skip
    source = ir.Value(name="x", shape=ir.Shape(x.shape), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node(op.removeprefix("Resettable"), [source, *weights], {"hidden_size": HIDDEN}, num_outputs=1)
    node.outputs[0].name, node.outputs[0].type = "h", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([source], node.outputs, nodes=[node], initializers=weights, opset_imports={"": 21}, name="g")
    session = onnxruntime.InferenceSession(ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString())
    return session.run(None, {"x": x})[0][:, 0]


def test_a_sequence_without_resets_is_an_ordinary_recurrence(op, operands):
    real = onnxruntime_lstm_or_rnn(op, operands[0], *operands[2:])
    hidden, last, *_ = run(op, operands)
    np.testing.assert_allclose(hidden, real, atol=1e-6)
    np.testing.assert_array_equal(last, hidden[-1])


def test_continuation_zero_forgets_everything_before(op, operands):
    operands[1][3, 1] = 0
    hidden = run(op, operands)[0]
    fresh = run(op, [operands[0][3:], operands[1][3:], *operands[2:]])[0]
    np.testing.assert_array_equal(hidden[3:, 1], fresh[:, 1])
    assert not np.allclose(hidden[3:, 0], fresh[:, 0])


def test_static_input_acts_like_more_bias(op, operands, normal):
    static = normal(1, GATES[op] * HIDDEN)
    shifted = [*operands[:4], operands[4].astype(np.float64) + static[0]]
    with_static = run(op, [*operands, np.repeat(static, SAMPLES, axis=0)])[0]
    np.testing.assert_allclose(with_static, run(op, shifted)[0], rtol=1e-12)


def test_running_on_from_given_states(op, operands):
    """Cut in two, with the states handed over: the same as in one go."""
    whole = run(op, operands)
    first = run(op, [operands[0][:2], operands[1][:2], *operands[2:]])
    second = run(op, [operands[0][2:], operands[1][2:], *operands[2:], None, *first[1:]])
    np.testing.assert_allclose(np.concatenate([first[0], second[0]]), whole[0], rtol=1e-12)
    for ours, expected in zip(second[1:], whole[1:], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_rounding_is_of_the_size_of_real_float32_errors(op, operands):
    exact = run(op, operands)
    operator = ops.find(op, HUB_DOMAIN)
    single = operator.evaluate({}, operands)
    for real, value, error in zip(
        single, exact, operator.rounding({}, [a.astype(float) for a in operands], exact), strict=True
    ):
        ratio = (real - value) / error
        assert 0.1 < np.sqrt(np.mean(ratio**2)) < 4


@pytest.mark.parametrize(("index", "complaint"), [(1, "continuation"), (2, "input weight"), (4, "bias")])
def test_shapes_that_do_not_fit_are_named(op, operands, index, complaint):
    infos = [ops.TensorInfo(array.shape) for array in operands]
    infos[index] = ops.TensorInfo((2, 2))
    with pytest.raises(ValueError, match=complaint):
        ops.infer(op, HUB_DOMAIN, {}, infos)


def test_inferred_shapes_are_the_evaluated_ones(op, operands):
    inferred = ops.infer(op, HUB_DOMAIN, {}, [ops.TensorInfo(array.shape) for array in operands])
    assert [info.shape for info in inferred] == [array.shape for array in run(op, operands)]
