"""The rules of the PyTorch writer, a family of operators a file; importing this package fills the table."""

from converter.frameworks.pytorch.emit import (  # noqa: F401 - imported to register
    activation,
    arithmetic,
    convolution,
    detection,
    normalisation,
    pooling,
    recurrent,
    reduction,
    resize,
    shape,
)
from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Module, Weight, emit, emitted

__all__ = ["CannotEmit", "Code", "Module", "Weight", "emit", "emitted"]
