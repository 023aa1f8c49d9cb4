"""Passes that bring a hub graph into the form that a writer wants. Values keep their names wherever they survive.

A pass is an ``onnx_ir.passes.InPlacePass``: ``requires`` says what it takes for granted and ``ensures`` what holds
afterwards, both checked at every run (a violation is our mistake and raises ``onnx_ir.passes.InvariantError``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from converter.graph.model import Model


def run(model: Model, passes: Iterable[type[ir.passes.InPlacePass]]) -> Model:
    """A model whose graph is a copy that ``passes`` have worked on, in their order; the weights are shared."""
    copy = model.ir.clone()
    copy.graph.meta.update(model.graph.meta)
    for kind in passes:
        kind()(copy)
    return replace(model, ir=copy)
