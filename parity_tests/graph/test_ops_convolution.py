"""Conv, ConvTranspose, Gemm, MatMul against ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from converter.graph import ops
from converter.graph.ops import convolution

SPACE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def convolutions(draw):
    """Rank, sizes, groups and attributes of a convolution."""
    rank = draw(st.integers(1, 3))
    small = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    group = draw(st.sampled_from([1, 1, 2, 4]))
    return {
        "batch": draw(st.integers(1, 3)),
        "inner": draw(st.integers(1, 3)),
        "outer": draw(st.integers(1, 3)),
        "size": draw(st.lists(st.integers(3, 9), min_size=rank, max_size=rank)),
        "kernel": draw(small),
        "bias": draw(st.booleans()),
        "attributes": {
            "group": group,
            "strides": draw(small),
            "dilations": draw(small),
            "pads": draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank)),
        },
    }


@SPACE
@given(case=convolutions())
def test_conv(agrees, normal, case):
    group = case["attributes"]["group"]
    x = normal(case["batch"], group * case["inner"], *case["size"])
    weight = normal(group * case["outer"], case["inner"], *case["kernel"])
    try:
        ops.infer("Conv", "", case["attributes"], [ops.TensorInfo(x.shape), ops.TensorInfo(weight.shape)])
    except ValueError:
        assume(False)
    agrees("Conv", x, weight, *([normal(group * case["outer"])] if case["bias"] else []), **case["attributes"])


@SPACE
@given(case=convolutions(), data=st.data())
def test_conv_transpose(agrees, normal, case, data):
    group, strides = case["attributes"]["group"], case["attributes"]["strides"]
    extra = [data.draw(st.integers(0, stride - 1)) for stride in strides]
    x = normal(case["batch"], group * case["inner"], *case["size"])
    weight = normal(group * case["inner"], case["outer"], *case["kernel"])
    attributes = case["attributes"] | {"output_padding": extra}
    try:
        ops.infer("ConvTranspose", "", attributes, [ops.TensorInfo(x.shape), ops.TensorInfo(weight.shape)])
    except ValueError:
        assume(False)
    agrees("ConvTranspose", x, weight, *([normal(group * case["outer"])] if case["bias"] else []), **attributes)


@pytest.mark.parametrize("buffer", [1, 1 << 12, 1 << 14])
def test_conv_in_chunks_is_the_same(agrees, normal, monkeypatch, buffer):
    """However little the column buffer holds: a row of one sample, some rows, some samples."""
    monkeypatch.setattr(convolution, "BUFFER", buffer)
    agrees("Conv", normal(5, 4, 9, 7), normal(6, 2, 3, 3), normal(6), group=2, pads=[1, 0, 1, 2])
    agrees("ConvTranspose", normal(5, 4, 9, 7), normal(4, 3, 3, 3), group=2, strides=[2, 1])


def test_transposed_convolution_is_the_adjoint_of_convolution(normal):
    """<conv(x), y> = <x, conv_transpose(y)>, whatever the stride, dilation and padding."""
    x, y, weight = (
        array.astype(np.float64) for array in (normal(1, 4, 11, 11), normal(1, 6, 4, 4), normal(6, 2, 3, 3))
    )
    attributes = {"group": 2, "strides": [2, 2], "dilations": [2, 2], "pads": [0, 0, 0, 0]}
    forward = ops.find("Conv").evaluate(attributes, [x, weight])[0]
    back = ops.find("ConvTranspose").evaluate(attributes, [y, weight])[0]
    assert forward.shape == y.shape and back.shape == x.shape
    assert np.vdot(forward, y) == pytest.approx(np.vdot(x, back), rel=1e-12)


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [None, (), (5,), (3, 1), (3, 5)])
def test_gemm(agrees, normal, trans_a, trans_b, bias):
    a, b = normal(*(4, 3) if trans_a else (3, 4)), normal(*(5, 4) if trans_b else (4, 5))
    operands = [a, b] if bias is None else [a, b, normal(*bias).reshape(bias)]
    agrees("Gemm", *operands, transA=trans_a, transB=trans_b, alpha=0.5, beta=2.0)


@pytest.mark.parametrize(("a", "b"), [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (7, 4, 2)), ((4,), (4, 5))])
def test_matmul(agrees, normal, a, b):
    agrees("MatMul", normal(*a), normal(*b))


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "complaint"),
    [
        ("Conv", [(1, 3, 8, 8), (4, 2, 3, 3)], {}, "has 3 channels"),
        ("Conv", [(1, 3, 8, 8), (4, 3, 3)], {}, "same rank"),
        ("Conv", [(1, 3, 8, 8), (4, 3, 3, 3), (5,)], {}, "bias"),
        ("Conv", [(1, 4, 8, 8), (3, 2, 3, 3)], {"group": 2}, "groups"),
        ("Conv", [(1, 3, 2, 8), (4, 3, 3, 3)], {}, "does not fit"),
        ("Conv", [(1, 3, 8, 8), (4, 3, 3, 3)], {"strides": [0, 1]}, "positive"),
        ("Conv", [(1, 3, 8, 8), (4, 3, 3, 3)], {"auto_pad": "SAME_UPPER"}, "auto_pad"),
        ("ConvTranspose", [(1, 3, 8, 8), (4, 3, 3, 3)], {}, "needs 4"),
        ("Gemm", [(2, 3), (4, 5)], {}, "the weight"),
        ("Gemm", [(2, 3, 1), (3, 5)], {}, "two matrices"),
        ("MatMul", [(2, 3), (4, 5)], {}, "multiplied"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(op, shapes, attributes, complaint):
    with pytest.raises(ValueError, match=complaint):
        ops.infer(op, "", attributes, [ops.TensorInfo(shape) for shape in shapes])
