"""The files with which real Caffe runs a net that was read, every blob of it under its hub name.

The reference build of Caffe lacks some layer types of private forks. Where layers that it has compute the same, these
stand in for them; the weights are still found by layer name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import WorkerFailed
from converter.graph.model import Artifact, Model, shape_of

from . import format
from .format import LayerDefinition, Message, NetDefinition, Weights
from .inference import InferenceNet
from .schema import message_type

#: Key of a hub graph's ``meta`` under which the reader leaves what :func:`runtime_artifact` needs.
RUNTIME_SOURCE = "caffe.runtime_source"

Shapes = Mapping[str, tuple[int, ...]]

_STANDS_IN = "which the reference Caffe lacks, runs there as layers that compute the same"


@dataclass(frozen=True)
class RuntimeSource:
    """What was read: the net, its inference part, the weights, the shapes of inputs and the names of outputs."""

    net: NetDefinition
    inference: InferenceNet
    weights: Weights
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Sequence[str]


def runtime_artifact(model: Model, directory: Path) -> Artifact:
    """Write the net for the real Caffe into ``directory``; the weights are used where they are.

    Raises WorkerFailed (exit code 3) naming every layer that the reference build has no counterpart for.
    """
    source: RuntimeSource = model.ir.meta[RUNTIME_SOURCE]
    wired = zip(source.inference.layers, source.inference.wiring, strict=True)
    layers = [_named(layer, bottoms, tops) for layer, (bottoms, tops) in wired]
    values = (*model.graph.inputs, *(value for node in model.graph for value in node.outputs))
    shapes = {value.name: shape_of(value) for value in values}
    standing_in = [_stand_in(layer, shapes) for layer in layers]
    lacking = [f'"{o.name}" ({o.type})' for o, made in zip(layers, standing_in, strict=True) if made is None]
    if lacking:
        raise WorkerFailed("caffe", f"the reference Caffe has no counterpart for layer {', '.join(lacking)}")
    translated = [f'layer "{layer.name}" ({layer.type}), {_STANDS_IN}' for layer in layers if layer.type in _STAND_INS]
    model.notes[:] = dict.fromkeys([*model.notes, *translated])
    layers = [part for made in standing_in for part in made]
    path = directory / "runtime.prototxt"
    path.write_text(format.runtime_prototxt(source.net, layers, source.inputs), encoding="utf-8")
    role, weights = _weights(source.weights, directory)
    inputs = {name: name for name in source.inputs}
    taps = {name: name for _, tops in source.inference.wiring for name in tops if name not in inputs}
    return Artifact("caffe", {"prototxt": path, role: weights}, inputs, {name: name for name in source.outputs}, taps)


def private_layers(layers: Sequence[LayerDefinition]) -> list[tuple[LayerDefinition, str]]:
    """Layers that can be converted although the reference Caffe lacks their type, each with that reason."""
    return [
        (layer, "is of a private fork: it can be converted, but the reference Caffe lacks this type")
        for layer in layers
        if layer.type in _STAND_INS
    ]


def _weights(weights: Weights, directory: Path) -> tuple[str, Path]:
    """Role and path of the weights: the user's file, or a copy in float32 where real Caffe cannot read its values."""
    if any(segment.dtype == "<f2" for blobs in weights.layers.values() for blob in blobs for segment in blob.segments):
        path = directory / "runtime.caffemodel"
        stored = (
            (name, weights.types[name], [blob.array() for blob in blobs]) for name, blobs in weights.layers.items()
        )
        format.write_caffemodel(path, stored)
        return "caffemodel", path
    return "hdf5" if format.classify(weights.file) == "hdf5" else "caffemodel", weights.file


# -- layers that stand in ------------------------------------------------------------------------------------


def _named(layer: LayerDefinition, bottoms: list[str], tops: list[str]) -> LayerDefinition:
    return LayerDefinition(
        layer.name, layer.type, bottoms, tops, layer.parameters, layer.params, layer.file, layer.line
    )


def _message(type: str, fields: Mapping[str, Any]) -> Message:
    """A message of plain values: dicts are nested messages, lists repeated fields."""
    message = Message(type)
    for name, value in fields.items():
        kind = message_type(type).by_name[name].kind
        values = value if isinstance(value, list) else [value]
        message.set(name, *(_message(kind, item) if isinstance(item, dict) else item for item in values))
    return message


def _layer(name: str, type: str, bottoms: list[str], top: str, **fields: Any) -> LayerDefinition:
    return LayerDefinition(
        name, type, bottoms, [top], _message("LayerParameter", {"name": name, "type": type, **fields})
    )


def _depthwise(layer: LayerDefinition, shapes: Shapes) -> list[LayerDefinition]:
    parameters, window = layer.parameters.copy(), layer.param("convolution_param").copy()
    if not window.has("group"):
        window.set("group", shapes[layer.bottoms[0]][1])
    parameters.set("type", "Convolution")
    parameters.set("convolution_param", window)
    return [LayerDefinition(layer.name, "Convolution", layer.bottoms, layer.tops, parameters, layer.params)]


def _axpy(layer: LayerDefinition, shapes: Shapes) -> list[LayerDefinition]:
    factor, x, y = layer.bottoms
    name, top = layer.name, layer.tops[0]
    return [
        _layer(f"{name}@flatten", "Flatten", [factor], f"{top}@flatten"),
        _layer(f"{name}@scale", "Scale", [x, f"{top}@flatten"], f"{top}@scale", scale_param={"axis": 0}),
        _layer(f"{name}@sum", "Eltwise", [f"{top}@scale", y], top),
    ]


def _shuffle_channel(layer: LayerDefinition, shapes: Shapes) -> list[LayerDefinition]:
    _, channels, height, width = shapes[layer.bottoms[0]]
    group = layer.param("shuffle_channel_param").get("group")
    name, top = layer.name, layer.tops[0]
    apart, whole = [0, group, channels // group, height, width], [0, channels, height, width]
    return [
        _layer(f"{name}@apart", "Reshape", layer.bottoms, f"{top}@apart", reshape_param={"shape": {"dim": apart}}),
        _layer(
            f"{name}@turned", "Permute", [f"{top}@apart"], f"{top}@turned", permute_param={"order": [0, 2, 1, 3, 4]}
        ),
        _layer(f"{name}@whole", "Reshape", [f"{top}@turned"], top, reshape_param={"shape": {"dim": whole}}),
    ]


def _swish(layer: LayerDefinition, shapes: Shapes) -> list[LayerDefinition]:
    name, top, beta = layer.name, layer.tops[0], layer.param("swish_param").get("beta")
    return [
        _layer(f"{name}@scale", "Power", layer.bottoms, f"{top}@scale", power_param={"scale": beta}),
        _layer(f"{name}@gate", "Sigmoid", [f"{top}@scale"], f"{top}@gate"),
        _layer(name, "Eltwise", [*layer.bottoms, f"{top}@gate"], top, eltwise_param={"operation": "PROD"}),
    ]


def _clip(layer: LayerDefinition, shapes: Shapes) -> list[LayerDefinition] | None:
    message = layer.param("clip_param")
    if message.get("min") != 0:
        return None
    return [_layer(layer.name, "ReLU6", layer.bottoms, layer.tops[0], relu6_param={"threshold": message.get("max")})]


def _interp(layer: LayerDefinition, shapes: Shapes) -> list[LayerDefinition] | None:
    message = layer.param("interp_param")
    size, (height, width) = shapes[layer.bottoms[0]][2:], shapes[layer.tops[0]][2:]
    # BilinearInterpolate divides by (size - 1) and reads a second neighbour, so it needs two points each way.
    if message.get("pad_beg") or message.get("pad_end") or min(*size, height, width) < 2:
        return None
    target = {"dst_h": height, "dst_w": width}
    name, top = layer.name, layer.tops[0]
    return [_layer(name, "BilinearInterpolate", layer.bottoms, top, bilinear_interpolate_param=target)]


_STAND_INS = {
    "DepthwiseConvolution": _depthwise,
    "ConvolutionDepthwise": _depthwise,
    "Axpy": _axpy,
    "ShuffleChannel": _shuffle_channel,
    "Swish": _swish,
    "Clip": _clip,
    "Interp": _interp,
}


def _stand_in(layer: LayerDefinition, shapes: Shapes) -> list[LayerDefinition] | None:
    """The layer itself where the reference Caffe has it, layers that compute the same, or None."""
    translate = _STAND_INS.get(layer.type)
    return [layer] if translate is None else translate(layer, shapes)
