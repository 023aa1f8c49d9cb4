"""Activations, arithmetic, normalisation and reductions, blob by blob against the real Caffe."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.errors import ReadError, UnsupportedLayers, WorkerFailed
from parity_tests.frameworks.caffe.reading import assert_as_real, layer, net, normal, random_inputs, read_text
from parity_tests.runtimes import needs_runtime

pytestmark = needs_runtime("caffe")
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    "kind, parameters",
    [
        ("ReLU", ""),
        ("ReLU", "relu_param { negative_slope: 0.1 }"),
        ("ReLU", "relu_param { negative_slope: -0.3 }"),
        ("ReLU6", ""),
        ("ReLU6", "relu6_param { threshold: 0.7 }"),
        ("ReLU6", "relu6_param { threshold: 0.7 negative_slope: 0.2 }"),
        ("ELU", ""),
        ("ELU", "elu_param { alpha: 0.3 }"),
        ("Sigmoid", ""),
        ("TanH", ""),
        ("AbsVal", ""),
        ("BNLL", ""),
        ("HardSigmoid", ""),
        ("HardSigmoid", "hardsigmoid_param { alpha: 0.3 beta: 0.4 }"),
        ("HardSwish", ""),
        ("Swish", "swish_param { beta: 1.5 }"),
        ("Clip", "clip_param { min: 0 max: 0.5 }"),
        ("Threshold", ""),
        ("Threshold", "threshold_param { threshold: 0.5 }"),
        ("Dropout", "dropout_param { dropout_ratio: 0.3 }"),
        ("Power", ""),
        ("Power", "power_param { power: 2 }"),
        ("Power", "power_param { power: 3 scale: -0.5 shift: 0.25 }"),
        ("Power", "power_param { power: 0 scale: 2 }"),
        ("Power", "power_param { power: 2 scale: 0 shift: 3 }"),
        ("Exp", ""),
        ("Exp", "exp_param { base: 2 scale: 0.5 shift: 0.1 }"),
        ("Exp", "exp_param { base: 10 shift: -1 }"),
        ("Softmax", ""),
        ("Softmax", "softmax_param { axis: -1 }"),
        ("Softmax", "softmax_param { axis: 2 }"),
        ("Split", ""),
    ],
)
def test_layers_of_one_bottom(caffe, tmp_path, kind, parameters):
    assert_as_real(caffe, read_text(tmp_path, net((2, 3, 4, 5), layer(kind, parameters=parameters))))


@pytest.mark.parametrize(
    "parameters", ["", "log_param { base: 10 shift: 5 }", "log_param { base: 2 scale: 0.5 shift: 4 }"]
)
def test_logarithm(caffe, tmp_path, parameters):
    model = read_text(tmp_path, net((2, 3, 4), layer("Log", parameters=parameters)))
    assert_as_real(caffe, model, {name: np.abs(value) for name, value in random_inputs(model).items()})


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (2, 5, 3, 4)])
@pytest.mark.parametrize("shared", ["true", "false"])
def test_prelu(caffe, tmp_path, shape, shared):
    text = net(shape, layer("PReLU", parameters=f"prelu_param {{ channel_shared: {shared} }}"))
    assert_as_real(caffe, read_text(tmp_path, text, {"layer": normal(() if shared == "true" else (5,))}))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("operation", ["SUM", "PROD", "MAX"])
def test_eltwise(caffe, tmp_path, count, operation):
    names = ["a", "b", "c", "a"][:count]
    text = net(
        {"a": (2, 3, 4), "b": (2, 3, 4), "c": (2, 3, 4)},
        layer("Eltwise", " ".join(names), "top", f"eltwise_param {{ operation: {operation} }}"),
    )
    assert_as_real(caffe, read_text(tmp_path, text))


def test_eltwise_coefficients(caffe, tmp_path):
    parameters = "eltwise_param { coeff: 1 coeff: -0.5 coeff: 2 }"
    text = net({"a": (2, 3), "b": (2, 3), "c": (2, 3)}, layer("Eltwise", "a b c", "top", parameters))
    assert_as_real(caffe, read_text(tmp_path, text))


@pytest.mark.parametrize(
    "shapes, parameters",
    [
        ({"a": (2, 3), "b": (3, 2)}, ""),
        ({"a": (2, 3), "b": (1, 3)}, ""),
        ({"a": (2, 3), "b": (2, 3)}, "eltwise_param { coeff: 1 }"),
        ({"a": (2, 3), "b": (2, 3)}, "eltwise_param { operation: PROD coeff: 1 coeff: 2 }"),
    ],
)
def test_eltwise_that_caffe_aborts_on_or_reads_beyond(tmp_path, shapes, parameters):
    with pytest.raises(ReadError, match="deploy.prototxt:3: "):
        read_text(tmp_path, net(shapes, layer("Eltwise", "a b", "top", parameters)))


@pytest.mark.parametrize("factor", [(2, 3), (2, 3, 1, 1)])
def test_axpy(caffe, tmp_path, factor):
    text = net({"a": factor, "x": (2, 3, 4, 5), "y": (2, 3, 4, 5)}, layer("Axpy", "a x y"))
    assert_as_real(caffe, read_text(tmp_path, text))


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_reduction(caffe, tmp_path, operation, axis):
    parameters = f"reduction_param {{ operation: {operation} axis: {axis} coeff: 0.7 }}"
    assert_as_real(caffe, read_text(tmp_path, net((2, 3, 4), layer("Reduction", parameters=parameters))))


@few
@given(
    st.sampled_from([(2, 12), (3, 4, 5), (2, 3, 4, 2), (2, 2, 2, 2, 2)]),
    st.sampled_from(["", "axis: 1", "axis: -1"]),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
)
def test_argmax(caffe, tmp_path, shape, axis, count, values, ties):
    parameters = f"argmax_param {{ top_k: {count} out_max_val: {str(values).lower()} {axis} }}"
    model = read_text(tmp_path, net(shape, layer("ArgMax", parameters=parameters)))
    inputs = random_inputs(model)
    assert_as_real(caffe, model, {"data": np.round(inputs["data"])} if ties else inputs)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 2, 2)])
@pytest.mark.parametrize("factor", [0.0, 1.0, 999.98])
def test_batch_norm(caffe, tmp_path, shape, factor):
    mean, variance = normal((3,), (3,))
    stored = [mean * max(factor, 1), np.abs(variance) * max(factor, 1), np.float32([factor])]
    text = net(shape, layer("BatchNorm", parameters="batch_norm_param { eps: 0.001 }"))
    assert_as_real(caffe, read_text(tmp_path, text, {"layer": stored}))


def test_batch_norm_by_the_statistics_of_the_batch_is_refused(tmp_path):
    text = net((2, 3), layer("BatchNorm", parameters="batch_norm_param { use_global_stats: false }"))
    with pytest.raises(UnsupportedLayers, match="use_global_stats"):
        read_text(tmp_path, text, {"layer": normal((3,), (3,), (1,))})


SHAPE = (2, 3, 4, 5)


@few
@given(st.integers(-4, 3), st.integers(-1, 4), st.booleans(), st.sampled_from(["Scale", "Bias"]))
def test_scale_and_bias_of_learned_blobs(caffe, tmp_path, axis, number, bias, kind):
    start = axis % 4
    size = SHAPE[start:] if number == -1 else SHAPE[start : start + number]
    name, term = ("bias_param", "") if kind == "Bias" else ("scale_param", f"bias_term: {str(bias).lower()}")
    text = net(SHAPE, layer(kind, parameters=f"{name} {{ axis: {axis} num_axes: {number} {term} }}"))
    weights = {"layer": normal(size, size)[: 1 + (bias and kind == "Scale")]}
    if start + max(number, 0) > 4:
        with pytest.raises(ReadError, match="num_axes"):
            read_text(tmp_path, text, weights)
    else:
        assert_as_real(caffe, read_text(tmp_path, text, weights))


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize(
    "axis, size", [(0, (2,)), (0, (2, 3)), (1, (3, 4, 5)), (-1, (5,)), (2, (4,)), (0, SHAPE), (0, ())]
)
@pytest.mark.parametrize("bias", [False, True])
def test_scale_and_bias_by_a_second_bottom(caffe, tmp_path, kind, axis, size, bias):
    term = "bias_term: true" if bias and kind == "Scale" else ""
    parameters = f"{kind.lower()}_param {{ axis: {axis} {term} }}"
    text = net({"data": SHAPE, "other": size}, layer(kind, "data other", "top", parameters))
    assert_as_real(caffe, read_text(tmp_path, text, {"layer": normal(size)} if term else None))


@few
@given(
    st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
    st.sampled_from([1, 3, 5]),
    st.floats(0.1, 2),
    st.floats(0.3, 1),
    st.floats(0.5, 2),
)
def test_local_response(caffe, tmp_path, region, size, alpha, beta, k):
    parameters = f"lrn_param {{ norm_region: {region} local_size: {size} alpha: {alpha} beta: {beta} k: {k} }}"
    assert_as_real(caffe, read_text(tmp_path, net((2, 6, 4, 5), layer("LRN", parameters=parameters))))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("variance", ["true", "false"])
@pytest.mark.parametrize("across", ["true", "false"])
def test_mean_variance(caffe, tmp_path, shape, variance, across):
    parameters = f"mvn_param {{ normalize_variance: {variance} across_channels: {across} eps: 0.01 }}"
    assert_as_real(caffe, read_text(tmp_path, net(shape, layer("MVN", parameters=parameters))))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("across", ["true", "false"])
@pytest.mark.parametrize("shared", ["true", "false"])
def test_normalize(caffe, tmp_path, shape, across, shared):
    parameters = f"norm_param {{ across_spatial: {across} channel_shared: {shared} }}"
    weights = {"layer": normal(() if shared == "true" else (3,))}
    assert_as_real(caffe, read_text(tmp_path, net(shape, layer("Normalize", parameters=parameters)), weights))


def test_a_clip_that_the_reference_build_cannot_run_is_named(caffe, tmp_path):
    model = read_text(tmp_path, net((2, 3), layer("Clip", parameters="clip_param { min: -1 max: 1 }", name="cut")))
    with pytest.raises(WorkerFailed, match='no counterpart for layer "cut"'):
        assert_as_real(caffe, model)
