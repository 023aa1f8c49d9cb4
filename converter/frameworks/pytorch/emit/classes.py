"""One nn.Module class: its attributes, its constructor and its straight-line forward."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from converter.frameworks.pytorch.emit.code import Module, Weight
from converter.frameworks.pytorch.emit.forward import Forward
from converter.frameworks.pytorch.emit.names import MODULE_ATTRIBUTES, Names, keeps
from converter.frameworks.pytorch.emit.step import Step

#: Fewer statements than this per paragraph on average, and forward is left in one piece.
SHORTEST_PARAGRAPH = 3


@dataclass
class RenderedClass:
    """The source of a class. ``attributes[i]`` names what step i owns (its module under "module"); ``ordinals[i]`` is
    the statement of step i in forward, None where it is part of another statement; ``inputs`` are forward's."""

    name: str
    source: str
    attributes: list[dict[str, str]]
    ordinals: list[int | None]
    inputs: list[str]
    changed: dict[str, str]

    def weights(self, steps: Sequence[Step], prefix: str = "") -> Iterator[tuple[str, Weight]]:
        """(state dict key, tensor) of an instance made of ``steps``; shared tensors come under each of their keys."""
        seen = set()
        for step, names in zip(steps, self.attributes, strict=True):
            if step.block is not None:
                yield from step.block.weights(step.steps, f"{prefix}{names['module']}.")
            elif step.code.module is not None:
                for tensor, weight in step.code.module.tensors.items():
                    yield f"{prefix}{names['module']}.{tensor}", weight
            for placeholder, weight in step.tensors().items():
                if names[placeholder] not in seen:
                    seen.add(names[placeholder])
                    yield prefix + names[placeholder], weight

    def taps(self, steps: Sequence[Step], path: str = "") -> Iterator[tuple[str, str]]:
        """(hub value name, address "<module path>:<statement>" of it) for every value that forward assigns."""
        for step, names, ordinal in zip(steps, self.attributes, self.ordinals, strict=True):
            if step.block is not None:
                yield from step.block.taps(step.steps, f"{path}.{names['module']}".lstrip("."))
            if ordinal is None:
                continue
            for index, value in enumerate(step.outputs):
                if not value.metadata_props.get("converter.private"):
                    yield value.name, f"{path}:{ordinal}" + (f".{index}" if step.code.results > 1 else "")


def render_class(
    name: str,
    steps: Sequence[Step],
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    layers: Sequence[str] | None = None,
    parameters: Sequence[str] = (),
    input_names: Sequence[str] | None = None,
    local_name: Callable[[str], str] = str,
) -> RenderedClass:
    """The class that computes ``outputs`` from ``inputs``.

    ``layers`` are the names by which to call the steps' attributes (default: their layers'); ``parameters`` those of
    the constructor, which occur as :class:`Name` in the steps' modules. ``local_name`` shortens the model's names of
    values.
    """
    layers = layers or [step.layer for step in steps]
    attributes, changed = _name_attributes(steps, layers)
    forward = Forward(steps, attributes, inputs, outputs, input_names, local_name)
    paragraphs = _paragraphs(steps)
    lines = [f"class {name}(nn.Module):"]
    lines += [f"    def __init__({', '.join(['self', *parameters])}):", "        super().__init__()"]
    lines += [f"        {line}" for line in _constructor(steps, attributes, paragraphs)]
    lines += ["", f"    def forward({', '.join(['self', *forward.input_names])}):"]
    lines += [f"        {line}" for line in forward.lines(paragraphs)]
    return RenderedClass(name, "\n".join(lines) + "\n", attributes, forward.ordinals, forward.input_names, changed)


def _name_attributes(steps: Sequence[Step], layers: Sequence[str]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """A module is called like its layer (a second one of a layer: with its kind), a tensor like its initializer.

    Also returns those that could not be called so, with the layer's name.
    """
    names = Names(MODULE_ATTRIBUTES)
    attributes, changed, with_module, shared = [], {}, set(), {}
    for step, layer in zip(steps, layers, strict=True):
        own = {}
        if step.code.module is not None:
            kind = re.sub(r"\W|\d.*", "", step.code.module.kind.removeprefix("nn.")).lower()
            own["module"] = names.take(f"{layer}_{kind}" if layer in with_module else layer)
            if layer not in with_module and not keeps(own["module"], layer):
                changed[own["module"]] = layer
            with_module.add(layer)
        for placeholder, weight in step.tensors().items():
            if weight.identity not in shared:
                # Initializers are called "<layer>.<what>": the part behind the layer follows the layer's name here.
                called = placeholder if not placeholder.isdigit() else step.inputs[int(placeholder)].name
                tail = called.removeprefix(f"{step.layer}.")
                own_layer = tail != called or not placeholder.isdigit()
                shared[weight.identity] = names.take(f"{layer}_{tail}" if own_layer else called)
            own[placeholder] = shared[weight.identity]
        attributes.append(own)
    return attributes, changed


def _constructor(steps: Sequence[Step], attributes: list[dict[str, str]], paragraphs: set[int]) -> Iterator[str]:
    """The statements of __init__ behind super()'s; a paragraph break is an empty line."""
    owners: dict[Any, str] = {}
    made: set[str] = set()
    pending_break = False
    for index, (step, own) in enumerate(zip(steps, attributes, strict=True)):
        pending_break = pending_break or index in paragraphs
        lines = []
        if step.code.module is not None:
            lines.append(f"self.{own['module']} = {construct(step.code.module)}")
            for tensor, weight in step.code.module.tensors.items():
                place = f"{own['module']}.{tensor}"
                if owners.setdefault(weight.identity, place) != place:
                    lines.append(f"self.{place} = self.{owners[weight.identity]}")
        for placeholder, weight in step.tensors().items():
            if own[placeholder] not in made:
                made.add(own[placeholder])
                lines.append(_declare(own[placeholder], weight))
        if lines and pending_break and (owners or made):
            yield ""
        if lines:
            pending_break = False
        yield from lines


def construct(module: Module) -> str:
    """The call that makes ``module``."""
    arguments = [repr(value) for value in module.arguments.values()]
    arguments += [f"{name}={value!r}" for name, value in module.options.items()]
    return f"{module.kind}({', '.join(arguments)})"


def _declare(attribute: str, weight: Weight) -> str:
    size = ", ".join(map(str, weight.shape)) if weight.shape else "()"
    if weight.trainable:
        fill = "ones" if attribute.endswith("weight") else "zeros"
        return f"self.{attribute} = nn.Parameter(torch.{fill}({size}))"
    dtype = "" if weight.dtype == "float32" else f", dtype=torch.{weight.dtype}"
    return f'self.register_buffer("{attribute}", torch.zeros({size}{dtype}))'


def _paragraphs(steps: Sequence[Step]) -> set[int]:
    """Indices at which a new stage begins: the first number in the layers' names changes (conv2_1 after pool1)."""
    breaks, current = set(), None
    for index, step in enumerate(steps):
        found = re.search(r"\d+", step.layer)
        stage = found[0] if found else current
        behind_blocks = found is None and index > 0 and steps[index - 1].block is not None
        if behind_blocks or (stage != current and current is not None):
            breaks.add(index)
        current = stage
    return breaks if len(steps) >= SHORTEST_PARAGRAPH * (len(breaks) + 1) else set()
