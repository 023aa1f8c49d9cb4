"""What a repeated block and the layers inside it are called, from the names that the model itself uses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import onnx_ir as ir

from converter.frameworks.pytorch.emit.names import class_name
from converter.frameworks.pytorch.emit.step import Step

#: Tokens of a name that are looked at; longer names are hostile.
MOST_TOKENS = 16


@lru_cache(maxsize=4096)
def tokens(name: str) -> tuple[tuple[str, int, int], ...]:
    """(text, start, end) of words and of numbers with one letter: "res2a_branch1" is res, 2a, branch, 1."""
    found = re.finditer(r"\d+[a-z]?(?![A-Za-z])|\d+|[A-Za-z]+", name)
    return tuple((match[0], match.start(), match.end()) for match in found)[:MOST_TOKENS]


def common_run(names: Sequence[str]) -> tuple[str, ...]:
    """The longest sequence of tokens, with a number in it, that all names contain; empty where there is none."""
    if not names:
        return ()
    shortest = min((tuple(token[0] for token in tokens(name)) for name in names), key=len)
    for length in range(len(shortest), 0, -1):
        for start in range(len(shortest) - length + 1):
            run = shortest[start : start + length]
            if any(token[0].isdigit() for token in run) and all(_ends_a_word(name, run) for name in names):
                return run
    return ()


def contains(name: str, run: tuple[str, ...]) -> bool:
    """Whether ``name`` has the tokens ``run`` in it."""
    return _find(tuple(token[0] for token in tokens(name)), run) is not None


def _ends_a_word(name: str, run: tuple[str, ...]) -> bool:
    """Whether ``run`` occurs in ``name`` and stops at its end or before a separator, not within "x1"."""
    parts = tokens(name)
    place = _find(tuple(token[0] for token in parts), run)
    if place is None:
        return False
    end = parts[place + len(run) - 1][2]
    return not name[end : end + 1].isalnum()


def _find(text: tuple[str, ...], run: tuple[str, ...]) -> int | None:
    places = range(len(text) - len(run) + 1)
    return next((place for place in places if text[place : place + len(run)] == run), None)


def stem(names: Sequence[str]) -> str:
    """What all ``names`` share: "stage0_block1", or with the word before a lone number ("res2a"); "" for nothing."""
    run = common_run(names)
    if not run:
        return ""
    parts = tokens(names[0])
    place = _find(tuple(token[0] for token in parts), run)
    start = parts[place][1]
    if names[0][start].isdigit():
        # The number alone is no name: take what stands before it in the first layer's.
        start = parts[place - 1][1] if place else 0
    return names[0][start : parts[place + len(run) - 1][2]]


def shorten(name: str, run: tuple[str, ...], prefix: str) -> str:
    """``name`` without the tokens ``run``; with ``prefix`` where nothing or a number is left at the beginning."""
    parts = tokens(name)
    place = _find(tuple(token[0] for token in parts), run) if run else None
    if place is None:
        return name
    around = name[: parts[place][1]], name[parts[place + len(run) - 1][2] :]
    left = "_".join(part for part in (re.sub(r"\W", "_", text).strip("_") for text in around) if part)
    return f"{prefix}_{left}".strip("_") if not left or left[0].isdigit() else left


def layer_run(steps: Sequence[Step]) -> tuple[str, ...]:
    """What the names of all layers that become attributes have in common."""
    return common_run([step.layer for step in steps if step.code.module or step.tensors()])


def inner_names(steps: Sequence[Step], run: tuple[str, ...]) -> list[str]:
    """The layers' names without what they share; a name that begins with a number gets the kind of layer before it."""
    return [shorten(step.layer, run, _kind(step)) for step in steps]


def _kind(step: Step) -> str:
    if step.code.module is None:
        return "layer"
    return re.sub(r"\d.*", "", step.code.module.kind.removeprefix("nn.")).lower()


def block_name(steps: Sequence[Step], entry: ir.Value, block: str) -> str:
    """The usual name of such a block, or the words in the names of its layers ("inception_3a": Inception)."""
    kernels = [
        step.code.module.arguments["kernel_size"]
        for step in steps
        if step.code.module and step.code.module.kind.startswith("nn.Conv")
    ]
    for step in reversed(steps):
        # What joins the branches again.
        if step.code.expression == "{0} + {1}":
            identity = any(value is entry for value in step.inputs)
            if kernels[-3:][::2] == [1, 1] and len(kernels) == 3 + (not identity):
                usual = "Bottleneck"
            else:
                usual = "BasicBlock" if len(kernels) == 2 + (not identity) else "ResidualBlock"
            return usual if identity else f"Projection{usual}"
        if step.code.expression.startswith("torch.cat("):
            if any(value is entry for value in step.inputs):
                return "DenseLayer"
            break
    words = [word for word in re.findall(r"[A-Za-z]{2,}", block) if word.lower() not in ("conv", "layer", "relu")]
    if words:
        return class_name("_".join(words))
    depthwise = any(step.code.module and "groups" in step.code.module.options for step in steps)
    return "DepthwiseSeparable" if depthwise else "Block"
