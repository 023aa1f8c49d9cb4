# ruff: noqa: ANN001, ANN201, ANN204
import torch
import torch.nn.functional as F
from torch import nn


class ResettableLSTM(nn.Module):
    """An LSTM whose state is multiplied by ``continuation`` (T, N) before every step: 0 resets it.

    x is (T, N, input_size). The gates lie in the order input, forget, output, candidate; ``static``
    (N, 4 * hidden_size) is added to them at every step. Returns all hidden states
    (T, N, hidden_size), the last one and the last cell.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.zeros(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))

    def forward(self, x, continuation, static=None, hidden=None, cell=None):
        zeros = x.new_zeros(x.shape[1], self.weight_hh.shape[1])
        hidden = zeros if hidden is None else hidden
        cell = zeros if cell is None else cell
        projected = F.linear(x, self.weight_ih, self.bias)
        if static is not None:
            projected = projected + static
        states = []
        for gates, kept in zip(projected, continuation[:, :, None], strict=True):
            hidden, cell = hidden * kept, cell * kept
            i, f, o, g = (gates + F.linear(hidden, self.weight_hh)).chunk(4, dim=1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            states.append(hidden)
        return torch.stack(states), hidden, cell
