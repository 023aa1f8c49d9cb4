"""LSTM and RNN against the real Caffe."""

import numpy as np
import pytest

from converter.errors import ReadError
from parity_tests.frameworks.caffe.reading import assert_as_real, layer, net, normal, random_inputs, read_text
from parity_tests.runtimes import needs_runtime

pytestmark = needs_runtime("caffe")
STEPS, STREAMS, HIDDEN = 4, 3, 5


def weights(kind, inputs, static):
    rows = 4 * HIDDEN if kind == "LSTM" else HIDDEN
    shapes = [(rows, inputs), (rows,), *([(rows, static)] if static else []), (rows, HIDDEN)]
    if kind == "RNN":
        shapes += [(HIDDEN, HIDDEN), (HIDDEN,)]
    return {"layer": [0.5 * blob for blob in normal(*shapes)]}


def bottoms(shape, kind, static, exposed):
    """Names and shapes of the bottoms, names of the tops."""
    names = {"data": shape, "cont": shape[:2]}
    if static:
        names["static"] = static
    states = {"LSTM": ["h", "c"], "RNN": ["h"]}[kind] if exposed else []
    names |= {f"{state}0": (1, STREAMS, HIDDEN) for state in states}
    return names, " ".join(["top", *(f"{state}n" for state in states)])


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
@pytest.mark.parametrize("shape, width", [((STEPS, STREAMS, 6), 6), ((STEPS, STREAMS, 2, 3), 6), ((1, STREAMS, 1), 1)])
@pytest.mark.parametrize("static", [None, (STREAMS, 2), (STREAMS, 2, 2)])
@pytest.mark.parametrize("exposed", [False, True])
def test_recurrent(caffe, tmp_path, kind, shape, width, static, exposed):
    inputs, tops = bottoms(shape, kind, static, exposed)
    parameters = f"recurrent_param {{ num_output: {HIDDEN} expose_hidden: {str(exposed).lower()} }}"
    text = net(inputs, layer(kind, " ".join(inputs), tops, parameters))
    stored = weights(kind, width, int(np.prod(static[1:])) if static else 0)
    model = read_text(tmp_path, text, stored)
    continuation = np.ones(shape[:2], np.float32)
    continuation[0] = 1 if exposed else 0
    continuation[-1, 1] = 0
    assert_as_real(caffe, model, random_inputs(model) | {"cont": continuation})
    assert any("carries the state" in note for note in model.notes) != exposed


def test_a_continuation_of_another_length_is_an_error(tmp_path):
    text = net(
        {"data": (4, 3, 6), "cont": (3, 4)}, layer("LSTM", "data cont", "top", "recurrent_param { num_output: 5 }")
    )
    with pytest.raises(ReadError, match="continuation has shape"):
        read_text(tmp_path, text, weights("LSTM", 6, 0))
