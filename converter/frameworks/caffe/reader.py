"""Caffe files to the hub graph, without Caffe.

The prototxt says what the net is, the .caffemodel (or HDF5 file) holds its parameters, joined by layer name. The
whole net is walked before anything is refused, so that every layer that cannot be read is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import onnx_ir as ir

from converter.errors import ReadError, UnsupportedLayer, UnsupportedLayers, UsageError
from converter.frameworks.options import ReadOptions
from converter.graph.builder import GraphBuilder
from converter.graph.model import Model, Origin, shape_of

from . import format, layers
from .format import LayerDefinition, NetDefinition, Weights
from .inference import InferenceNet, inference_net, stated_shape
from .kinds import refuse_other_kind
from .parameters import MAXIMUM_ELEMENTS, ParameterStore
from .preprocessing import read_preprocessing
from .runtime import RUNTIME_SOURCE, RuntimeSource, private_layers, runtime_artifact
from .text import nearest_name

__all__ = ["classify", "read", "runtime_artifact"]

ROLES = ("prototxt", "caffemodel", "hdf5", "mean")
#: More values than this in all tensors together (32 GB) are no image net but a broken or hostile file.
MAXIMUM_TOTAL = 2**33


def classify(path: str | Path) -> str | None:
    """The role of a file in :func:`read`, told by its content: "prototxt", "caffemodel", "hdf5", "mean" or None.

    Raises ReadError for what can be told to be something else: a solver, a pointer that stands for the weights, a zip.
    """
    kind = format.classify(path)
    if kind == "solver":
        raise ReadError("is a solver, which describes a training; give the net that it names", path)
    if kind == "git-lfs pointer":
        raise ReadError("is a git-lfs pointer, not the file itself; run: git lfs pull", path)
    if kind is not None and kind not in ROLES:
        raise refuse_other_kind(path, "a file of a Caffe model", kind)
    return kind


def read(files: Mapping[str, Path], options: ReadOptions) -> Model:
    """The hub graph of a prototxt with its weights ("caffemodel" or "hdf5"), or of a .caffemodel alone.

    Every tensor is called as real Caffe calls its blob; the earlier stages of a blob that is rewritten in place are
    "<blob>@<layer>". Raises ReadError for a broken or hostile file and for weights of another net, UnsupportedLayers
    for layers that have no counterpart.
    """
    net, weights, notes = _open(files)
    store = ParameterStore(net, weights)
    training = partial(format.read_prototxt, files["prototxt"], "TRAIN") if "prototxt" in files else None
    found = inference_net(net, training, store.holds, options.outputs)
    builder = GraphBuilder(net.name or Path(net.file).stem)
    inputs = _input_shapes(net, found, store, options)
    values = _build(builder, net, found, store, inputs, notes)
    names = list(dict.fromkeys(found.outputs()))
    if not names:
        raise ReadError("computes nothing: no layer has an output", net.file)
    graph = builder.build([values[name] for name in names])
    _name_values(graph, values)
    notes += [*found.notes, *store.notes, *_left_out(net, weights)]
    preprocessing, more = read_preprocessing(found, inputs, files, options)
    graph.meta[RUNTIME_SOURCE] = RuntimeSource(net, found, weights, inputs, names)
    return Model(graph, "caffe", tuple(files.values()), preprocessing, [*dict.fromkeys(notes + more)])


def _open(files: Mapping[str, Path]) -> tuple[NetDefinition, Weights, list[str]]:
    """The definition and the weights. Raises ReadError saying what is missing."""
    stored = files.get("caffemodel") or files.get("hdf5")
    if "caffemodel" in files and "hdf5" in files:
        raise ReadError(f"is a second weights file, beside {files['caffemodel']}; give one", files["hdf5"])
    if "prototxt" in files:
        if stored is None:
            raise ReadError("is the net alone: give the .caffemodel with its weights as well", files["prototxt"])
        return format.read_prototxt(files["prototxt"]), format.read_weights(stored), []
    if stored is None:
        raise ReadError("a net wants its prototxt and its .caffemodel", next(iter(files.values()), None))
    if "hdf5" in files:
        raise ReadError("holds weights alone: give the deploy.prototxt of the net as well", stored)
    try:
        net = format.read_net_binary(stored)
    except ReadError as error:
        raise ReadError(f"without its prototxt: {error.message}; give the deploy.prototxt as well", stored) from error
    if not any(layer.bottoms for layer in net.layers):
        raise ReadError("holds weights alone: give the deploy.prototxt of the net as well", stored)
    note = f"{stored} was read without a prototxt: the net is the one that it was trained as, without training layers"
    return net, format.read_weights(stored), [note]


def _left_out(net: NetDefinition, weights: Weights) -> list[str]:
    """A note on stored layers that the net does not have: those of the training, or a mistake in a name."""
    names = {layer.name for layer in net.layers}
    extra = [name for name, blobs in weights.layers.items() if blobs and name not in names]
    if not extra:
        return []
    shown = ", ".join(extra[:3]) + (", ..." if len(extra) > 3 else "")
    return [f"{len(extra)} of the layers in {weights.file} are not in {net.file} and were left out: {shown}"]


# -- inputs --------------------------------------------------------------------------------------------------


def _input_shapes(
    net: NetDefinition, found: InferenceNet, store: ParameterStore, options: ReadOptions
) -> dict[str, tuple[int, ...]]:
    """The shape of every input: as given, as the file says, or as a data layer and the first weights imply."""
    stated = NetDefinition(net.name, found.layers, net.file, net.dialect).inputs
    given = dict(options.input_shapes)
    if None in given:
        if len(stated) != 1:
            raise UsageError(
                f"the net has {len(stated)} inputs ({', '.join(stated)}): give --input-shape NAME=1,3,224,224"
            )
        given[next(iter(stated))] = given.pop(None)
    unknown = [name for name in given if name not in stated]
    if unknown:
        raise UsageError(f'the net has no input "{unknown[0]}"; it has {", ".join(stated) or "none"}')
    shapes = {}
    for name, shape in stated.items():
        if name in given:
            shape = tuple(given[name])
        elif name in found.data:
            layer, index = found.data[name]
            shape = stated_shape(layer, index, _first_channels(found, name, store))
        if shape is None:
            layer = next(layer for layer in found.layers if layer.type == "Input" and name in layer.tops)
            raise ReadError(
                f'does not say the shape of the input "{name}": give --input-shape {name}=1,3,224,224',
                net.file, layer.line, layer.name,
            )  # fmt: skip
        if min(shape, default=1) < 1 or prod(shape) > MAXIMUM_ELEMENTS:
            raise ReadError(f'the input "{name}" would have the impossible shape {tuple(shape)}', net.file)
        shapes[name] = shape
    return shapes


def _first_channels(found: InferenceNet, name: str, store: ParameterStore) -> int | None:
    """The channels of an input, from the stored weights of the first convolution that it reaches."""
    reached = {name}
    for layer, (bottoms, tops) in zip(found.layers, found.wiring, strict=True):
        if reached.intersection(bottoms):
            reached.update(tops)
            stored = store.shape_in_file(layer, 0)
            if layer.type == "Convolution" and stored is not None and len(stored) == 4:
                return stored[1] * layer.param("convolution_param").get("group")
    return None


# -- layers --------------------------------------------------------------------------------------------------


@dataclass
class _Refused:
    """Layers that cannot be read so far; tops of such layers are unknown to the layers behind them."""

    layers: list[UnsupportedLayer]

    def add(self, layer: LayerDefinition, reason: str, help: str = "") -> None:
        self.layers.append(UnsupportedLayer(layer.name, layer.type, reason, layer.file, layer.line, help))


def _build(
    builder: GraphBuilder,
    net: NetDefinition,
    found: InferenceNet,
    store: ParameterStore,
    inputs: Mapping[str, tuple[int, ...]],
    notes: list[str],
) -> dict[str, ir.Value]:
    """Add every layer; returns the hub value of every blob."""
    values: dict[str, ir.Value | None] = {}
    shared: dict[tuple, ir.Value] = {}
    refused, total = _Refused([]), 0
    for layer, (bottoms, tops) in zip(found.layers, found.wiring, strict=True):
        if layer.type == "Input":
            results = [builder.input(top, inputs[top]) for top in tops]
        else:
            results = _read_layer(
                builder, layer, [values[name] for name in bottoms], tops, store, shared, refused, notes
            )
        values.update(zip(tops, results, strict=True))
        total += sum(prod(shape_of(value)) for value in results if value is not None)
        if total > MAXIMUM_TOTAL:
            raise ReadError("up to here the net has more than 2^33 values", layer.file, layer.line, layer.name)
    if refused.layers:
        already = {(other.layer, other.line) for other in refused.layers}
        for layer, reason in private_layers(found.layers):
            if (layer.name, layer.line) not in already:
                refused.add(layer, reason)
        raise UnsupportedLayers(sorted(refused.layers, key=lambda item: item.line or 0), net.file or "")
    return values


def _read_layer(
    builder: GraphBuilder,
    layer: LayerDefinition,
    bottoms: list[ir.Value | None],
    tops: list[str],
    store: ParameterStore,
    shared: dict[tuple, ir.Value],
    refused: _Refused,
    notes: list[str],
) -> list[ir.Value | None]:
    """The values of one layer's tops; None for each where it, or something before it, cannot be read."""
    unknown: list[ir.Value | None] = [None] * len(tops)
    handler = layers.find(layer.type)
    if handler is None:
        refused.add(layer, *_unknown_type(layer))
        return unknown
    if any(value is None for value in bottoms):
        return unknown
    with builder.layer(Origin(layer.name, layer.type, layer.file, layer.line)):
        context = layers.LayerContext(builder, layer, bottoms, len(tops), store, shared, notes)
        try:
            results = handler(context)
        except layers.Refusal as refusal:
            refused.add(layer, refusal.reason, refusal.help)
            return unknown
        except ReadError:
            if refused.layers:
                return unknown
            raise
    results = [results] if isinstance(results, ir.Value) else list(results)
    if len(results) != len(tops):
        raise context.error(f"has {len(tops)} tops, Caffe gives it {len(results)}")
    # A layer that changes nothing still has a value of its own.
    same = {id(value) for value in bottoms}
    with builder.layer(Origin(layer.name, layer.type, layer.file, layer.line)):
        return [builder.op("Identity", [value]) if id(value) in same else value for value in results]


def _unknown_type(layer: LayerDefinition) -> tuple[str, str]:
    """Reason and help for a layer of a type that nobody here knows."""
    if layer.type == "Python":
        message = layer.param("python_param")
        reason = (
            f"its code is the Python class {message.get('module')}.{message.get('layer')}, which is not in these files"
        )
    else:
        near = nearest_name(layer.type, layers.types())
        reason = f"is of no type that can be read{near}"
    return reason, f"cut the net before it with --output {layer.bottoms[0]}" if layer.bottoms else ""


def _name_values(model: ir.Model, values: Mapping[str, ir.Value]) -> None:
    """Give every blob's value the blob's name; what the hub itself named steps aside."""
    named = {id(value) for value in values.values()}
    taken = set(values)
    others = [value for node in model.graph for value in node.outputs if id(value) not in named]
    for value in [*others, *model.graph.initializers.values()]:
        name = wanted = value.name
        number = 2
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name)
        if name != wanted:
            value.name = name
    for name, value in values.items():
        value.metadata_props.pop("converter.private", None)
        value.name = name
