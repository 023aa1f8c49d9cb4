"""Layers that slide windows, blob by blob against the real Caffe."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from converter.errors import ConverterError, ReadError, UnsupportedLayers
from parity_tests.frameworks.caffe.reading import assert_as_real, layer, net, normal, read_text
from parity_tests.runtimes import needs_runtime

pytestmark = needs_runtime("caffe")
few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
small = st.integers(1, 4)


@st.composite
def windows(draw):
    """(kernel, stride, pad, dilation) per axis, in one of Caffe's spellings."""
    values = {name: (draw(values), draw(values)) for name, values in [
        ("kernel", small), ("stride", st.integers(1, 3)), ("pad", st.integers(0, 2)), ("dilation", st.integers(1, 2)),
    ]}  # fmt: skip
    if draw(st.booleans()):
        values = {name: (first, first) for name, (first, _) in values.items()}
        (k, _), (s, _), (p, _), (d, _) = values.values()
        return values, f"kernel_size: {k} stride: {s} pad: {p}", f"dilation: {d}"
    k, s, p, d = values.values()
    sizes = f"kernel_h: {k[0]} kernel_w: {k[1]} stride_h: {s[0]} stride_w: {s[1]} pad_h: {p[0]} pad_w: {p[1]}"
    return values, sizes, f"dilation: {d[0]} dilation: {d[1]}"


@few
@given(windows(), st.sampled_from([1, 2, 4]), st.booleans(), st.tuples(st.integers(4, 9), st.integers(4, 9)))
def test_convolution(caffe, tmp_path, window, group, bias, size):
    values, sizes, dilation = window
    (kernel, dilated), pad = (values["kernel"], values["dilation"]), values["pad"]
    assume(all(n + 2 * p >= d * (k - 1) + 1 for n, p, d, k in zip(size, pad, dilated, kernel, strict=True)))
    text = f"convolution_param {{ num_output: 8 {sizes} {dilation} group: {group} bias_term: {str(bias).lower()} }}"
    weights = normal((8, 4 // group, *kernel), (8,))[: 1 + bias]
    model = read_text(tmp_path, net((2, 4, *size), layer("Convolution", parameters=text)), {"layer": weights})
    assert_as_real(caffe, model)


@few
@given(windows(), st.sampled_from([1, 2, 4]), st.booleans(), st.tuples(st.integers(3, 5), st.integers(3, 5)))
def test_deconvolution(caffe, tmp_path, window, group, bias, size):
    values, sizes, dilation = window
    spans = zip(size, *values.values(), strict=True)
    assume(all(s * (n - 1) + d * (k - 1) + 1 - 2 * p > 0 for n, k, s, p, d in spans))
    text = f"convolution_param {{ num_output: 8 {sizes} {dilation} group: {group} bias_term: {str(bias).lower()} }}"
    weights = normal((4, 8 // group, *values["kernel"]), (8,))[: 1 + bias]
    model = read_text(tmp_path, net((2, 4, *size), layer("Deconvolution", parameters=text)), {"layer": weights})
    assert_as_real(caffe, model)


def test_convolution_of_several_bottoms_shares_its_weights(caffe, tmp_path):
    text = net(
        {"a": (1, 2, 5, 5), "b": (1, 2, 5, 5)},
        layer("Convolution", "a b", "x y", "convolution_param { num_output: 3 kernel_size: 3 pad_h: 1 }"),
    )
    assert_as_real(caffe, read_text(tmp_path, text, {"layer": normal((3, 2, 3, 3), (3,))}))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("shape, kernel", [((2, 2, 9), (3,)), ((1, 2, 4, 5, 6), (2, 3, 1))])
def test_other_ranks(caffe, tmp_path, kind, shape, kernel):
    sizes = " ".join(f"kernel_size: {k}" for k in kernel)
    text = net(shape, layer(kind, parameters=f"convolution_param {{ num_output: 2 {sizes} stride: 2 pad: 1 }}"))
    assert_as_real(caffe, read_text(tmp_path, text, {"layer": normal((2, 2, *kernel), (2,))}))


@few
@given(windows(), st.tuples(st.integers(4, 9), st.integers(4, 9)))
def test_im2col(caffe, tmp_path, window, size):
    values, sizes, dilation = window
    spans = zip(size, values["kernel"], values["pad"], values["dilation"], strict=True)
    assume(all(n + 2 * p >= d * (k - 1) + 1 for n, k, p, d in spans))
    text = net((2, 3, *size), layer("Im2col", parameters=f"convolution_param {{ {sizes} {dilation} }}"))
    assert_as_real(caffe, read_text(tmp_path, text))


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_depthwise_types_of_forks(caffe, tmp_path, kind):
    text = net((1, 4, 6, 6), layer(kind, parameters="convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"))
    model = read_text(tmp_path, text, {"layer": normal((4, 1, 3, 3), (4,))})
    assert_as_real(caffe, model)
    assert any("reference Caffe lacks" in note for note in model.notes)


@few
@given(
    st.sampled_from(["MAX", "AVE"]),
    st.sampled_from(["", "ceil_mode: false", "round_mode: FLOOR"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    windows(),
)
def test_pooling(caffe, tmp_path, method, rounding, size, window):
    _, sizes, _ = window
    text = net((2, 3, *size), layer("Pooling", parameters=f"pooling_param {{ pool: {method} {sizes} {rounding} }}"))
    try:
        model = read_text(tmp_path, text)
    except ConverterError:  # what Caffe aborts on, and windows outside the input: the tests below
        assume(False)
    assert_as_real(caffe, model)


@pytest.mark.parametrize(
    "sizes", ["kernel_size: 3 stride: 2", "kernel_size: 2 stride: 1 pad: 1", "global_pooling: true"]
)
def test_positions_of_the_maxima(caffe, tmp_path, sizes):
    text = net((2, 3, 6, 7), layer("Pooling", tops="top mask", parameters=f"pooling_param {{ {sizes} }}"))
    assert_as_real(caffe, read_text(tmp_path, text))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global_pooling(caffe, tmp_path, method):
    text = net((2, 3, 5, 7), layer("Pooling", parameters=f"pooling_param {{ pool: {method} global_pooling: true }}"))
    assert_as_real(caffe, read_text(tmp_path, text))


@pytest.mark.parametrize(
    "parameters, reason",
    [
        ("pool: STOCHASTIC kernel_size: 2", "STOCHASTIC"),
        ("kernel_size: 2 stride: 3", "last window lies outside"),
    ],
)
def test_pooling_that_is_refused_with_a_reason(tmp_path, parameters, reason):
    text = net((1, 1, 6, 6), layer("Pooling", parameters=f"pooling_param {{ {parameters} }}"))
    with pytest.raises(UnsupportedLayers, match=reason):
        read_text(tmp_path, text)


@pytest.mark.parametrize(
    "parameters",
    ["kernel_size: 2 pad: 2", "kernel_h: 2", "kernel_size: 2 kernel_h: 2 kernel_w: 2",
     "global_pooling: true kernel_size: 2", "kernel_size: 2 stride_h: 1", "kernel_size: 0", "stride: 2",
     "kernel_size: 9"],
)  # fmt: skip
def test_pooling_that_caffe_aborts_on(tmp_path, parameters):
    text = net((1, 1, 6, 6), layer("Pooling", parameters=f"pooling_param {{ {parameters} }}"))
    with pytest.raises(ReadError, match="deploy.prototxt:2: .*layer"):
        read_text(tmp_path, text)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("height, size", [(1, (5, 7)), (2, (5, 7)), (3, (13, 9)), (3, (8, 8)), (4, (16, 30))])
def test_spatial_pyramid(caffe, tmp_path, method, height, size):
    text = net((2, 3, *size), layer("SPP", parameters=f"spp_param {{ pyramid_height: {height} pool: {method} }}"))
    assert_as_real(caffe, read_text(tmp_path, text))
