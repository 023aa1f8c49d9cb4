"""converter::ResettableLSTM and converter::ResettableRNN: recurrences whose state a ``continuation`` input resets.

Inputs of the LSTM: x (T, N, I), continuation (T, N), W (4H, I), R (4H, H), B (4H), then optionally static (N, 4H)
(already projected), h0 and c0 (N, H). The RNN has H in place of 4H and no c0. Gates lie in the order i, f, o, g.
Outputs: the hidden states (T, N, H), the last hidden state and, of the LSTM, the last cell state, (N, H) each.
Source: the recurrences of BVLC Caffe (lstm_layer, lstm_unit_layer, rnn_layer), measured against it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converter.graph.model import HUB_DOMAIN
from converter.graph.ops.activation import sigmoid
from converter.graph.ops.common import Array, Arrays, Infos, optional, rounded, rounded_sum
from converter.graph.ops.registry import Attributes, Inferred, Op, register

Step = Callable[..., tuple[Array, ...]]

#: Perturbed runs from which the rounding of a whole recurrence is estimated.
SAMPLES = 8


def _infer(gates: int, states: int) -> Callable[[Attributes, Infos], list[Inferred]]:
    """Shapes for a recurrence with that many blocks of H rows in its weights and that many states."""

    def infer(attributes: Attributes, inputs: Infos) -> list[Inferred]:
        x, continuation, weight, recurrent, bias = (info.shape for info in inputs[:5])
        if len(x) != 3 or len(recurrent) != 2:
            raise ValueError(f"needs x (T, N, I) and two-dimensional weights, not {x} and {recurrent}")
        (steps, samples, features), hidden = x, recurrent[1]
        expected = [
            ("continuation", continuation, (steps, samples)),
            ("input weight", weight, (gates * hidden, features)),
            ("recurrent weight", recurrent, (gates * hidden, hidden)),
            ("bias", bias, (gates * hidden,)),
        ]
        optionals = [(5, "static", gates * hidden), (6, "h0", hidden), (7, "c0", hidden)]
        for index, name, width in optionals[: 1 + states]:
            if optional(inputs, index) is not None:
                expected.append((name, inputs[index].shape, (samples, width)))
        for name, shape, wanted in expected:
            if shape != wanted:
                raise ValueError(f"{name} {shape} must be {wanted}")
        return [Inferred((steps, samples, hidden)), *[Inferred((samples, hidden))] * states]

    return infer


def _lstm_step(gates: Array, hidden: Array, cell: Array) -> tuple[Array, Array]:
    i, f, o, g = np.split(gates, 4, axis=-1)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def _rnn_step(gates: Array, hidden: Array) -> tuple[Array]:
    return (np.tanh(gates),)


def _scan(step: Step, states: int, inputs: Arrays, random: np.random.Generator | None = None) -> list[Array]:
    """Run ``step(gates, *states) -> states`` over time; with ``random`` every step rounds as float32 would."""
    x, continuation, weight, recurrent, bias = inputs[:5]
    projected = x @ weight.T + bias
    squares = np.square(x) @ np.square(weight).T + np.square(bias)
    if optional(inputs, 5) is not None:
        projected, squares = projected + inputs[5], squares + np.square(inputs[5])
    zeros = np.zeros((x.shape[1], recurrent.shape[1]), projected.dtype)
    current = [zeros if optional(inputs, 6 + index) is None else inputs[6 + index] for index in range(states)]
    sequence = np.empty((x.shape[0], *zeros.shape), projected.dtype)
    terms = x.shape[2] + zeros.shape[1] + 1
    for time in range(x.shape[0]):
        current = [continuation[time][:, None] * state for state in current]
        gates = projected[time] + current[0] @ recurrent.T
        if random is not None:
            squared = squares[time] + np.square(current[0]) @ np.square(recurrent).T
            gates = gates + random.standard_normal(gates.shape) * rounded_sum(terms, squared, gates)
        current = list(step(gates, *current))
        if random is not None:
            # The constant: a sigmoid's absolute error, see activation.py.
            current = [state + random.standard_normal(state.shape) * rounded(state, 0.5) for state in current]
        sequence[time] = current[0]
    return [sequence, *current]


def _rounding(step: Step, states: int) -> Callable[[Attributes, Arrays, list[Array]], list[Array]]:
    """Errors feed back through the states: measured by rounding every step of SAMPLES runs at random."""

    def rounding(attributes: Attributes, inputs: Arrays, outputs: list[Array]) -> list[Array]:
        random = np.random.default_rng(0)
        runs = [_scan(step, states, inputs, random) for _ in range(SAMPLES)]
        errors = []
        for index, output in enumerate(outputs):
            variance = np.mean([np.square(run[index] - output) for run in runs], axis=0)
            errors.append(np.sqrt((variance + variance.mean(axis=-1, keepdims=True)) / 2))
        return errors

    return rounding


for _name, _step, _gates, _states in (("ResettableLSTM", _lstm_step, 4, 2), ("ResettableRNN", _rnn_step, 1, 1)):
    register(
        Op(
            _name,
            HUB_DOMAIN,
            _infer(_gates, _states),
            lambda attributes, inputs, step=_step, states=_states: _scan(step, states, inputs),
            _rounding(_step, _states),
        )
    )
