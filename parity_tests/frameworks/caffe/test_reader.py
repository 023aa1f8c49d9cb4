"""How files become a model: wiring, training nets, inputs, weights, cuts, and what is refused."""

import numpy as np
import pytest

from converter.errors import ConverterError, ReadError, UnsupportedLayers, UsageError
from converter.frameworks.caffe import format, reader
from converter.graph.evaluate import evaluate
from converter.graph.model import Origin, Preprocessing
from parity_tests.frameworks.caffe.reading import layer, net, normal, random_inputs, read, read_text

CONVOLUTION = "convolution_param { num_output: 4 kernel_size: 3 }"
WEIGHTS = normal((4, 3, 3, 3), (4,))

TRAINING = """
name: "trained"
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.5 crop_size: 6 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "train_lmdb" batch_size: 64 } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.5 crop_size: 6 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "test_lmdb" batch_size: 100 } }
layer { name: "ignored" type: "Silence" bottom: "label" }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
TRAINED = {"conv": WEIGHTS, "fc": normal((2, 64), (2,))}


def outputs(model):
    return [value.name for value in model.graph.outputs]


def test_values_are_called_as_the_blobs_and_stages_in_place_by_their_layer(tmp_path):
    text = net(
        (1, 3, 6, 6),
        layer("Convolution", tops="x", parameters=CONVOLUTION, name="conv"),
        layer("ReLU", "x", "x", name="relu"),
    )
    model = read_text(tmp_path, text, {"conv": WEIGHTS})
    assert [node.outputs[0].name for node in model.graph] == ["x@conv", "x"]
    assert [str(Origin.of(node)).split("/")[-1] for node in model.graph] == [
        'deploy.prototxt:2: layer "conv" (Convolution)',
        'deploy.prototxt:3: layer "relu" (ReLU)',
    ]
    assert sorted(model.graph.initializers) == ["conv.bias", "conv.weight"]


def test_a_blob_called_like_an_initializer_keeps_its_name(tmp_path):
    text = net((1, 3, 6, 6), layer("Convolution", tops="conv.weight", parameters=CONVOLUTION, name="conv"))
    assert outputs(read_text(tmp_path, text, {"conv": WEIGHTS})) == ["conv.weight"]


def test_a_training_net_becomes_its_inference_part(tmp_path):
    model = read_text(tmp_path, TRAINING, TRAINED)
    assert model.input_shapes() == {"data": (1, 3, 6, 6)}
    assert outputs(model) == ["loss"]
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Dropout", "Flatten", "Gemm", "Softmax"]
    assert model.preprocessing == Preprocessing("bgr", crop=(6, 6), mean=(104, 117, 123), scale=0.5)
    assert any("read as Softmax" in note for note in model.notes)


@pytest.mark.parametrize(
    "loss, expected",
    [
        ('type: "SigmoidCrossEntropyLoss" bottom: "fc" bottom: "label" top: "loss"', [("Sigmoid", "loss")]),
        ('type: "SoftmaxWithLoss" bottom: "fc" bottom: "label"', [("Softmax", "loss")]),
        ('type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" top: "prob"', [("Softmax", "prob")]),
        ('type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "loss"', [("Gemm", "fc")]),
    ],
)
def test_a_loss_is_what_it_means_at_inference(tmp_path, loss, expected):
    text = TRAINING.replace('type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"', loss)
    model = read_text(tmp_path, text, TRAINED)
    assert [(value.producer().op_type, value.name) for value in model.graph.outputs] == expected


def test_a_loss_beside_its_own_softmax_is_dropped(tmp_path):
    model = read_text(tmp_path, TRAINING + layer("Softmax", "fc", "prob", name="prob"), TRAINED)
    assert outputs(model) == ["prob"]


def test_stored_layers_that_the_net_lacks_are_noted(tmp_path):
    model = read_text(tmp_path, TRAINING, TRAINED | {"aux": WEIGHTS})
    assert any("1 of the layers in" in note and note.endswith("left out: aux") for note in model.notes)


def test_a_training_net_with_data_in_its_training_phase_alone(tmp_path):
    text = TRAINING.replace("include { phase: TEST }\n  transform", "include { phase: TRAIN stage: 'x' }\n  transform")
    assert read_text(tmp_path, text, TRAINED).input_shapes() == {"data": (1, 3, 6, 6)}


def test_the_shape_of_data_is_asked_for_where_nothing_says_it(tmp_path):
    text = TRAINING.replace("crop_size: 6", "")
    with pytest.raises(ReadError, match="--input-shape data="):
        read_text(tmp_path, text, TRAINED)
    model = read_text(tmp_path, text, TRAINED, input_shapes={None: (2, 3, 6, 6)})
    assert model.input_shapes() == {"data": (2, 3, 6, 6)}


def test_an_input_shape_of_another_name_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match='no input "image"; it has data'):
        read_text(tmp_path, TRAINING, TRAINED, input_shapes={"image": (1, 3, 6, 6)})


def test_labels_and_what_prepares_them_are_dropped_but_real_inputs_stay(tmp_path):
    text = """
    layer { name: "h" type: "HDF5Data" top: "words" top: "cont" top: "target" }
    layer { name: "two" type: "Slice" bottom: "target" top: "t1" top: "t2" }
    layer { name: "sum" type: "Eltwise" bottom: "words" bottom: "cont" top: "sum" }
    layer { name: "l1" type: "EuclideanLoss" bottom: "sum" bottom: "t1" top: "l1" }
    layer { name: "l2" type: "EuclideanLoss" bottom: "sum" bottom: "t2" top: "l2" }
    """
    model = read_text(tmp_path, text, input_shapes={"words": (2, 3), "cont": (2, 3)})
    assert model.input_shapes() == {"words": (2, 3), "cont": (2, 3)}
    assert outputs(model) == ["sum"]


def test_weights_alone_without_wiring_want_their_prototxt(tmp_path):
    path = tmp_path / "net.caffemodel"
    format.write_caffemodel(path, [("conv", "Convolution", WEIGHTS)])
    with pytest.raises(ReadError, match="give the deploy.prototxt"):
        read([path])


def test_what_is_missing_is_said(tmp_path):
    (tmp_path / "deploy.prototxt").write_text(TRAINING)
    with pytest.raises(ReadError, match="is the net alone"):
        read([tmp_path / "deploy.prototxt"])


def test_output_cuts_the_net(tmp_path):
    model = read_text(tmp_path, TRAINING, {"conv": WEIGHTS}, outputs=("conv",))
    assert outputs(model) == ["conv"]
    assert len(list(model.graph)) == 3
    assert outputs(read_text(tmp_path, TRAINING, TRAINED, outputs=("fc", "conv@relu"))) == ["fc", "conv@relu"]
    with pytest.raises(ReadError, match='no blob or layer "fcc".*did you mean fc'):
        read_text(tmp_path, TRAINING, TRAINED, outputs=("fcc",))


def test_every_layer_that_cannot_be_read_is_reported_at_once(tmp_path):
    text = net(
        (1, 3, 6, 6),
        layer("ROIPooling", tops="a", name="roi", parameters="roi_pooling_param { pooled_w: 3 }"),
        layer("Python", "a", "b", 'python_param { module: "mine" layer: "Rois" }', name="code"),
        layer("Pooling", "data", "c", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", name="pool"),
        layer("Swish", "data", "d", name="swish"),
    )
    with pytest.raises(UnsupportedLayers) as refusal:
        read_text(tmp_path, text)
    assert [(item.layer, item.line) for item in refusal.value.layers] == [
        ("roi", 2),
        ("code", 3),
        ("pool", 4),
        ("swish", 5),
    ]
    assert "mine.Rois" in str(refusal.value) and "cut the net before it with --output" in str(refusal.value)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"conv": normal((24, 3, 3, 3), (4,))}, "weights.caffemodel holds .*24, 3, 3, 3.*prototxt:2 wants .4, 3, 3, 3"),
        ({"conv": WEIGHTS[:1]}, "weights.caffemodel holds 1 blob of it, the net wants 2"),
        ({"other": WEIGHTS}, "the weights of another net"),
        ({"conv": [], "fc": WEIGHTS[:1], "data": WEIGHTS[:1]}, 'no weights for layer "conv"'),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_name_both_files(tmp_path, weights, message):
    text = net((1, 3, 6, 6), layer("Convolution", tops="x", parameters=CONVOLUTION, name="conv"))
    with pytest.raises(ReadError, match=message):
        read_text(tmp_path, text, weights)


@pytest.mark.parametrize("filler, known", [("xavier", False), ("gaussian", False), ("constant", True)])
def test_a_missing_layer_is_filled_only_where_its_filler_is_not_random(tmp_path, filler, known):
    parameters = f'convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "{filler}" value: 2 }} }}'
    text = net((1, 3, 6, 6), layer("Convolution", tops="x", parameters=parameters, name="new"))
    if not known:
        with pytest.raises(ReadError, match=f'layer "new".*random values.*"{filler}"'):
            read_text(tmp_path, text, {"data": WEIGHTS})
        return
    model = read_text(tmp_path, text, {"data": WEIGHTS})
    data = random_inputs(model)["data"]
    assert np.isclose(evaluate(model, {"data": data})["x"][0, 1, 0, 0], 2 * data[0, :, :3, :3].sum(dtype=float))
    assert any('"new" is not in' in note for note in model.notes)


def test_shared_parameters_are_one_initializer_of_the_copy_stored_last(tmp_path):
    shared = 'param { name: "w" } param { name: "b" } inner_product_param { num_output: 3 }'
    text = net(
        (2, 3), layer("InnerProduct", "data", "x", shared, "one"), layer("InnerProduct", "x", "y", shared, "two")
    )
    first, last = normal((3, 3), (3,), seed=1), normal((3, 3), (3,), seed=2)
    model = read_text(tmp_path, text, {"one": first, "two": last})
    assert len(model.graph.initializers) == 2
    data = random_inputs(model)["data"].astype(float)
    once = data @ last[0].T + last[1]
    assert np.allclose(evaluate(model, {"data": data})["y"], once @ last[0].T + last[1])


@pytest.mark.parametrize(
    "layers, message",
    [
        ([layer("ReLU", "missing", "x")], 'unknown blob "missing"'),
        ([layer("ReLU", "y", "x", name="a"), layer("ReLU", "x", "y", name="b")], 'unknown blob "y"'),
        ([layer("ReLU", "data", "x", name="a"), layer("TanH", "data", "x", name="b")], "exists already"),
        ([], "computes nothing"),
        ([layer("InnerProduct", parameters="inner_product_param { num_output: 4000000000 }")], "too large"),
        ([layer("Eltwise", "data")], "1 bottom, Caffe wants 2 or more"),
        ([layer("ReLU", "data", "x y")], "2 tops, Caffe wants 1"),
        ([layer("ReLU", "data data", "x")], "2 bottoms, Caffe wants 1"),
        ([layer("Convolution", parameters="convolution_param { num_output: 4 }")], "0 values of kernel_size"),
        ([layer("Convolution", parameters="convolution_param { num_output: 4 kernel_size: 3 group: 2 }")], "group 2"),
        ([layer("Convolution", parameters="convolution_param { num_output: 4 kernel_size: 9 }")], "layer"),
    ],
)  # fmt: skip
def test_wiring_and_parameters_that_caffe_aborts_on(tmp_path, layers, message):
    with pytest.raises(ReadError, match=message):
        read_text(tmp_path, net((1, 3, 6, 6), *layers), {"layer": normal((4, 3, 9, 9), (4,))})


@pytest.mark.parametrize("shape", [(0, 3), (-1, 3)])
def test_an_impossible_input_shape_is_refused(tmp_path, shape):
    with pytest.raises(ReadError, match="impossible shape"):
        read_text(tmp_path, net((1, 3), layer("ReLU")), input_shapes={None: shape})


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**31 - 1), (1, 3, 2**16, 2**16)])
def test_absurd_sizes_are_refused_before_anything_is_allocated(tmp_path, shape):
    with pytest.raises(ConverterError):
        read_text(tmp_path, net(shape, layer("ReLU")))


def test_a_solver_and_a_pointer_are_named(tmp_path):
    solver, pointer = tmp_path / "solver.prototxt", tmp_path / "net.caffemodel"
    solver.write_text('net: "train_val.prototxt"\nbase_lr: 0.01\nmax_iter: 100\n')
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 12\n")
    with pytest.raises(ReadError, match="is a solver"):
        reader.classify(solver)
    with pytest.raises(ReadError, match="git lfs pull"):
        reader.classify(pointer)


def test_a_long_prototxt_of_one_line_per_layer_is_told_by_its_content(tmp_path):
    path = tmp_path / "deploy.prototxt"
    path.write_text(net((1, 3), *(layer("ReLU", name=f"relu{number}") for number in range(2000))))
    assert reader.classify(path) == "prototxt"
