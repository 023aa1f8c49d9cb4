"""The judge judged: planted faults are caught and named, right conversions are never refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import score_judge  # noqa: E402
from score_judge import FAULTS, net, numpy_side, right_conversions, samples  # noqa: E402

from converter.errors import UsageError  # noqa: E402
from converter.graph.builder import GraphBuilder  # noqa: E402
from converter.graph.evaluate import evaluate, local  # noqa: E402
from converter.graph.model import Model, Origin  # noqa: E402
from converter.parity.judge import judge  # noqa: E402
from converter.parity.side import Side, recorded_side  # noqa: E402


def by_name(fault):
    return fault.name.replace(" ", "-")


@pytest.mark.parametrize("fault", FAULTS, ids=by_name)
def test_a_planted_fault_is_caught_and_its_layer_side_and_cause_are_named(fault):
    verdict, _ = score_judge.judge_fault(fault, seed=0, calibrated=True)
    assert not verdict.right
    assert score_judge.named(verdict, fault), verdict.summary()


@pytest.mark.parametrize("fault", FAULTS, ids=by_name)
def test_a_fault_in_an_ill_conditioned_net_is_caught(fault):
    verdict, strength = score_judge.judge_fault(fault, seed=1, calibrated=False)
    assert strength > 8
    assert verdict.bad_layer.origin.layer == fault.layer


@pytest.mark.parametrize("fault", FAULTS, ids=by_name)
def test_outputs_alone_show_a_fault_of_a_well_conditioned_net(fault):
    verdict, _ = score_judge.judge_fault(fault, seed=2, calibrated=True, outputs_only=True)
    assert not verdict.right


@pytest.mark.parametrize("calibrated", [True, False], ids=["calibrated", "ill-conditioned"])
@pytest.mark.parametrize("seed", range(4))
def test_a_right_conversion_is_never_refused(seed, calibrated):
    for label, verdict in right_conversions(seed, calibrated):
        assert verdict.right, f"{label}: {verdict.summary()}"


@settings(deadline=None, max_examples=15)
@given(channel=st.integers(0, 7), strength=st.floats(12, 1e4), seed=st.integers(0, 3))
def test_one_channel_that_is_off_by_a_dozen_roundings_is_caught(channel, strength, seed):
    model = net(seed)
    inputs = samples(model, seed)
    known = evaluate(model, inputs, "all", dtype=np.float32)
    value, noise = local(model, known | inputs, ["conv2"])["conv2"]
    off = value.copy()
    off[:, channel] += strength * noise[:, channel]
    known["conv2"] = off.astype(np.float32)

    def run(batch, names):
        return {name: known[name] for name in names}

    side = Side("off", "off", run, frozenset(known))
    verdict = judge(model, numpy_side(model), side, inputs)
    figure = next(layer for layer in verdict.layers if layer.name == "conv2").target
    assert not figure.right


def test_several_batches_are_judged_like_one():
    model = net(0)
    inputs = {"data": np.concatenate([samples(model, seed)["data"] for seed in range(3)])}
    verdict = judge(model, numpy_side(model), numpy_side(model), inputs)
    assert verdict.right
    assert verdict.samples == 12


def test_nan_where_the_reference_has_none_is_wrong():
    model = net(0)
    inputs = samples(model, 0)

    def run(batch, names):
        return {name: np.full_like(array, np.nan) for name, array in evaluate(model, batch, names, np.float32).items()}

    verdict = judge(model, numpy_side(model), Side("nan", "nan", run, frozenset(["fc2"])), inputs)
    assert not verdict.right
    assert "NaN" in verdict.reason()


def test_another_shape_is_wrong():
    model = net(0)

    def run(batch, names):
        return {"prob": np.zeros((4, 11), np.float32)}

    verdict = judge(model, numpy_side(model), Side("other", "other", run, frozenset(["prob"])), samples(model, 0))
    assert verdict.reason() == "its shape is 4x11 and should be 4x10"


def test_an_output_that_is_not_given_is_wrong():
    model = net(0)
    silent = Side("silent", "silent", lambda batch, names: {}, frozenset())
    verdict = judge(model, numpy_side(model), silent, samples(model, 0))
    assert verdict.first_bad == "prob"
    assert verdict.reason() == "the runtime does not give this tensor"


def test_inputs_that_do_not_fit_are_refused():
    model = net(0)
    with pytest.raises(UsageError, match="input data takes"):
        judge(model, numpy_side(model), numpy_side(model), {"data": np.zeros((4, 3, 18, 16), np.float32)})
    with pytest.raises(UsageError, match="no data for input data"):
        judge(model, numpy_side(model), numpy_side(model), {})


def test_recorded_outputs_answer_for_the_inputs_that_were_recorded():
    model = net(0)
    inputs = samples(model, 0)
    side = recorded_side("caffe", "Caffe, recorded", inputs, evaluate(model, inputs, ["fc2", "prob"], np.float32))
    verdict = judge(model, side, numpy_side(model), inputs)
    assert verdict.right
    assert verdict.recorded == ("caffe",)
    with pytest.raises(UsageError, match="no output was recorded"):
        judge(model, side, numpy_side(model), samples(model, 1))


def decision(op, shape, **attributes):
    """A net of one decision; returns the model and the name of its output."""
    builder = GraphBuilder("decision")
    x = builder.input("x", shape)
    with builder.layer(Origin("decide", op)):
        model = builder.build([builder.op(op, [x], "decided", **attributes)])
    return Model(model, "hub")


def test_either_of_two_equal_maxima_may_be_chosen_but_no_other():
    model = decision("ArgMax", (1, 4), axis=1, keepdims=0)
    inputs = {"x": np.array([[0, 2, 2, 1]], np.float32)}

    def chooses(index):
        return Side("other", "other", lambda *_: {"decided": np.array([index])}, frozenset(["decided"]))

    assert judge(model, numpy_side(model), chooses(2), inputs).right
    assert not judge(model, numpy_side(model), chooses(3), inputs).right


def filter_net():
    """A Filter that keeps the rows of a positive sum; that of the fourth row is zero but for rounding."""
    builder = GraphBuilder("filter")
    x = builder.input("x", (8, 4))
    with builder.layer(Origin("keep", "Filter")):
        total = builder.op("ReduceSum", [x, builder.constant([1])], keepdims=0)
        kept = builder.op("Greater", [total, builder.constant(0.0, "float32")])
        model = Model(builder.build([builder.op("Compress", [x, kept], "kept", axis=0)]), "hub")
    rows = np.random.default_rng(0).uniform(-1, 1, (8, 4)).astype(np.float32)
    rows[3] = [1, -1, 0.3, -0.3]
    return model, {"x": rows}


def filtered(rows):
    return Side("other", "other", lambda *_: {"kept": rows}, frozenset(["kept"]))


@pytest.mark.parametrize("borderline", [True, False])
def test_a_row_that_rounding_keeps_or_drops_may_be_kept_or_dropped(borderline):
    model, inputs = filter_net()
    rows, keep = inputs["x"], inputs["x"].astype(np.float64).sum(axis=1) > 0
    keep[3] = borderline
    assert judge(model, numpy_side(model, taps=frozenset(["kept"])), filtered(rows[keep]), inputs).right


def test_where_rounding_decides_the_size_the_values_are_judged_all_the_same():
    model, inputs = filter_net()
    rows, keep = inputs["x"], inputs["x"].astype(np.float64).sum(axis=1) > 0
    assert not judge(model, numpy_side(model), filtered(np.full_like(rows[keep], 55)), inputs).right
    keep[0] ^= True
    assert not judge(model, numpy_side(model), filtered(rows[keep]), inputs).right


def test_an_overflow_inside_one_side_alone_is_wrong():
    builder = GraphBuilder("overflow")
    x = builder.input("x", (1, 2))
    large = builder.constant(1e30, "float32")
    for name, op in (("up", "Mul"), ("higher", "Mul"), ("back", "Div"), ("down", "Div")):
        with builder.layer(Origin(name, op)):
            x = builder.op(op, [x, large], name)
    model, inputs = Model(builder.build([x]), "hub"), {"x": np.array([[1, 2]], np.float32)}
    merged = Side("merged", "merged", lambda batch, names: {"down": batch["x"]}, frozenset(["down"]))
    with np.errstate(over="ignore"):
        verdict = judge(model, numpy_side(model), merged, inputs)
    assert verdict.side == "source"
    assert "infinity" in verdict.reason()


def test_a_thousand_layers_are_judged_in_linear_time():
    builder = GraphBuilder("deep")
    x = builder.input("data", (1, 4))
    for number in range(1000):
        with builder.layer(Origin(f"layer{number}", "Tanh")):
            x = builder.op("Tanh", [x], f"layer{number}")
    model = Model(builder.build([x]), "hub")
    verdict = judge(model, numpy_side(model), numpy_side(model), {"data": np.ones((1, 4), np.float32)})
    assert verdict.right
    assert len(verdict.layers) == 1000
