from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.errors import ConverterError, ReadError
from converter.frameworks.caffe.format import (
    classify,
    parse_prototxt,
    read_net_binary,
    read_prototxt,
    read_weights,
    runtime_prototxt,
    unique_tops,
)
from parity_tests.frameworks.caffe.encoding import chunk, integer, layer_v2

SHARED = Path(__file__).parents[3].parent / "shared"
FILES = [*SHARED.glob("models/caffe/*/*.*"), *SHARED.glob("traps/caffe/*/*.*")]
NETS = [f for f in FILES if f.suffix == ".prototxt"]
needs_shared = pytest.mark.skipif(not NETS, reason="the folder `shared` beside the repository is absent")

TRAIN_VAL = """
name: "net"
layer { name: "train" type: "Data" top: "data" top: "label" include { phase: TRAIN } }
layer { name: "test" type: "Data" top: "data" top: "label" include { phase: TEST } }
layer { name: "debug" type: "ReLU" bottom: "data" top: "debug"
        include { phase: TEST min_level: 2 } include { stage: "debug" } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 }
        param { name: "w" share_mode: PERMISSIVE } param { lr_mult: 2 } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" exclude { phase: TEST not_stage: "keep" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def names(net):
    return [layer.name for layer in net.layers]


def test_phases_levels_and_stages():
    assert names(parse_prototxt(TRAIN_VAL)) == ["test", "fc", "loss"]
    assert names(parse_prototxt(TRAIN_VAL, phase="TRAIN")) == ["train", "fc", "drop", "loss"]
    assert names(parse_prototxt(TRAIN_VAL, stages=["keep"])) == ["test", "fc", "drop", "loss"]
    assert names(parse_prototxt(TRAIN_VAL, level=2)) == ["test", "debug", "fc", "loss"]
    assert names(parse_prototxt(TRAIN_VAL + 'state { stage: "debug" }')) == ["test", "debug", "fc", "loss"]


def test_a_layer_as_the_reader_sees_it():
    layer = parse_prototxt(TRAIN_VAL, file="net.prototxt").layers[1]
    assert (layer.name, layer.type, layer.bottoms, layer.tops) == ("fc", "InnerProduct", ["data"], ["fc"])
    assert (layer.file, layer.line) == ("net.prototxt", 7)
    assert [(p.name, p.share_mode) for p in layer.params] == [("w", "PERMISSIVE"), ("", "STRICT")]
    assert layer.param("inner_product_param").get("bias_term") is True
    assert layer.param("relu_param").get("negative_slope") == 0


@pytest.mark.parametrize(
    "text, line, complaint",
    [
        (
            'layer { name: "p" type: "Pooling"\n pooling_param { strid: 2 } }',
            2,
            r'layer "p": \(Pooling\) unknown field strid of .*stride',
        ),
        ('layer { name: "p" type: "Pooling"\n poling_param { } }', 2, "did you mean pooling_param"),
        ('name: "n"\nlayerz { }', 2, "unknown field layerz of a net; did you mean layer"),
        (
            'layer { name: "x" type: "Mine"\n convolution_param { nope: 1 } }',
            2,
            "unknown field nope of ConvolutionParameter",
        ),
        ('layer { name: "x" type: "Mine"\n include { phaze: TRAIN } }', 2, "unknown field phaze of a rule"),
        ('layer { name: "x" include { } exclude { } }', 1, "both include and exclude"),
        ('layer { name: "x" type: "Dropout" phase: TRAIN }', 1, "fixed to phase TRAIN"),
        ('layer { name: "x" blobs { } }', 1, "weights within the prototxt"),
    ],
)
def test_mistakes_name_file_line_and_layer(text, line, complaint):
    with pytest.raises(ReadError, match=complaint) as raised:
        parse_prototxt(text, file="net.prototxt")
    assert str(raised.value).startswith(f"net.prototxt:{line}: ")


def test_an_unknown_type_keeps_its_own_parameters():
    net = parse_prototxt('layer { name: "roi" type: "ROIPooling" roi_pooling_param { pooled_w: 3 } }')
    assert [field.name for field in net.layers[0].parameters.unknown] == ["roi_pooling_param"]


@pytest.mark.parametrize("shape", ["dim: 0", "dim: -1", "dim: 9999999999", "dim: 1 } shape { dim: 1 } shape { dim: 1"])
def test_impossible_inputs(shape):
    net = parse_prototxt(f'layer {{ name: "i" type: "Input" top: "a" top: "b" input_param {{ shape {{ {shape} }} }} }}')
    with pytest.raises(ReadError, match='layer "i"'):
        net.inputs  # noqa: B018


def chain(*layers):
    return parse_prototxt(
        'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }'
        + "".join(f'layer {{ name: "{name}" type: "ReLU" {edges} }}' for name, edges in layers)
    )


def test_the_last_value_in_place_keeps_the_name():
    net = chain(
        ("c", 'bottom: "data" top: "c"'), ("bn", 'bottom: "c" top: "c"'), ("relu", 'bottom: "c" top: "c"'),
        ("d", 'bottom: "c" top: "d"'), ("e", 'bottom: "c" bottom: "d" top: "e"'),
    )  # fmt: skip
    assert unique_tops(net) == [
        ([], ["data"]), (["data"], ["c@c"]), (["c@c"], ["c@bn"]), (["c@bn"], ["c"]),
        (["c"], ["d"]), (["c", "d"], ["e"]),
    ]  # fmt: skip


def test_an_input_rewritten_in_place_keeps_its_name():
    net = chain(
        ("pre", 'bottom: "data" top: "data"'), ("bn", 'bottom: "data" top: "data"'), ("c", 'bottom: "data" top: "c"')
    )
    assert unique_tops(net)[1:] == [(["data"], ["data@pre"]), (["data@pre"], ["data@bn"]), (["data@bn"], ["c"])]


def test_names_that_would_collide():
    net = chain(
        ("x", 'bottom: "data" top: "c"'), ("x", 'bottom: "c" top: "c"'), ("x", 'bottom: "c" top: "c"'),
        ("y", 'bottom: "c" top: "c@x"'),
    )  # fmt: skip
    assert [tops for _, tops in unique_tops(net)] == [["data"], ["c@x#2"], ["c@x#3"], ["c"], ["c@x"]]


@pytest.mark.parametrize(
    "layers, complaint",
    [
        ([("a", 'bottom: "gone" top: "a"')], 'unknown blob "gone"'),
        ([("a", 'bottom: "a" top: "a"')], 'unknown blob "a"'),
        ([("a", 'bottom: "data" top: "a"'), ("b", 'bottom: "data" top: "a"')], "exists already"),
        ([("a", 'bottom: "data" top: "a"'), ("b", 'bottom: "data" top: "data"')], "after something else has read it"),
        ([("a", 'bottom: "data" bottom: "data" top: "data"')], "after something else has read it"),
    ],
)
def test_wiring_that_caffe_refuses(layers, complaint):
    with pytest.raises(ReadError, match=complaint):
        unique_tops(chain(*layers))


def test_runtime_text_has_nothing_in_place_and_only_what_is_kept():
    net = parse_prototxt(
        'input: "data" layer { name: "p" type: "Pooling" bottom: "data" top: "p" include { phase: TEST } '
        "pooling_param { engine: CUDNN kernel_size: 2 round_mode: FLOOR } }"
        'layer { name: "r" type: "ReLU" bottom: "p" top: "p" loss_weight: 1 }'
        'layer { name: "l" type: "Silence" bottom: "p" }'
    )
    text = runtime_prototxt(net, net.layers[:3], {"data": (1, 2, 8, 8)})
    again = parse_prototxt(text)
    assert again.inputs == {"data": (1, 2, 8, 8)}
    assert [(layer.bottoms, layer.tops) for layer in again.layers] == [
        ([], ["data"]),
        (["data"], ["p@p"]),
        (["p@p"], ["p"]),
    ]
    assert "ceil_mode: false" in text
    assert not any(word in text for word in ("engine", "round_mode", "include", "loss_weight", "Silence"))
    with pytest.raises(ReadError, match='no shape of the input "data"'):
        runtime_prototxt(net)


def test_the_net_within_a_caffemodel(tmp_path):
    path = tmp_path / "net.caffemodel"
    pooling = chunk(121, integer(2, 3))
    path.write_bytes(
        chunk(1, "n")
        + layer_v2("p", "Pooling", [b"\x2a\x04abcd"])
        + chunk(100, chunk(1, "q") + integer(10, 0) + pooling)
    )
    net = read_net_binary(path)
    assert (net.name, names(net)) == ("n", ["p", "q"])
    assert net.layers[1].param("pooling_param").get("kernel_size") == 3
    # FLOOR in one Caffe, ceil in another
    path.write_bytes(chunk(100, chunk(1, "q") + chunk(2, "Pooling") + chunk(121, integer(13, 1))))
    with pytest.raises(ReadError, match='layer "q".*give the prototxt'):
        read_net_binary(path)


def test_files_given_the_wrong_way_round(tmp_path):
    binary, text = tmp_path / "a", tmp_path / "b"
    binary.write_bytes(layer_v2("c", "ReLU", []))
    text.write_text('layer { name: "c" type: "ReLU" }')
    with pytest.raises(ReadError, match="not a net prototxt: the file is weights"):
        read_prototxt(binary)
    with pytest.raises(ReadError, match="not Caffe weights: the file is a net as text"):
        read_weights(text)


def test_comments_in_another_encoding(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes("# \u5377\u79ef\n".encode("gbk") + b'layer { name: "c" }')
    assert read_prototxt(path).layers[0].line == 2


@needs_shared
@pytest.mark.parametrize("path", NETS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_real_nets_keep_their_wiring_in_the_runtime_text(path):
    net = read_prototxt(path)
    wiring = unique_tops(net)
    again = parse_prototxt(runtime_prototxt(net))
    assert [(layer.bottoms, layer.tops) for layer in again.layers] == wiring
    assert [(layer.name, layer.type) for layer in again.layers] == [(layer.name, layer.type) for layer in net.layers]
    tops = [top for _, layer_tops in wiring for top in layer_tops]
    assert len(tops) == len(set(tops))
    assert {top for layer in net.layers for top in layer.tops} <= set(tops)


@needs_shared
@pytest.mark.parametrize(
    "path", [f for f in FILES if f.suffix == ".caffemodel"], ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_real_weights_and_the_net_within(path):
    assert classify(path) == "caffemodel"
    if path.parent.name == "refuse-hostile-sizes":
        with pytest.raises(ReadError, match=path.name):
            read_weights(path)
        return
    weights = read_weights(path)
    assert all(blob.array().shape == blob.shape and blob.offset for blobs in weights.layers.values() for blob in blobs)
    assert {layer.name for layer in read_net_binary(path).layers} <= set(weights.layers)


MUTATED = [f for f in FILES if f.suffix in (".prototxt", ".caffemodel") and f.stat().st_size < 30_000]


@needs_shared
@settings(max_examples=200, deadline=5000)
@given(st.data())
def test_mutated_real_files_give_converter_errors_only(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(MUTATED)).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1)) if content else 0
        mutation = data.draw(st.sampled_from(["flip", "cut", "splice"]))
        if mutation == "flip" and content:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif mutation == "cut":
            del content[at:]
        else:
            content[at:at] = content[at // 2 : at // 2 + 100]
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    for read in (
        lambda: runtime_prototxt(read_prototxt(path)),
        lambda: read_weights(path),
        lambda: read_net_binary(path),
    ):
        try:
            read()
        except ConverterError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
