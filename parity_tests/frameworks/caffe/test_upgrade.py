import pytest

from converter.errors import ReadError
from converter.frameworks.caffe.format import parse_prototxt

V0 = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "padded" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1 biasterm: false
                 weight_filler { type: "xavier" } blobs_lr: 1 weight_decay: 0.5 } bottom: "padded" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 2 pad: 1 } bottom: "conv1" top: "pool1" }
layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.5 beta: 0.25 k: 2 } bottom: "pool1" top: "norm1" }
layers { layer { name: "fc" type: "innerproduct" num_output: 2 } bottom: "norm1" top: "fc" }
layers { layer { name: "prob" type: "softmax" num_output: 9 } bottom: "fc" top: "prob" }
"""


def test_v0_to_v2_with_padding_dissolved():
    net = parse_prototxt(V0)
    assert net.dialect == "V0"
    assert net.inputs == {"data": (1, 3, 9, 9)}
    assert [layer.type for layer in net.layers] == ["Input", "Convolution", "Pooling", "LRN", "InnerProduct", "Softmax"]
    convolution = net.layers[1].param("convolution_param")
    assert net.layers[1].bottoms == ["data"]
    assert [convolution.all(f) for f in ("pad", "kernel_size", "stride")] == [[2], [3], [2]]
    assert (convolution.get("num_output"), convolution.get("bias_term")) == (4, False)
    assert convolution.get("weight_filler").get("type") == "xavier"
    (specification,) = net.layers[1].parameters.all("param")
    assert (specification.get("lr_mult"), specification.get("decay_mult")) == (1, 0.5)
    assert (net.layers[2].param("pooling_param").get("pool"), net.layers[2].param("pooling_param").get("pad")) == (
        "AVE",
        1,
    )
    assert net.layers[3].param("lrn_param").get("k") == 2


@pytest.mark.parametrize(
    "text, complaint",
    [
        ('layers { layer { name: "a" type: "relu" } bottom: "gone" top: "a" }', 'unknown blob "gone"'),
        ('layers { layer { name: "a" type: "eltwise" } }', 'no layer type "eltwise"'),
        ('layers { layer { name: "a" type: "relu" } } layers { name: "b" type: RELU }', "V1 form among"),
        ('layers { name: "b" type: RELU } layer { name: "c" }', "both `layer` and `layers`"),
        (
            'input: "d" input_shape { dim: 1 }'
            'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "d" top: "p" }'
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
            "must stand alone before a conv or pool",
        ),
    ],
)
def test_what_cannot_be_upgraded(text, complaint):
    with pytest.raises(ReadError, match=complaint) as raised:
        parse_prototxt(text)
    assert raised.value.line == 1


def test_v1_types_by_name_and_number_and_its_param_lists():
    net = parse_prototxt("""
        layers { name: "a" type: CONVOLUTION top: "a" param: "shared" param: "" blob_share_mode: PERMISSIVE blobs_lr: 1
                 convolution_param { num_output: 2 } include { phase: TEST } }
        layers { name: "b" type: 21 bottom: "a" }
        layers { name: "c" type: DATA top: "c" data_param { scale: 0.5 crop_size: 7 batch_size: 3 } }
    """)
    first, second, data = net.layers
    assert (net.dialect, first.type, second.type) == ("V1", "Convolution", "SoftmaxWithLoss")
    assert [(p.name, p.share_mode) for p in first.params] == [("shared", "PERMISSIVE"), ("", "STRICT")]
    assert first.param("convolution_param").get("num_output") == 2
    transformation = data.param("transform_param")
    assert (transformation.get("scale"), transformation.get("crop_size")) == (0.5, 7)
    assert data.param("data_param").get("batch_size") == 3
    assert not data.param("data_param").has("scale")


def test_input_fields_become_the_first_layer():
    net = parse_prototxt(
        'layer { name: "x" type: "ReLU" bottom: "b" top: "x" }'
        'input: "a" input: "b" input_shape { dim: 2 } input_shape {}'
    )
    assert (net.layers[0].name, net.layers[0].type, net.layers[0].tops) == ("input", "Input", ["a", "b"])
    assert net.inputs == {"a": (2,), "b": ()}
    assert parse_prototxt('input: "a"').inputs == {"a": None}


@pytest.mark.parametrize("dims", ["input_dim: [1, 2]", "input_shape {} input_shape {}", "input_dim: 1 input_shape {}"])
def test_input_shapes_that_do_not_fit(dims):
    with pytest.raises(ReadError, match="input"):
        parse_prototxt('input: "a" ' + dims)


@pytest.mark.parametrize(
    "text, ceil", [("round_mode: FLOOR", False), ("round_mode: CEIL", True), ("ceil_mode: false", False), ("", True)]
)
def test_both_dialects_of_pooling(text, ceil):
    net = parse_prototxt(f'layer {{ name: "p" type: "Pooling" pooling_param {{ {text} }} }}')
    assert net.layers[0].param("pooling_param").get("ceil_mode") is ceil
    assert not net.layers[0].param("pooling_param").has("round_mode")


def test_contradicting_dialects():
    with pytest.raises(ReadError, match="contradict"):
        parse_prototxt('layer { type: "Pooling" pooling_param { round_mode: FLOOR ceil_mode: true } }')


def test_three_param_blocks_of_batch_norm_are_cleared():
    blocks = "param { name: 'x' } " * 3
    net = parse_prototxt(f'layer {{ type: "BatchNorm" {blocks} }} layer {{ type: "Scale" {blocks} }}')
    assert [len(layer.params) for layer in net.layers] == [0, 3]
