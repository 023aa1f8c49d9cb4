import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ReadError
from converter.frameworks.caffe.wire import FIXED32, LENGTH, VARINT, WireFile, encode_varint
from parity_tests.frameworks.caffe.encoding import chunk, integer, packed, unpacked, varint


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    def write(data):
        path = tmp_path_factory.mktemp("wire") / "file"
        path.write_bytes(data)
        return WireFile(path)

    return write


def all_fields(file):
    return list(file.fields(0, file.size))


def test_the_four_wire_types(written):
    file = written(integer(1, 300) + chunk(100, "abc") + unpacked(5, [1.0, 2.0, 3.0]) + unpacked(8, [0.5], "<d"))
    found = [(f.number, f.wire, f.value, f.count) for f in all_fields(file)]
    assert found == [(1, VARINT, 300, 1), (100, LENGTH, 0, 1), (5, FIXED32, 0, 3), (8, 1, 0, 1)]


def test_a_run_of_unpacked_floats_is_one_step_and_ends_where_the_key_changes(written):
    file = written(unpacked(5, range(5000)) + unpacked(6, [0] * 3) + unpacked(5, [7.0]))
    assert [(f.number, f.count) for f in all_fields(file)] == [(5, 5000), (6, 3), (5, 1)]


@pytest.mark.parametrize(
    "data, complaint",
    [
        (b"\x0a\x05abc", "claims 5 bytes of the 3 left"),
        (b"\x0a" + varint(2**62), "claims 4,611"),
        (b"\x08\x80", "ends too early"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than ten bytes"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0e", "wire type 6"),
        (b"\x00\x01", "field number 0"),
        (b"\x2d\x00\x00", "needs 4 bytes"),
    ],
)
def test_damage_names_the_byte(written, data, complaint):
    with pytest.raises(ReadError, match=complaint) as raised:
        all_fields(written(data))
    assert "at byte" in str(raised.value)


def test_decoding_follows_the_table(written):
    pooling = integer(1, 1) + integer(2, 3) + integer(12, 1) + integer(13, 1)
    layer = chunk(1, "p") + chunk(121, pooling) + chunk(121, integer(2, 5)) + packed([0.1, 2], 5)
    message = written(layer).message("LayerParameter", 0, len(layer), frozenset())
    decoded = message.get("pooling_param")
    assert (message.get("name"), message.all("loss_weight")) == ("p", [0.1, 2.0])
    # a singular message that comes twice is merged, of a scalar the last wins
    assert (decoded.get("pool"), decoded.get("kernel_size"), decoded.get("global_pooling")) == ("AVE", 5, True)
    # 13 is ceil_mode in one fork and round_mode in another
    assert [field.name for field in decoded.unknown] == ["field 13"]


def test_negative_integers_and_both_forms_of_repeated_ones(written):
    data = integer(1, -1) + chunk(1, varint(3) + varint(-2))
    assert written(data).message("BlobShape", 0, len(data), frozenset()).all("dim") == [-1, 3, -2]


def test_a_field_of_the_wrong_wire_type_is_refused(written):
    data = integer(1, 5)
    with pytest.raises(ReadError, match="name should be a length-delimited value"):
        written(data).message("LayerParameter", 0, len(data), frozenset())


@given(st.integers(0, 2**64 - 1))
def test_varints_as_the_writer_makes_them(value):
    assert encode_varint(value) == varint(value)
