"""Layers that move values, weights with indices, and resizing, blob by blob against the real Caffe."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.errors import ReadError, UnsupportedLayers
from converter.graph.evaluate import evaluate
from parity_tests.frameworks.caffe.reading import (
    assert_as_real,
    layer,
    net,
    normal,
    random_inputs,
    read_text,
    run_real,
)
from parity_tests.runtimes import needs_runtime

pytestmark = needs_runtime("caffe")
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPE = (2, 6, 4, 5)


@pytest.mark.parametrize(
    "kind, tops, parameters",
    [
        ("Slice", "a b", "slice_param { axis: 1 }"),
        ("Slice", "a b c", "slice_param { axis: 1 slice_point: 1 slice_point: 4 }"),
        ("Slice", "a b", "slice_param { axis: -1 slice_point: 2 }"),
        ("Slice", "a b", "slice_param { slice_dim: 2 }"),
        ("Slice", "a", ""),
        ("Split", "a b", ""),
        ("Flatten", "a", ""),
        ("Flatten", "a", "flatten_param { axis: 2 }"),
        ("Flatten", "a", "flatten_param { axis: 0 }"),
        ("Flatten", "a", "flatten_param { axis: 1 end_axis: 2 }"),
        ("Flatten", "a", "flatten_param { axis: 0 end_axis: -2 }"),
        ("Flatten", "a", "flatten_param { axis: 2 end_axis: 2 }"),
        ("Tile", "a", "tile_param { tiles: 3 }"),
        ("Tile", "a", "tile_param { axis: -1 tiles: 2 }"),
        ("Permute", "a", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
        ("Permute", "a", "permute_param { order: 3 }"),
        ("ShuffleChannel", "a", "shuffle_channel_param { group: 3 }"),
        ("ShuffleChannel", "a", "shuffle_channel_param { group: 2 }"),
        ("Upsample", "a", "upsample_param { scale: 2 }"),
        ("Upsample", "a", "upsample_param { scale: 3 }"),
        ("PixelShuffle", "a", "pixelshuffle_param { upscale_factor: 1 }"),
        ("Unsqueeze", "a", "unsqueeze_param { dim: 1 }"),
        ("Unsqueeze", "a", "unsqueeze_param { dim: -1 }"),
        ("Pad", "a", "pad_param { pad_u: 1 pad_d: 2 pad_l: 3 pad_value: 0.5 }"),
        ("Pad", "a", "pad_param { pad_type: REPLICATE pad_u: 1 pad_d: 2 pad_l: 3 pad_r: 1 }"),
        ("Pad", "a", "pad_param { pad_type: REFLECT pad_u: 3 pad_d: 2 pad_l: 3 pad_r: 1 }"),
        ("BilinearInterpolate", "a", "bilinear_interpolate_param { dst_h: 9 dst_w: 3 }"),
        ("BilinearInterpolate", "a", "bilinear_interpolate_param { dst_h: 9 align_corners: false }"),
        ("BilinearInterpolate", "a", "bilinear_interpolate_param { scale_factor: 2.5 align_corners: false }"),
        ("Interp", "a", "interp_param { height: 9 width: 7 }"),
        ("Interp", "a", "interp_param { height: 3 width: 2 }"),
        ("Interp", "a", "interp_param { zoom_factor: 3 }"),
        ("Interp", "a", "interp_param { shrink_factor: 2 }"),
        ("Interp", "a", "interp_param { shrink_factor: 2 zoom_factor: 4 }"),
        ("Interp", "a", "interp_param { height: 4 width: 5 }"),
    ],
)
def test_layers_of_one_bottom(caffe, tmp_path, kind, tops, parameters):
    assert_as_real(caffe, read_text(tmp_path, net(SHAPE, layer(kind, tops=tops, parameters=parameters))))


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle(caffe, tmp_path, factor):
    parameters = f"pixelshuffle_param {{ upscale_factor: {factor} }}"
    text = net((2, 2 * factor * factor, 3, 4), layer("PixelShuffle", parameters=parameters))
    assert_as_real(caffe, read_text(tmp_path, text))


def test_interp_cuts_by_a_negative_pad(tmp_path):
    """The reference build lacks Interp; by the rule, columns 1 to -2 with aligned corners."""
    parameters = "interp_param { height: 3 width: 5 pad_beg: -1 pad_end: -1 }"
    model = read_text(tmp_path, net((1, 1, 4, 5), layer("Interp", parameters=parameters)))
    data = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
    expected = [[[[6, 6.5, 7, 7.5, 8], [8.5, 9, 9.5, 10, 10.5], [11, 11.5, 12, 12.5, 13]]]]
    assert np.allclose(evaluate(model, {"data": data})["top"], expected)


@pytest.mark.parametrize(
    "parameters", ["", "concat_param { axis: 2 }", "concat_param { concat_dim: 0 }", "concat_param { axis: -1 }"]
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_concat(caffe, tmp_path, parameters, count):
    names = ["a", "b", "c"][:count]
    assert_as_real(
        caffe,
        read_text(tmp_path, net(dict.fromkeys(names, SHAPE), layer("Concat", " ".join(names), "top", parameters))),
    )


@pytest.mark.parametrize(
    "size, parameters",
    [
        ((2, 6, 3, 3), ""),
        ((2, 6, 3, 3), "crop_param { offset: 1 }"),
        ((2, 6, 3, 3), "crop_param { axis: 2 offset: 1 offset: 2 }"),
        ((1, 2, 3, 4), "crop_param { axis: 0 offset: 1 }"),
        ((2, 5, 3, 4), "crop_param { axis: 1 offset: 1 offset: 0 offset: 1 }"),
        ((9, 9, 9, 2), "crop_param { axis: -1 offset: 3 }"),
    ],
)
def test_crop(caffe, tmp_path, size, parameters):
    assert_as_real(
        caffe, read_text(tmp_path, net({"data": SHAPE, "like": size}, layer("Crop", "data like", "top", parameters)))
    )


@few
@given(st.data(), st.integers(-5, 4), st.integers(-1, 4), st.booleans())
def test_reshape(caffe, tmp_path, data, axis, number, infer):
    start = axis + 5 if axis < 0 else axis
    end = 4 if number == -1 else start + number
    replaced = SHAPE[start:end]
    dims = data.draw(st.permutations(replaced)) if end <= 4 else []
    dims = [0 if place < len(replaced) and size == replaced[place] and data.draw(st.booleans()) else size
            for place, size in enumerate(dims)]  # fmt: skip
    if infer and dims:
        dims[data.draw(st.integers(0, len(dims) - 1))] = -1
    if data.draw(st.booleans()):
        dims.append(1)
    text = " ".join(f"dim: {size}" for size in dims)
    parameters = f"reshape_param {{ shape {{ {text} }} axis: {axis} num_axes: {number} }}"
    prototxt = net(SHAPE, layer("Reshape", parameters=parameters))
    if end > 4:
        with pytest.raises(ReadError, match="do not fit"):
            read_text(tmp_path, prototxt)
    else:
        assert_as_real(caffe, read_text(tmp_path, prototxt))


@pytest.mark.parametrize(
    "kind, parameters",
    [
        ("Reshape", "reshape_param { shape { dim: 7 } }"),
        ("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }"),
        ("Reshape", "reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 dim: 0 } }"),
        ("Flatten", "flatten_param { axis: 3 end_axis: 1 }"),
        ("Slice", "slice_param { slice_point: 2 }"),
        ("Tile", "tile_param { axis: 7 tiles: 2 }"),
        ("Tile", "tile_param { tiles: 0 }"),
        ("Permute", "permute_param { order: 1 order: 1 }"),
        ("Permute", "permute_param { order: 9 }"),
        ("PixelShuffle", "pixelshuffle_param { upscale_factor: 2 }"),
        ("Unsqueeze", "unsqueeze_param { dim: 6 }"),
        ("Unsqueeze", ""),
        ("Pad", "pad_param { pad_u: -1 }"),
        ("Pad", "pad_param { pad_type: REFLECT pad_u: 4 }"),
        ("BilinearInterpolate", "bilinear_interpolate_param { dst_h: 3 scale_factor: 2 }"),
        ("Softmax", "softmax_param { axis: 4 }"),
        ("Tile", "tile_param { tiles: 2000000000 }"),
    ],
)
def test_what_caffe_aborts_on(tmp_path, kind, parameters):
    with pytest.raises(ReadError, match='deploy.prototxt:2: .*"layer"'):
        read_text(tmp_path, net(SHAPE, layer(kind, parameters=parameters)))


def test_unpooling_of_segnet_is_refused_with_a_reason(tmp_path):
    text = net({"data": SHAPE, "mask": SHAPE}, layer("Upsample", "data mask", "top", "upsample_param { scale: 2 }"))
    with pytest.raises(UnsupportedLayers, match="SegNet"):
        read_text(tmp_path, text)


@pytest.mark.parametrize("axis, inputs", [(1, 120), (2, 20), (-1, 5), (0, 240)])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_inner_product(caffe, tmp_path, axis, inputs, transpose, bias):
    flags = f"transpose: {str(transpose).lower()} bias_term: {str(bias).lower()}"
    text = net(SHAPE, layer("InnerProduct", parameters=f"inner_product_param {{ num_output: 3 axis: {axis} {flags} }}"))
    weights = normal((inputs, 3) if transpose else (3, inputs), (3,))[: 1 + bias]
    assert_as_real(caffe, read_text(tmp_path, text, {"layer": weights}))


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_embed(caffe, tmp_path, shape, bias):
    text = net(
        shape, layer("Embed", parameters=f"embed_param {{ input_dim: 7 num_output: 3 bias_term: {str(bias).lower()} }}")
    )
    model = read_text(tmp_path, text, {"layer": normal((7, 3), (3,))[: 1 + bias]})
    words = np.random.default_rng(0).integers(0, 7, shape).astype(np.float32)
    assert_as_real(caffe, model, {"data": words})


def test_batch_reindex(caffe, tmp_path):
    model = read_text(tmp_path, net({"data": (4, 3, 2), "index": (6,)}, layer("BatchReindex", "data index")))
    inputs = random_inputs(model) | {"index": np.float32([3, 0, 0, 1, 2, 3])}
    assert_as_real(caffe, model, inputs)


@pytest.mark.parametrize("size", [(4,), (4, 1), (4, 1, 1, 1)])
@pytest.mark.parametrize("chosen", [[1, 0, 0, 1], [0, -2, 0, 0], [1, 1, 1, 1]])
def test_filter(caffe, tmp_path, size, chosen):
    """Caffe learns the number of images that stay while it runs, so the outputs are compared whole."""
    text = net({"a": (4, 3, 2), "b": (4, 5), "choice": size}, layer("Filter", "a b choice", "x y"))
    model = read_text(tmp_path, text)
    inputs = random_inputs(model) | {"choice": np.float32(chosen).reshape(size)}
    real, expected = run_real(caffe, model, inputs), evaluate(model, inputs)
    assert all(np.array_equal(real[name], expected[name]) for name in ("x", "y"))


def test_parameter_and_dummy_data(caffe, tmp_path):
    text = net(
        (2, 3),
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } }',
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 dim: 3 }'
        ' data_filler { type: "constant" value: 0.5 } } }',
        layer("Eltwise", "data p d", "top"),
    )
    assert_as_real(caffe, read_text(tmp_path, text, {"p": normal((2, 3))}))
