"""model.py as a whole: what a person reads first, the imports, the classes; formatted by ruff."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

import onnx_ir as ir

from converter.errors import WriteError
from converter.frameworks.pytorch.emit.classes import RenderedClass
from converter.frameworks.pytorch.emit.names import quoted
from converter.frameworks.pytorch.emit.pieces import piece
from converter.graph.model import Model, Preprocessing, shape_of

#: Lines of the written file are no longer than this.
LINE_LENGTH = 100
#: What ruff checks in the written file.
RULES = "E,F,I,B,UP"


def module_source(
    model: Model, classes: Sequence[RenderedClass], pieces: Sequence[str], preprocessing: Preprocessing | None
) -> str:
    """The text of model.py; the last of ``classes`` is the net, ``pieces`` are files of emit/pieces."""
    bodies = [piece(name) for name in pieces] + [rendered.source for rendered in classes]
    text = "\n\n".join(bodies)
    imports = []
    if re.search(r"\btorch\.", text):
        imports.append("import torch")
    if re.search(r"\bF\.", text):
        imports.append("import torch.nn.functional as F")
    if re.search(r"\bnn\.", text):
        imports.append("from torch import nn")
    parts = [_docstring(model, classes[-1], preprocessing), "\n".join(imports), text]
    return format_source("\n\n".join(parts))


def _docstring(model: Model, net: RenderedClass, preprocessing: Preprocessing | None) -> str:
    files = ", ".join(quoted(path.name) for path in model.files)
    origin = f"converted from {model.framework.capitalize()}" + (f" ({files})" if files else "")
    lines = [f'"""{quoted(model.name)}, {origin}.', ""]
    lines += [f"Input {name}: {_describe(value)}" for name, value in zip(net.inputs, model.graph.inputs, strict=True)]
    lines += [f"Output {quoted(value.name)}: {_describe(value)}" for value in model.graph.outputs]
    lines += _preprocessing(preprocessing)
    lines += ["", "    from safetensors.torch import load_file", ""]
    lines += [f"    net = {net.name}().eval()", '    net.load_state_dict(load_file("model.safetensors"))', ""]
    lines += _renamed(net)
    return "\n".join(_wrapped(lines)).rstrip() + '\n"""\n'


def _describe(value: ir.Value) -> str:
    dtype = value.dtype.numpy().name
    shape = shape_of(value)
    sizes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    return f"({sizes})" + ("" if dtype == "float32" else f" {dtype}")


def _preprocessing(wanted: Preprocessing | None) -> list[str]:
    if wanted is None:
        return []
    steps = [f"resized to {wanted.resize[0]}x{wanted.resize[1]}"] if wanted.resize else []
    steps += [f"cropped to {wanted.crop[0]}x{wanted.crop[1]}"] if wanted.crop else []
    steps += [f"channels {quoted(wanted.channels)}", "values 0..255"]
    steps += [f"minus {', '.join(f'{float(value):g}' for value in wanted.mean)}"] if wanted.mean else []
    steps += [f"times {float(wanted.scale):.9g}"] if wanted.scale != 1.0 else []
    return ["", f"Images: {', '.join(steps)}."]


def _renamed(net: RenderedClass) -> list[str]:
    """Names that differ by more than an underscore from the model's own."""
    if not net.changed:
        return []
    return ["Attributes that could not keep the layer's name:"] + [
        f"    {attribute}: {quoted(name, 40)}" for attribute, name in net.changed.items()
    ]


def _wrapped(lines: Sequence[str]) -> list[str]:
    from textwrap import wrap

    result = []
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        result += wrap(line, LINE_LENGTH, subsequent_indent=indent) if len(line) > LINE_LENGTH else [line]
    return result


def format_source(text: str) -> str:
    """``text`` as ``ruff format`` leaves it. Raises WriteError where ruff refuses: then the text is our mistake."""
    from ruff import find_ruff_bin

    command = [find_ruff_bin(), "format", "--isolated", f"--line-length={LINE_LENGTH}", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", timeout=120)
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise WriteError(f"the written source cannot be formatted: {reason[0] if reason else 'ruff failed'}")
    return done.stdout
