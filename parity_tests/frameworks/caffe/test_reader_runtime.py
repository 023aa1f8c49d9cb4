"""Rules of weights and of dialects that only the real Caffe can confirm, and the files written for it."""

import h5py
import numpy as np
import pytest

from converter.frameworks.caffe import reader
from converter.graph.model import Preprocessing
from parity_tests.frameworks.caffe.encoding import blob_v2, chunk, integer, layer_v2, shape
from parity_tests.frameworks.caffe.reading import assert_as_real, layer, net, normal, read, read_text
from parity_tests.runtimes import needs_runtime

CONVOLUTION = "convolution_param { num_output: 3 kernel_size: 3 pad: 1 }"
TEXT = net((1, 3, 6, 6), layer("Convolution", tops="x", parameters=CONVOLUTION, name="conv"))
WEIGHTS = normal((3, 3, 3, 3), (3,))


@needs_runtime("caffe")
def test_shared_parameters_take_the_copy_stored_last(caffe, tmp_path):
    shared = f'param {{ name: "w" }} param {{ name: "b" }} {CONVOLUTION}'
    text = net(
        (1, 3, 6, 6), layer("Convolution", "data", "x", shared, "one"), layer("Convolution", "x", "y", shared, "two")
    )
    first, last = normal((3, 3, 3, 3), (3,), seed=1), normal((3, 3, 3, 3), (3,), seed=2)
    assert_as_real(caffe, read_text(tmp_path, text, {"one": first, "two": last}))
    assert_as_real(caffe, read_text(tmp_path, text, {"two": first, "one": last}))


@needs_runtime("caffe")
def test_parameters_shared_by_number_of_values_alone(caffe, tmp_path):
    wide, tall = (f'param {{ name: "w" share_mode: PERMISSIVE }} inner_product_param {{ {body} bias_term: false }}'
                  for body in ("num_output: 2", "num_output: 6 axis: 2"))  # fmt: skip
    text = net(
        {"data": (1, 6), "other": (1, 2, 2)},
        layer("InnerProduct", "data", "x", wide, "wide"),
        layer("InnerProduct", "other", "y", tall, "tall"),
    )
    assert_as_real(caffe, read_text(tmp_path, text, {"wide": normal((2, 6))}))


@needs_runtime("caffe")
@pytest.mark.parametrize("kernel", [4, 5, 6])
@pytest.mark.parametrize("filler", ['type: "constant" value: 0.25', 'type: "bilinear"'])
def test_a_missing_layer_and_a_second_one_of_a_name_keep_their_filler(caffe, tmp_path, filler, kernel):
    filled = f"convolution_param {{ num_output: 3 kernel_size: {kernel} group: 3 weight_filler {{ {filler} }} }}"
    text = net(
        (1, 3, 9, 9),
        layer("Convolution", "data", "x", CONVOLUTION, "conv"),
        layer("Deconvolution", "x", "y", filled, "up"),
        layer("Convolution", "y", "z", filled, "conv"),
    )
    assert_as_real(caffe, read_text(tmp_path, text, {"conv": WEIGHTS}))


@needs_runtime("caffe")
def test_weights_in_hdf5(caffe, tmp_path):
    prototxt, stored = tmp_path / "deploy.prototxt", tmp_path / "weights.hdf5"
    prototxt.write_text(TEXT)
    with h5py.File(stored, "w") as file:
        for index, blob in enumerate(WEIGHTS):
            file[f"data/conv/{index}"] = blob
    assert_as_real(caffe, read([stored, prototxt]))


@needs_runtime("caffe")
def test_weights_in_half_precision_are_copied_for_real_caffe(caffe, tmp_path):
    """NVCaffe: field 10 the type (2 is half), field 12 the bytes."""
    prototxt, stored = tmp_path / "deploy.prototxt", tmp_path / "half.caffemodel"
    prototxt.write_text(TEXT)
    blobs = [shape(blob.shape) + integer(10, 2) + chunk(12, blob.astype("<f2").tobytes()) for blob in WEIGHTS]
    stored.write_bytes(layer_v2("conv", "Convolution", blobs))
    model = read([prototxt, stored])
    assert reader.runtime_artifact(model, tmp_path).files["caffemodel"].name == "runtime.caffemodel"
    assert_as_real(caffe, model)


@needs_runtime("caffe")
def test_a_net_of_the_oldest_dialect(caffe, tmp_path):
    text = """
    input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
    layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "pad" }
    layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 stride: 2 } bottom: "pad" top: "conv" }
    layers { layer { name: "relu" type: "relu" } bottom: "conv" top: "conv" }
    layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.1 } bottom: "conv" top: "norm" }
    layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 2 stride: 2 } bottom: "norm" top: "pool" }
    layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.3 } bottom: "pool" top: "pool" }
    layers { layer { name: "both" type: "concat" concat_dim: 1 } bottom: "pool" bottom: "pool" top: "both" }
    layers { layer { name: "fc" type: "innerproduct" num_output: 2 } bottom: "both" top: "fc" }
    layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
    """
    model = read_text(tmp_path, text, {"conv": normal((4, 3, 3, 3), (4,)), "fc": normal((2, 72), (2,))})
    assert_as_real(caffe, model)


@needs_runtime("caffe")
def test_the_inference_part_of_a_training_net(caffe, tmp_path):
    text = """
    layer { name: "d" type: "Data" top: "data" top: "label" transform_param { crop_size: 6 } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "x"
            convolution_param { num_output: 3 kernel_size: 3 pad: 1 } }
    layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "label" top: "loss" softmax_param { axis: 2 } }
    layer { name: "accuracy" type: "Accuracy" bottom: "x" bottom: "label" top: "accuracy" }
    """
    real = assert_as_real(caffe, read_text(tmp_path, text, {"conv": WEIGHTS}))
    assert set(real) == {"x@conv", "x", "loss"}


def test_the_mean_image_becomes_a_mean_per_channel(tmp_path):
    prototxt, mean = tmp_path / "deploy.prototxt", tmp_path / "mean.binaryproto"
    prototxt.write_text(TEXT)
    stored = tmp_path / "weights.caffemodel"
    stored.write_bytes(layer_v2("conv", "Convolution", [blob_v2(blob) for blob in WEIGHTS]))
    image = np.stack([np.full((2, 2), value, np.float32) for value in (104, 117, 123)])
    image[0, 0, 0] = 108
    sizes = b"".join(integer(number, size) for number, size in enumerate((1, 3, 2, 2), 1))
    mean.write_bytes(sizes + chunk(5, image.tobytes()))
    model = read([mean, prototxt, stored])
    assert model.preprocessing == Preprocessing("bgr", mean=(105, 117, 123))
    assert any("mean image" in note for note in model.notes)
    given = read([prototxt, stored], mean=(1.0, 2.0, 3.0), scale=0.5, channels="rgb")
    assert given.preprocessing == Preprocessing("rgb", mean=(1, 2, 3), scale=0.5)
