# ruff: noqa: ANN001, ANN201, ANN204
import torch


def max_pool_with_indices(pool, x):
    """The maxima and where they lie in the flattened x (PyTorch counts inside one channel)."""
    values, indices = pool(x)
    planes = x.shape[0] * x.shape[1]
    first = torch.arange(planes, device=x.device) * x[0, 0].numel()
    return values, indices + first.reshape(x.shape[:2] + (1,) * (x.dim() - 2))
