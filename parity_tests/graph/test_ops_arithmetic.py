"""Arithmetic, comparison and logic against ONNX Runtime."""

import numpy as np
import pytest

from converter.graph import ops

SHAPES = [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((3, 1), (1, 4)), ((4,), (2, 3, 4)), ((2, 3), ())]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Greater", "Less"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_binary(agrees, normal, op, shapes):
    agrees(op, *(normal(*shape).reshape(shape) for shape in shapes))


@pytest.mark.parametrize("shapes", SHAPES)
def test_pow(agrees, normal, shapes):
    agrees("Pow", np.abs(normal(*shapes[0]).reshape(shapes[0])), normal(*shapes[1]).reshape(shapes[1]))


@pytest.mark.parametrize("op", ["Max", "Min", "Sum"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_variadic(agrees, normal, op, count):
    agrees(op, *(normal(2, 1, 4) if index % 2 else normal(3, 4) for index in range(count)))


@pytest.mark.parametrize("op", ["Abs", "Neg", "Exp", "Reciprocal", "Floor", "Ceil", "Round", "Sign"])
def test_unary(agrees, normal, op):
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e6], np.float32) if op != "Exp" else normal(7)
    agrees(op, np.concatenate([halves, 3 * normal(500)]))


@pytest.mark.parametrize("op", ["Log", "Sqrt"])
def test_unary_of_positive_numbers(agrees, normal, op):
    agrees(op, np.concatenate([np.array([1.0, 1e-30, 1e30], np.float32), np.abs(normal(500))]))


def test_integers_stay_integers(agrees):
    a, b = np.array([7, -7, 8, -8], np.int64), np.array([2, 2, -3, -3], np.int64)
    assert agrees("Div", a, b).tolist() == [3, -3, -2, 2]
    assert agrees("Mod", a, b).tolist() == [1, 1, -1, -2]
    assert agrees("Mod", a, b, fmod=1).tolist() == [1, -1, 2, -2]
    assert agrees("Add", a, b).dtype == agrees("Mul", a, b).dtype == np.int64


def test_fmod_of_floats_is_exact(agrees, normal):
    agrees("Mod", 5 * normal(200), normal(200), fmod=1)


@pytest.mark.parametrize("op", ["And", "Or"])
def test_logic(agrees, op):
    agrees(op, np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool))


def test_not_equal_where(agrees, normal):
    agrees("Not", np.array([True, False]))
    agrees("Equal", np.array([1, 2, 3]), np.array([1, 5, 3]))
    agrees("Where", np.array([[True], [False]]), normal(2, 3), normal(3))


@pytest.mark.parametrize("to", [1, 2, 6, 7, 9, 11])
@pytest.mark.parametrize("x", [np.array([0, 1, 7], np.int64), np.array([0, 1.7, 200.2], np.float32)])
def test_cast(noise_tool, x, to):
    """Floating results keep the precision of the evaluation; all others are of the type asked for."""
    pytest.importorskip("onnxruntime")
    real = noise_tool.run_onnxruntime(noise_tool.one_node("Cast", [x], {"to": to}), x)[0]
    ours = ops.find("Cast").evaluate({"to": to}, [x])[0]
    assert ops.infer("Cast", "", {"to": to}, [ops.TensorInfo(x.shape)])[0].dtype == real.dtype.name
    np.testing.assert_array_equal(ours, real)
    assert ours.dtype == real.dtype or np.issubdtype(real.dtype, np.floating)


def test_casting_to_half_precision_is_refused():
    with pytest.raises(ValueError, match="type 10"):
        ops.infer("Cast", "", {"to": 10}, [ops.TensorInfo((2,))])


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match="do not broadcast"):
        ops.infer("Add", "", {}, [ops.TensorInfo((2, 3)), ops.TensorInfo((2, 4))])


def test_an_unknown_operator_is_named():
    with pytest.raises(ValueError, match="no operator Swoosh"):
        ops.infer("Swoosh", "", {}, [])
