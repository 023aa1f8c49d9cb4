# ruff: noqa: ANN001, ANN201, ANN204
import torch
import torch.nn.functional as F
from torch import nn


class ResettableRNN(nn.Module):
    """An RNN (tanh) whose state is multiplied by ``continuation`` (T, N) before every step.

    x is (T, N, input_size); ``static`` (N, hidden_size) is added at every step. Returns all hidden
    states (T, N, hidden_size) and the last one.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.zeros(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x, continuation, static=None, hidden=None):
        if hidden is None:
            hidden = x.new_zeros(x.shape[1], self.weight_hh.shape[1])
        projected = F.linear(x, self.weight_ih, self.bias)
        if static is not None:
            projected = projected + static
        states = []
        for step, kept in zip(projected, continuation[:, :, None], strict=True):
            hidden = torch.tanh(step + F.linear(hidden * kept, self.weight_hh))
            states.append(hidden)
        return torch.stack(states), hidden
