import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import ReadError
from converter.frameworks.caffe.message import Message
from converter.frameworks.caffe.schema import ENUMS, message_type
from converter.frameworks.caffe.text import float32_value, format_message, parse_message


def parse_one(text, type="PoolingParameter"):
    return parse_message(text, type, "net.prototxt")


@pytest.mark.parametrize(
    "text, field, value",
    [
        ("kernel_size: 3", "kernel_size", 3),
        ("kernel_size:0x1F,stride:2;", "kernel_size", 31),
        ("kernel_size: 010  # octal", "kernel_size", 8),
        ("pool: AVE", "pool", "AVE"),
        ("pool: 1", "pool", "AVE"),
        ("global_pooling: true", "global_pooling", True),
        ("global_pooling: 0", "global_pooling", False),
        ("ceil_mode: f", "ceil_mode", False),
    ],
)
def test_values_of_every_spelling(text, field, value):
    assert parse_one(text).get(field) == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("1", 1.0),
        ("0.1f", 0.1),
        ("-.5", -0.5),
        ("- 1.", -1.0),
        ("1e-5", 1e-5),
        ("-inf", float("-inf")),
        ("1e400", float("inf")),
    ],
)
def test_floats(text, value):
    assert parse_message(f"negative_slope: {text}", "ReLUParameter").get("negative_slope") == value


def test_lists_separators_and_both_kinds_of_braces():
    message = parse_message("input_dim: [1, 3]; input_dim: 8, state < stage: 'a' \"b\" 'c\\x41\\102\\n' >")
    assert message.all("input_dim") == [1, 3, 8]
    assert message.get("state").all("stage") == ["abcAB\n"]


def test_defaults_are_explicit_ones_only():
    pooling = parse_one("")
    assert (pooling.get("stride"), pooling.get("pool"), pooling.get("ceil_mode")) == (1, "MAX", True)
    assert pooling.get("kernel_h") is None
    assert not pooling.has("stride")
    layer = parse_message("", "LayerParameter")
    assert layer.get("scale_param").get("bias_term") is False


def test_asking_for_what_is_not_there_is_a_programming_error():
    with pytest.raises(KeyError):
        parse_one("").get("strid")
    with pytest.raises(TypeError):
        parse_message("").get("layer")
    with pytest.raises(TypeError):
        parse_one("").all("stride")


# what real Caffe aborts on, each tried with it
@pytest.mark.parametrize(
    "text, complaint",
    [
        ("kernel_size: 2 kernel_size: 2", "second time"),
        ("kernel_size 2", "expected :"),
        ("kernel_size: -2", "out of the range"),
        ("kernel_size: 2.0", "must be an integer"),
        ("kernel_size: 089", "octal"),
        ("kernel_size: [2]", "not a list"),
        ("kernel_size:2stride:1", "cannot understand"),
        ("kernel_size: 2,, stride: 1", "name of a field"),
        ("kernel_size: 4294967296", "out of the range"),
        ("pool: max", "did you mean MAX"),
        ("pool: 7", "MAX, AVE, STOCHASTIC"),
        ('pool: "MAX"', "expected a value"),
        ("ceil_mode: TRUE", "true or false"),
        ("ceil_mode: 2", "true or false"),
        ("kernel_size:", "too early"),
        ("kernel_size: 2 }", "name of a field"),
        ("[x.y]: 1", "name of a field"),
    ],
)
def test_mistakes_have_a_line(text, complaint):
    with pytest.raises(ReadError, match=complaint) as raised:
        parse_one("# a comment\n\n" + text)
    assert (raised.value.file, raised.value.line) == ("net.prototxt", 3)


@pytest.mark.parametrize(
    "text",
    [
        "name: abc",
        'name: "abc',
        'name: "a\\q"',
        "name: 'a\nb'",
        "layer { relu_param: [{}] }",
        "layer {",
        "layer { name: 'a' >",
    ]
    + [
        "layer { relu_param {} relu_param {} }",
        "input_dim: [1, 2,]",
        'name: "\udce9"',
        "layer: 3",
        "name: '\\U00110000'",
    ],
)
def test_other_mistakes(text):
    with pytest.raises(ReadError):
        parse_message(text)


def test_unknown_fields_are_kept_with_their_line():
    message = parse_message('layer {\n name: "a"\n roi_param { w: 3 x: [1, "s" "t"] y { z: -4 } }\n}')
    (unknown,) = message.all("layer")[0].unknown
    assert (unknown.name, unknown.line) == ("roi_param", 3)
    inner = {field.name: field.value for field in unknown.value.unknown}
    assert (inner["w"], inner["x"]) == ("3", ["1", '"s" "t"'])
    assert parsed_again(message) == plain(message)


def test_deep_nesting_is_refused_and_long_files_take_linear_time():
    with pytest.raises(ReadError, match="100 deep"):
        parse_message("a { " * 10_000)
    for hostile in (
        "1" * 300_000 + "x",
        "kernel_size: " + "9" * 300_000,
        '"' + "\\" * 300_001,
        "#" * 300_000,
        "a: 1 " * 60_000,
    ):
        begin = time.perf_counter()
        with pytest.raises(ReadError):
            parse_one(hostile + "\n}")
        assert time.perf_counter() - begin < 5


def plain(message):
    fields = {k: [plain(v) if isinstance(v, Message) else v for v in vs] for k, vs in message.fields.items()}
    return (
        message.type,
        fields,
        [(u.name, plain(u.value) if isinstance(u.value, Message) else u.value) for u in message.unknown],
    )


def parsed_again(message):
    return plain(parse_message(format_message(message), message.type))


SCALARS = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "float": st.floats(width=32, allow_nan=False).map(float32_value),
    "double": st.floats(allow_nan=False),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "bytes": st.binary(max_size=8),
}


def values_of(field, depth):
    if field.is_message:
        return messages(field.kind, depth - 1)
    return st.sampled_from(sorted(ENUMS[field.kind])) if field.is_enum else SCALARS[field.kind]


@st.composite
def messages(draw, type, depth=3):
    message = Message(type)
    fields = [f for f in message_type(type).by_name.values() if depth or not f.is_message]
    for field in draw(st.lists(st.sampled_from(fields), max_size=4, unique=True)) if fields else []:
        count = draw(st.integers(1, 3)) if field.repeated else 1
        message.set(field.name, *(draw(values_of(field, depth)) for _ in range(count)))
    return message


@given(messages("NetParameter"))
def test_every_message_survives_text(message):
    assert parsed_again(message) == plain(message)


@given(st.text(st.sampled_from(list("ab{}<>[]:;,-#\"'\\ \n019.xef")), max_size=60))
def test_nothing_but_read_errors_comes_out(text):
    try:
        parse_message(text)
    except ReadError as error:
        assert error.line >= 1
