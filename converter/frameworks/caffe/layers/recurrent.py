"""LSTM and RNN: sequences (T, N, ...) whose state a continuation input (T, N) resets.

Bottoms: x, continuation, [static input (N, ...)], and with ``expose_hidden`` the first states (1, N, H); then the
last states are further tops.
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from converter.graph.model import HUB_DOMAIN

from ..parameters import Parameter
from .context import LayerContext
from .dense import linear
from .registry import layer


def _inputs(context: LayerContext, states: int) -> tuple[ir.Value, ir.Value, ir.Value | None, list[ir.Value | None]]:
    """x as (T, N, I), continuation, static input, first states as (N, H), all checked."""
    message = context.param("recurrent_param")
    exposed = states if message.get("expose_hidden") else 0
    x = context.expect(bottoms=(2 + exposed, 3 + exposed), tops=1 + exposed, rank=(3, None))
    shape = context.shape(x)
    hidden = message.get("num_output")
    if hidden < 1:
        raise context.error("num_output must be positive")
    if context.shape(context.bottoms[1]) != shape[:2]:
        raise context.error(f"its continuation has shape {context.shape(context.bottoms[1])}, x wants {shape[:2]}")
    static = context.bottoms[2] if len(context.bottoms) == 3 + exposed else None
    if static is not None and (len(context.shape(static)) < 2 or context.shape(static)[0] != shape[1]):
        raise context.error(f"its static input has shape {context.shape(static)}, x is {shape}")
    first: list[ir.Value | None] = [None] * states
    if exposed:
        first = context.bottoms[-states:]
        if any(context.shape(state) != (1, shape[1], hidden) for state in first):
            raise context.error(f"its first states must have shape {(1, shape[1], hidden)}")
        first = [context.op("Squeeze", state, context.constant([0])) for state in first]
    else:
        context.notes.append(
            f'layer "{context.layer.name}": real Caffe carries the state of an {context.layer.type} over from '
            "one call to the next; here every call starts from zeros"
        )
    if len(shape) > 3:
        x = context.op("Reshape", x, context.constant([0, 0, -1]))
    return x, context.bottoms[1], static, first


def _weights(
    context: LayerContext, x: ir.Value, static: ir.Value | None, rows: int, *extra: Parameter
) -> list[ir.Value | None]:
    """Input weight, bias, static weight or None, recurrent weight, then ``extra``; in the order of the file."""
    message, width = context.param("recurrent_param"), context.shape(x)[2]
    weight, bias, hidden = message.get("weight_filler"), message.get("bias_filler"), message.get("num_output")
    wanted = [Parameter("weight", (rows, width), weight), Parameter("bias", (rows,), bias)]
    if static is not None:
        wanted.append(Parameter("static_weight", (rows, prod(context.shape(static)[1:])), weight))
    wanted.append(Parameter("recurrent_weight", (rows, hidden), weight))
    found = context.weights(*wanted, *extra)
    return found if static is not None else [*found[:2], None, *found[2:]]


def _results(context: LayerContext, sequence: ir.Value, last: list[ir.Value]) -> list[ir.Value]:
    if context.count == 1:
        return [sequence]
    return [sequence, *(context.op("Unsqueeze", state, context.constant([0])) for state in last)]


@layer("LSTM")
def lstm(context: LayerContext) -> list[ir.Value]:
    """Gates i, f, o, g; c = f*c + i*g and h = o*tanh(c), both multiplied by the continuation before they are used."""
    x, continuation, static, first = _inputs(context, 2)
    rows = 4 * context.param("recurrent_param").get("num_output")
    weight, bias, static_weight, recurrent = _weights(context, x, static, rows)
    projected = None if static is None else linear(context, static, 1, static_weight)
    sequence, *last = context.op(
        "ResettableLSTM", x, continuation, weight, recurrent, bias, projected, *first, outputs=3, domain=HUB_DOMAIN
    )
    return _results(context, sequence, last)


@layer("RNN")
def rnn(context: LayerContext) -> list[ir.Value]:
    """h = tanh(W x + b + R (continuation * h)); the output is tanh(W_o h + b_o)."""
    x, continuation, static, first = _inputs(context, 1)
    message = context.param("recurrent_param")
    size = message.get("num_output")
    extra = (
        Parameter("output_weight", (size, size), message.get("weight_filler")),
        Parameter("output_bias", (size,), message.get("bias_filler")),
    )
    weight, bias, static_weight, recurrent, *output = _weights(context, x, static, size, *extra)
    projected = None if static is None else linear(context, static, 1, static_weight)
    hidden, last = context.op(
        "ResettableRNN", x, continuation, weight, recurrent, bias, projected, *first, outputs=2, domain=HUB_DOMAIN
    )
    return _results(context, context.op("Tanh", linear(context, hidden, 2, *output)), [last])
