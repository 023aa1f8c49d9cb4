"""Which function turns which Caffe layer type into hub operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from .context import LayerContext

#: A handler adds the operators of one layer and returns one value per top.
Handler = Callable[["LayerContext"], Sequence[ir.Value] | ir.Value]

_handlers: dict[str, Handler] = {}


class Refusal(Exception):
    """A layer that cannot be handled: ``reason`` says why, ``help`` what the user can do instead."""

    def __init__(self, reason: str, help: str = "") -> None:
        super().__init__(reason)
        self.reason, self.help = reason, help


def layer(*types: str) -> Callable[[Handler], Handler]:
    """Register the decorated handler for these layer types; registering a type twice raises ValueError."""

    def register(handler: Handler) -> Handler:
        for name in types:
            if name in _handlers:
                raise ValueError(f"layer type {name} is registered twice")
            _handlers[name] = handler
        return handler

    return register


def find(layer_type: str) -> Handler | None:
    """The handler of a layer type, None for an unknown one."""
    return _handlers.get(layer_type)


def types() -> list[str]:
    """Every layer type that can be read, sorted."""
    return sorted(_handlers)
