"""Operators that move values, against ONNX Runtime: bit for bit."""

import numpy as np
import pytest

from converter.graph import ops


def ints(*numbers):
    return np.array(numbers, np.int64)


@pytest.fixture
def x(normal):
    return normal(2, 3, 4, 5)


def test_identity_and_dropout(agrees, x):
    assert (agrees("Identity", x) == x).all()
    assert (agrees("Dropout", x, np.array(0.5, np.float32)) == x).all()


@pytest.mark.parametrize("perm", [None, (0, 2, 3, 1), (3, 1, 0, 2)])
def test_transpose(agrees, x, perm):
    agrees("Transpose", x, **({} if perm is None else {"perm": perm}))


@pytest.mark.parametrize(
    "operands",
    [
        ([1], [3], [3]),
        ([0, -3], [100, -1], [1, 2]),
        ([-1], [-(2**62)], [3], [-1]),
        ([3, 1], [0, 5], [3, 2], [-2, 2]),
        ([1, 1], [2, 2]),
    ],
)
def test_slice(agrees, x, operands):
    agrees("Slice", x, *(ints(*operand) for operand in operands))


def test_squeeze_unsqueeze_expand(agrees, normal):
    agrees("Squeeze", normal(1, 3, 1, 2), ints(0, -2))
    agrees("Squeeze", normal(1, 3, 1, 2))
    agrees("Unsqueeze", normal(3, 2), ints(0, -1))
    agrees("Expand", normal(3, 1), ints(2, 1, 4))


@pytest.mark.parametrize("shape", [(0, -1), (2, 0, -1), (120,), (-1, 5, 4), (0, 0, 0, 0), (6, 20)])
def test_reshape(agrees, x, shape):
    agrees("Reshape", x, ints(*shape))


@pytest.mark.parametrize("axis", [0, 1, 2, 4, -1])
def test_flatten(agrees, x, axis):
    agrees("Flatten", x, axis=axis)


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_concat(agrees, x, axis):
    agrees("Concat", x, x[:, ::-1].copy(), x, axis=axis)


def test_split(agrees, x):
    agrees("Split", x, ints(1, 2), outputs=2, axis=1)
    agrees("Split", x, outputs=2, axis=-2, num_outputs=2)
    agrees("Split", x, outputs=2, axis=3, num_outputs=2)


def test_tile(agrees, x):
    agrees("Tile", x, ints(1, 2, 1, 3))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(agrees, x, mode):
    agrees("Pad", x, ints(0, 1, 2, 0, 0, 1, 1, 3), mode=mode)


def test_pad_with_a_value_axes_and_negative_numbers(agrees, x):
    agrees("Pad", x, ints(0, 0, 1, 2, 0, 0, 0, 1), np.array(-1.5, np.float32))
    agrees("Pad", x, ints(2, 1), None, ints(-1), mode="edge")
    agrees("Pad", x, ints(0, 0, -1, 2, 0, 0, -1, -2))


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_gather(agrees, x, axis):
    agrees("Gather", x, ints(1, 0, -1, 1).reshape(2, 2), axis=axis)


def test_compress_has_as_many_entries_as_are_chosen(x):
    """Inference knows the most there can be, evaluation how many there are."""
    infos = [ops.TensorInfo(x.shape), ops.TensorInfo((3,), "bool")]
    assert ops.infer("Compress", "", {"axis": 1}, infos)[0].shape == (2, 3, 4, 5)
    kept = ops.find("Compress").evaluate({"axis": 1}, [x, np.array([True, False, True])])[0]
    np.testing.assert_array_equal(kept, x[:, [0, 2]])


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(agrees, normal, mode):
    agrees("DepthToSpace", normal(2, 12, 3, 4), blocksize=2, mode=mode)


def test_space_to_depth(agrees, normal):
    agrees("SpaceToDepth", normal(2, 3, 4, 6), blocksize=2)


@pytest.mark.parametrize(
    ("op", "operands", "attributes", "complaint"),
    [
        ("Reshape", [ints(7, -1)], {}, "do not fit"),
        ("Reshape", [ints(-1, -1)], {}, "cannot be reshaped"),
        ("Reshape", [ints(2, 3, 4, 5, 0)], {}, "lacks"),
        ("Transpose", [], {"perm": (0, 1, 2, 2)}, "twice"),
        ("Transpose", [], {"perm": (0, 1)}, "does not fit"),
        ("Slice", [ints(0), ints(1), ints(4)], {}, "axis 4"),
        ("Slice", [ints(0), ints(1), ints(0), ints(0)], {}, "not 0"),
        ("Squeeze", [ints(1)], {}, "size 1"),
        ("Expand", [ints(7)], {}, "broadcast"),
        ("Split", [ints(1, 1)], {"axis": 1}, "do not make up"),
        ("Tile", [ints(1, 2)], {}, "do not fit"),
        ("Pad", [ints(0, 0, 4, 0, 0, 0, 0, 0)], {"mode": "reflect"}, "mirrored"),
        ("Pad", [ints(0, 1)], {}, "need 8 pads"),
        ("Gather", [ints(2)], {}, "outside"),
        ("DepthToSpace", [], {"blocksize": 2}, "channels"),
        ("SpaceToDepth", [], {"blocksize": 2}, "blocks"),
    ],
)
def test_what_does_not_fit_is_refused(op, operands, attributes, complaint):
    infos = [ops.TensorInfo(array.shape, "int64", array) for array in operands]
    with pytest.raises(ValueError, match=complaint):
        ops.infer(op, "", attributes, [ops.TensorInfo((2, 3, 4, 5)), *infos])


def test_a_computed_shape_is_refused():
    with pytest.raises(ValueError, match="shape must be a constant"):
        ops.infer("Reshape", "", {}, [ops.TensorInfo((2, 3)), ops.TensorInfo((2,), "int64")])


def test_concat_of_unequal_shapes_is_refused():
    with pytest.raises(ValueError, match="cannot be joined"):
        ops.infer("Concat", "", {"axis": 1}, [ops.TensorInfo((2, 3, 4)), ops.TensorInfo((2, 3, 5))])
