"""The float64 reference, the Monte Carlo noise of float32, and judging one layer at a time."""

import numpy as np
import pytest

from converter.graph.builder import GraphBuilder
from converter.graph.evaluate import evaluate, local, reference
from converter.graph.model import Model, Origin

EPSILON = 2.0**-24


def net(layers=4, channels=8, size=10, seed=0):
    """Convolutions "conv<i>" and ReLUs "relu<i>", then a global average "pool" and the classifier "fc"."""
    random = np.random.default_rng(seed)

    def weight(name, *shape):
        values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) / 2)
        return builder.initializer(name, values.astype(np.float32))

    builder = GraphBuilder("net")
    y = builder.input("data", (2, channels, size, size))
    for index in range(layers):
        with builder.layer(Origin(f"conv{index}", "Convolution", "net.prototxt", index + 1)):
            y = builder.op(
                "Conv", [y, weight(f"conv{index}.weight", channels, channels, 3, 3)], f"conv{index}", pads=[1] * 4
            )
            y = builder.op("Relu", [y], f"relu{index}")
    y = builder.op("GlobalAveragePool", [y], "pool")
    y = builder.op("Gemm", [builder.op("Flatten", [y]), weight("fc.weight", 5, channels)], "fc", transB=1)
    return Model(builder.build([y]), "test")


def elementwise(*nodes, shape=(1, 4, 8, 8)):
    """A chain of (operator, constant operand or None), each value named after its place."""
    builder = GraphBuilder("chain")
    y = builder.input("data", shape)
    for index, (op, operand) in enumerate(nodes):
        operands = [] if operand is None else [builder.constant(operand, "float32")]
        y = builder.op(op, [y, *operands], f"y{index}")
    return Model(builder.build([y]), "test")


@pytest.fixture
def data(normal):
    return {"data": normal(2, 8, 10, 10)}


def test_evaluation_is_in_float64_and_agrees_with_onnxruntime(data, noise_tool):
    pytest.importorskip("onnxruntime")
    model = net()
    ours = evaluate(model, data)["fc"]
    assert ours.dtype == np.float64
    model.graph.inputs[0].name = "x"
    np.testing.assert_allclose(noise_tool.run_onnxruntime(model.ir, data["data"])[0], ours, atol=1e-5)


def test_fetching(data):
    model = net(layers=1)
    assert list(evaluate(model, data)) == ["fc"]
    assert {"conv0", "relu0", "pool", "fc"} < set(evaluate(model, data, "all"))
    some = evaluate(model, data, ["relu0", "data", "conv0.weight"])
    np.testing.assert_array_equal(some["data"], data["data"])
    assert some["relu0"].min() == 0 and some["conv0.weight"].shape == (8, 8, 3, 3)
    with pytest.raises(ValueError, match="no value named conv9"):
        evaluate(model, data, ["conv9"])


def test_other_batch_sizes_are_evaluated_and_wrong_shapes_refused(normal):
    assert evaluate(net(), {"data": normal(5, 8, 10, 10)})["fc"].shape == (5, 5)
    with pytest.raises(ValueError, match='net.prototxt:1: layer "conv0"'):
        evaluate(net(), {"data": normal(2, 3, 10, 10)})
    with pytest.raises(ValueError, match="input data is not given"):
        evaluate(net(), {})


def test_a_weight_is_read_once_and_only_when_needed(data):
    reads = []

    def read():
        reads.append(1)
        return np.ones((8,), np.float32)

    builder = GraphBuilder("lazy")
    x = builder.input("data", (2, 8, 10, 10))
    y = builder.op("Relu", [x], "y")
    z = builder.op("Mul", [y, builder.initializer("w", lambda: read().reshape(8, 1, 1), (8, 1, 1))], "z")
    model = Model(builder.build([z]), "test")
    reads.clear()
    evaluate(model, data, ["y"])
    assert reads == []
    reference(model, data)
    assert len(reads) == 1


def test_noise_covers_real_float32_and_is_not_far_above(data):
    model = net(layers=8)
    result = reference(model, data, "all")
    single = evaluate(model, data, "all", np.float32)
    for name, value in result.values.items():
        noise = result.noise[name]
        assert noise.shape == value.shape
        assert (np.abs(single[name] - value) <= 10 * noise).all()
        assert (noise[value != 0] < 1e-4).all()
    ratio = (single["fc"] - result.values["fc"]) / result.noise["fc"]
    assert 0.05 < np.sqrt(np.mean(ratio**2)) < 3


def test_the_same_seed_gives_the_same_noise(data):
    first, second, third = (reference(net(), data, seed=seed).noise["fc"] for seed in (1, 1, 2))
    assert (first == second).all() and (first != third).any()


def test_noise_grows_as_a_cancellation_demands(normal):
    """x + 1000 rounds at the size of 1000; subtracting 1000 keeps that error on values of the size of 1."""
    result = reference(elementwise(("Add", 1000.0), ("Sub", 1000.0)), {"data": normal(1, 4, 8, 8)}, samples=32)
    expected = EPSILON / np.sqrt(3) * 1000
    np.testing.assert_allclose(result.noise["y1"], expected, rtol=0.4)


def test_noise_is_amplified_as_the_condition_number_demands(normal):
    """Thirty times x -> x**1.5: the relative error grows by 1.5 each time."""
    x = np.abs(normal(1, 4, 8, 8)) * 0 + 1 + np.abs(normal(1, 4, 8, 8)) * 1e-6
    result = reference(elementwise(*[("Pow", 1.5)] * 30), {"data": x.astype(np.float32)}, "all", samples=16)
    growth = [result.noise[f"y{index}"].mean() / result.values[f"y{index}"].mean() for index in (9, 19, 29)]
    assert growth[1] / growth[0] == pytest.approx(1.5**10, rel=0.5)
    assert growth[2] / growth[1] == pytest.approx(1.5**10, rel=0.5)


def test_noise_is_never_below_the_operators_own_rounding(normal):
    model = elementwise(("Exp", None), ("Mul", 3.0), shape=(1, 1000))
    result = reference(model, {"data": normal(1, 1000)}, samples=1)
    assert (result.noise["y1"] >= EPSILON / np.sqrt(3) * result.values["y1"]).all()


def test_an_overflow_leaves_no_nan_in_the_noise():
    model = elementwise(("Exp", None), ("Add", 1.0), ("Min", 5.0), shape=(1, 3))
    result = reference(model, {"data": np.array([[1000.0, 1.0, 0.0]])}, "all")
    assert np.isposinf(result.values["y1"][0, 0]) and result.values["y2"][0, 0] == 5
    assert all(np.isfinite(noise).all() for noise in result.noise.values())


def test_inputs_are_float32_and_carry_no_noise():
    model = elementwise(("Relu", None), shape=(1, 1))
    result = reference(model, {"data": np.array([[1 + 1e-12]])})
    assert result.values["y0"].item() == 1 and result.noise["y0"].item() == 0


def test_integers_pass_through(normal):
    builder = GraphBuilder("arg")
    x = builder.input("data", (3, 7))
    y = builder.op("ArgMax", [builder.op("Exp", [x], "e")], "arg", axis=1, keepdims=0)
    z = builder.op("Cast", [y], "index", to=1)
    result = reference(Model(builder.build([z]), "test"), {"data": normal(3, 7)}, "all")
    assert result.values["arg"].dtype == np.int64 and result.values["index"].dtype == np.float64
    assert (result.noise["index"] == 0).all()


def test_noise_is_infinite_where_float32_does_not_decide_how_many_there_are():
    """100 values of 1, each computed with a rounding, compared with 1: some samples find more, some less."""
    builder = GraphBuilder("undecided")
    x = builder.input("data", (100,))
    third = builder.op(
        "Mul", [builder.op("Div", [x, builder.constant(3.0, "float32")]), builder.constant(3.0, "float32")]
    )
    chosen = builder.op("Greater", [builder.op("Add", [third, builder.constant(0.0, "float32")]), x])
    y = builder.op("Compress", [x, chosen], "kept", axis=0)
    result = reference(Model(builder.build([y]), "test"), {"data": np.ones(100, np.float32)})
    assert np.isinf(result.noise["kept"]).all()
    assert result.noise["kept"].shape == result.values["kept"].shape


def test_local_judges_each_layer_from_the_inputs_it_really_had(data):
    """A fault planted in one layer of a float32 run shows there, and in no layer behind it."""
    model = net(layers=6)
    run = evaluate(model, data, "all", np.float32)
    faulty = evaluate(model, data, ["conv3"], np.float32)["conv3"] * np.float32(1 + 1e-4)
    behind = {name for name in run if name not in {f"{op}{i}" for op in ("conv", "relu") for i in range(4)}}
    run |= rerun_from(model, "conv3", faulty, behind)
    names = [name for name in run if not name.startswith("Flatten")]
    judged = local(model, data | run, names)
    assert set(judged) == set(names)
    bad = [name for name, (value, noise) in judged.items() if (np.abs(run[name] - value) > 8 * noise + 1e-30).any()]
    assert bad == ["conv3"]


def rerun_from(model, name, value, behind):
    """What float32 makes of ``value`` in the layers ``behind`` it, the changed one and its ReLU included."""
    changed = {name: value, name.replace("conv", "relu"): np.maximum(value, 0)}
    for target in [value.name for node in model.graph for value in node.outputs if value.name in behind]:
        changed[target] = local_in_float32(model, changed, target)
    return changed


def local_in_float32(model, known, target):
    """One target from the nearest known values: evaluated in float64 and rounded, as good as any float32 run."""
    return local(model, known, [target])[target][0].astype(np.float32)


def test_local_rounding_of_one_operator_is_exactly_its_own(data):
    model = net(layers=2)
    run = evaluate(model, data, "all", np.float32)
    _, noise = local(model, data | run, ["conv1"])["conv1"]
    own = reference(conv_alone(model), {"relu0": run["relu0"]}, samples=2).noise["conv1"]
    np.testing.assert_allclose(noise, own)


def conv_alone(model):
    """The layer conv1 of ``net`` as a model of its own."""
    builder = GraphBuilder("alone")
    x = builder.input("relu0", (2, 8, 10, 10))
    weight = builder.initializer("w", model.graph.initializers["conv1.weight"].const_value.numpy())
    return Model(builder.build([builder.op("Conv", [x, weight], "conv1", pads=[1] * 4)]), "test")


def test_local_spans_values_that_nobody_knows(data):
    """Only conv0 and conv2 known: conv2 is judged over relu0, conv1, relu1 and conv2, with the noise of them all."""
    model = net(layers=3)
    run = evaluate(model, data, "all", np.float32)
    short = local(model, data | run, ["conv2"])["conv2"]
    long = local(model, data | {"conv0": run["conv0"]}, ["conv2"])["conv2"]
    assert (np.abs(run["conv2"] - long[0]) < 8 * long[1]).all()
    assert long[1].mean() > 1.2 * short[1].mean()


def test_a_thousand_layers_are_walked_once(normal):
    model = elementwise(*[("Add", 1.0)] * 1000, shape=(1, 1))
    x = np.zeros((1, 1), np.float32)
    assert local(model, {"data": x, "y500": x}, ["y499", "y500", "y999"])["y999"][0].item() == 499
    assert reference(model, {"data": x}).values["y999"].item() == 1000


def test_what_is_not_known_is_named():
    with pytest.raises(ValueError, match="value of data is not given"):
        local(net(), {}, ["conv0"])


def test_an_operator_that_fails_is_named_with_its_origin(normal):
    builder = GraphBuilder("gather")
    with builder.layer(Origin("embed", "Embed", "net.prototxt", 5)):
        index = builder.input("data", (2,), "int64")
        table = builder.initializer("embed.weight", normal(3, 4))
        y = builder.op("Gather", [table, index], "embed")
    with pytest.raises(ValueError, match=r'net.prototxt:5: layer "embed" \(Embed\)'):
        evaluate(Model(builder.build([y]), "test"), {"data": np.array([0, 3])})
