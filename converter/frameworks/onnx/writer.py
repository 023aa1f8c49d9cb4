"""Hub graph -> one .onnx file, which is the hub graph itself, made fit for others to run.

What changes: a batch axis that is free becomes the symbol "batch", sizes that only the values decide are left open,
recurrences that an input resets become a Scan, and files are named without their folders. Where every node came from
stays in its ``metadata_props``, how an image becomes the input in those of the model.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir

from converter import __version__
from converter.errors import UnsupportedLayer, UnsupportedLayers
from converter.frameworks.onnx import format, recurrent
from converter.frameworks.options import WriteOptions
from converter.graph.model import Artifact, Model, Origin
from converter.graph.passes.eliminate_identity import EliminateIdentity
from converter.graph.passes.fold_constants import FoldConstants
from converter.graph.passes.fuse_batchnorm_affine import FuseBatchNormAffine
from converter.graph.passes.remove_unused import RemoveUnused
from converter.graph.shapes import batch_is_free, infer_shapes

#: What the writer wants done to the hub graph before it is written.
PASSES = (FuseBatchNormAffine, EliminateIdentity, FoldConstants, RemoveUnused)

Dims = list[int | str | None]


def check(model: Model) -> list[UnsupportedLayer]:
    """Every node that ONNX, or ONNX Runtime, has no exact counterpart for."""
    refused = []
    for node in model.graph:
        if reason := _reason(node):
            origin = Origin.of(node)
            refused.append(UnsupportedLayer(origin.layer, origin.type, reason, origin.file, origin.line, _help(node)))
    return refused


def write(model: Model, directory: Path, options: WriteOptions | None = None) -> Artifact:
    """Write ``model.onnx`` into ``directory``, which exists, and ``model.onnx.data`` beside it above 2 GB.

    ``model`` has been through PASSES (graph.passes.run). Raises UnsupportedLayers for what check() finds, WriteError
    where the disk refuses.
    """
    if refused := check(model):
        raise UnsupportedLayers(refused, "onnx")
    paths = format.write(directory / "model.onnx", _for_others(model, options or WriteOptions()))
    outputs = [value.name for value in model.graph.outputs]
    computed = [value.name for node in model.graph for value in node.outputs if value.name]
    return Artifact(
        "onnx",
        dict(zip(("model", "weights"), paths, strict=False)),
        inputs={name: name for name in model.input_shapes()},
        outputs={name: name for name in outputs},
        taps={name: name for name in [*computed, *outputs]},
    )


def loading_lines(artifact: Artifact) -> list[str]:
    """The lines that load what write() wrote, for a person to paste."""
    feeds = ", ".join(f"{name!r}: {_variable(index)}" for index, name in enumerate(artifact.inputs.values()))
    return [
        "import onnxruntime",
        f"session = onnxruntime.InferenceSession({artifact.files['model'].name!r})",
        f"outputs = session.run(None, {{{feeds}}})",
    ]


def _variable(index: int) -> str:
    return "array" if index == 0 else f"array{index + 1}"


def _reason(node: ir.Node) -> str:
    """Why ``node`` is refused, "" where it is not."""
    if node.domain and node.op_type not in recurrent.STEPS:
        return f"ONNX has no operator for {node.op_type}"
    if node.op_type == "LRN" and node.attributes["size"].value % 2 == 0:
        return "ONNX Runtime takes no LRN over an even number of channels"
    return ""


def _help(node: ir.Node) -> str:
    """Where to cut the net so that ``node`` is not needed."""
    computed = [value.name for value in node.inputs if value is not None and value.producer() is not None]
    return "cut the net before it with " + " ".join(f"--output {name}" for name in computed) if computed else ""


def _for_others(model: Model, options: WriteOptions) -> ir.Model:
    """A copy (the weights shared) with open sizes, plain file names and the preprocessing."""
    result = model.ir.clone()
    result.producer_version = __version__
    for domain in set(result.opset_imports) - {""}:
        del result.opset_imports[domain]
    if options.preprocessing:
        result.metadata_props["converter.preprocessing"] = json.dumps(options.preprocessing.to_json())
    dims = _open_dims(model)
    for value in result.graph.inputs:
        value.shape = ir.Shape(dims[value.name])
    for node in result.graph:
        if file := node.metadata_props.get("converter.file"):
            node.metadata_props["converter.file"] = Path(file).name
        for value in node.outputs:
            if value.name:
                value.shape = ir.Shape(dims[value.name])
    recurrent.expand(result.graph)
    return result


def _open_dims(model: Model) -> dict[str, Dims]:
    """Shapes by name: "batch" for the batch, None for a size that is a multiple of it or that the values decide."""
    declared = model.input_shapes()
    dims: dict[str, Dims] = {name: list(shape) for name, shape in infer_shapes(model, declared).items()}
    sizes = {shape[0] for shape in declared.values() if shape}
    if len(sizes) == 1 and batch_is_free(model):
        batch = sizes.pop()
        doubled = infer_shapes(model, {name: (2 * batch, *shape[1:]) for name, shape in declared.items()})
        for name, shape in doubled.items():
            dims[name] = [
                size if size == twice else "batch" if (size, twice) == (batch, 2 * batch) else None
                for size, twice in zip(dims[name], shape, strict=True)
            ]
    for name in _undecided(model):
        dims[name] = [None] * len(dims[name])
    return dims


def _undecided(model: Model) -> set[str]:
    """Names of values whose sizes depend on values: whatever comes behind a Compress."""
    names: set[str] = set()
    for node in model.graph:
        if node.op_type == "Compress" or any(value is not None and value.name in names for value in node.inputs):
            names.update(value.name for value in node.outputs if value.name)
    return names
