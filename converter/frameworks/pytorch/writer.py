"""Hub graph -> model.py (a plain nn.Module that a person would keep) and model.safetensors (its state dict).

The way of a node: emit/ decides what it is in PyTorch, emit/blocks.py finds what repeats and becomes a class of its
own, emit/classes.py chooses names and writes forward, emit/source.py puts the file together.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from converter.errors import UnsupportedLayer, UnsupportedLayers, WriteError
from converter.frameworks.options import WriteOptions
from converter.frameworks.pytorch import format
from converter.frameworks.pytorch.emit import CannotEmit, Code, emit
from converter.frameworks.pytorch.emit.blocks import split_blocks
from converter.frameworks.pytorch.emit.classes import render_class
from converter.frameworks.pytorch.emit.names import class_name
from converter.frameworks.pytorch.emit.source import module_source
from converter.frameworks.pytorch.emit.step import Step
from converter.graph.model import Artifact, Model, Origin
from converter.graph.passes.common import is_initializer, layers_of
from converter.graph.passes.eliminate_identity import EliminateIdentity
from converter.graph.passes.fold_constants import FoldConstants
from converter.graph.passes.fuse_batchnorm_affine import FuseBatchNormAffine
from converter.graph.passes.remove_unused import RemoveUnused

#: What the writer wants done to the hub graph before it is written.
PASSES = (FuseBatchNormAffine, EliminateIdentity, FoldConstants, RemoveUnused)


def check(model: Model) -> list[UnsupportedLayer]:
    """Every node that PyTorch cannot express exactly, with the reason."""
    refused = []
    for node in model.graph:
        try:
            emit(node)
        except CannotEmit as reason:
            origin = Origin.of(node)
            refused.append(UnsupportedLayer(origin.layer, origin.type, str(reason), origin.file, origin.line))
    return refused


def write(model: Model, directory: Path, options: WriteOptions | None = None) -> Artifact:
    """Write ``model.py`` and ``model.safetensors`` into ``directory``, which exists.

    ``model`` has been through PASSES (graph.passes.run). Raises UnsupportedLayers for what check() finds, WriteError
    where the disk refuses.
    """
    options = options or WriteOptions()
    if refused := check(model):
        raise UnsupportedLayers(refused, "pytorch")
    steps, outputs = _steps(model)
    pieces = sorted({step.code.piece for step in steps if step.code.piece})
    name = class_name(model.name)
    while name in pieces:
        name += "Net"
    classes = []
    if not options.flat:
        steps, classes = split_blocks(steps, model.graph.inputs, outputs, [name, *pieces])
    net = render_class(name, steps, model.graph.inputs, outputs)
    source, weights = directory / "model.py", directory / "model.safetensors"
    try:
        source.write_text(module_source(model, [*classes, net], pieces, options.preprocessing), encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{source}: {error.strerror or error}") from error
    format.write(weights, (format.Tensor(key, w.dtype, w.shape, w.read) for key, w in net.weights(steps)))
    names = [value.name for value in model.graph.outputs]
    return Artifact(
        "pytorch",
        {"source": source, "weights": weights},
        inputs=dict(zip(model.input_shapes(), net.inputs, strict=True)),
        outputs={name: name for name in names},
        taps=dict(net.taps(steps)) | {name: name for name in names},
        options={"class": net.name, "outputs": names},
    )


def loading_lines(artifact: Artifact) -> list[str]:
    """The lines that load what write() wrote, for a person to paste."""
    name = artifact.options["class"]
    return [
        "from safetensors.torch import load_file; from model import " + name,
        f"net = {name}().eval()",
        f'net.load_state_dict(load_file("{artifact.files["weights"].name}"))',
    ]


def _steps(model: Model) -> tuple[list[Step], list[ir.Value]]:
    """One step per node, and the values that forward returns; a constant that is an output gets a step of its own."""
    steps = [
        Step(emit(node), list(node.inputs), [v for v in node.outputs if v.name], layers_of(node)[0])
        for node in model.graph
    ]
    outputs = []
    for value in model.graph.outputs:
        if is_initializer(value):
            copy = ir.Value(name=value.name, shape=value.shape, type=value.type)
            steps.append(Step(Code("{0}"), [value], [copy], value.name))
            value = copy
        outputs.append(value)
    return steps, outputs
