# ruff: noqa: ANN001, ANN201, ANN204
def mean_variance_norm(x, dim):
    """Zero mean and unit deviation along ``dim``; 1e-9 is added to the deviation."""
    centred = x - x.mean(dim, keepdim=True)
    return centred / (centred.square().mean(dim, keepdim=True).sqrt() + 1e-9)
