"""The part of a net that computes something at inference: training layers dropped, data layers turned into inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from converter.errors import ReadError

from .format import LayerDefinition, NetDefinition, unique_tops
from .layers.constant import dummy_shapes
from .message import Message

DATA_TYPES = frozenset(
    {"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData", "AnnotatedData", "VideoData"}
)
#: Losses with a meaning at inference, and the layer type that it is.
MEANINGS = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}
DROPPED_TYPES = frozenset(
    {
        "Accuracy", "Silence", "HDF5Output", "DetectionEvaluate", "EuclideanLoss", "HingeLoss", "ContrastiveLoss",
        "InfogainLoss", "MultinomialLogisticLoss", "SmoothL1Loss", "MultiBoxLoss",
    }
)  # fmt: skip


@dataclass
class InferenceNet:
    """``layers`` in order, ``wiring`` their (bottoms, tops) under unique names.

    ``data`` maps an input that was the top of a data layer to that layer and the top's place in it. ``cut`` names the
    outputs that the caller asked for, if any.
    """

    layers: list[LayerDefinition]
    wiring: list[tuple[list[str], list[str]]]
    data: dict[str, tuple[LayerDefinition, int]]
    notes: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)

    def outputs(self) -> list[str]:
        """Where the net is cut, else every computed value that nothing reads, in order."""
        if self.cut:
            return self.cut
        read = {name for bottoms, _ in self.wiring for name in bottoms}
        return [
            name
            for layer, (_, tops) in zip(self.layers, self.wiring, strict=True)
            if layer.bottoms
            for name in tops
            if name not in read
        ]


def inference_net(
    net: NetDefinition,
    training_net: Callable[[], NetDefinition] | None,
    has_weights: Callable[[LayerDefinition], bool],
    outputs: Sequence[str] = (),
) -> InferenceNet:
    """What stays of ``net``, cut at ``outputs`` (names of blobs or layers).

    ``training_net`` gives the same file's net of the training phase: its data layers say what feeds a net whose own
    phase has none. Raises ReadError for wiring that Caffe aborts on, and for an unknown output.
    """
    notes: list[str] = []
    stated = _with_data_layers(net, training_net)
    layers = _without_labels(stated, has_weights)
    meant = {(layer.type, *layer.bottoms) for layer in layers}
    layers = [part for layer in layers for part in _inference_form(layer, meant, notes)]
    fed = any(layer.type == "Input" or (_feeds(layer) and layer.type != "DummyData") for layer in layers)
    layers = [_rewired(layer, [], layer.tops, "Input") if _is_data(layer, fed) else layer for layer in layers]
    data = {top: (layer, index) for layer in stated if _feeds(layer) for index, top in enumerate(layer.tops)}
    found = InferenceNet(layers, unique_tops(net, layers), data, notes)
    return _cut(net, found, outputs) if outputs else found


def _with_data_layers(net: NetDefinition, training_net: Callable[[], NetDefinition] | None) -> list[LayerDefinition]:
    """The net's layers, before them the training phase's data layers if only these produce what a layer reads."""
    produced = {top for layer in net.layers for top in layer.tops}
    missing = {bottom for layer in net.layers for bottom in layer.bottoms} - produced
    if not missing or training_net is None:
        return list(net.layers)
    feeding = [layer for layer in training_net().layers if _feeds(layer) and missing.intersection(layer.tops)]
    return [*feeding, *net.layers]


def _feeds(layer: LayerDefinition) -> bool:
    return layer.type in DATA_TYPES or (layer.type == "Python" and not layer.bottoms)


def _is_data(layer: LayerDefinition, fed: bool) -> bool:
    """A data layer that is an input; DummyData is a constant where the net is ``fed`` by something else."""
    return not fed if layer.type == "DummyData" else _feeds(layer)


def _without_labels(
    layers: list[LayerDefinition], has_weights: Callable[[LayerDefinition], bool]
) -> list[LayerDefinition]:
    """Without training layers and without whatever only prepares labels for them.

    Labels are the later tops of a data layer and what layers without weights make of them, unless a layer that
    stays mixes them with something else.
    """
    kept = [layer for layer in layers if layer.type not in DROPPED_TYPES]
    labels = {top for layer in kept if _feeds(layer) for top in layer.tops[1:]}
    preparing: list[LayerDefinition] = []
    for layer in kept:
        if layer.bottoms and labels.issuperset(layer.bottoms) and not has_weights(layer):
            preparing.append(layer)
            labels.update(layer.tops)
    dropped = {id(layer) for layer in preparing}
    needed = {bottom for layer in kept if id(layer) not in dropped for bottom in _real_bottoms(layer)}
    for layer in reversed(preparing):
        if needed.intersection(layer.tops):
            dropped.discard(id(layer))
            needed.update(layer.bottoms)
    result = []
    for layer in kept:
        if id(layer) in dropped:
            continue
        if not _feeds(layer):
            result.append(layer)
        elif tops := [top for top in layer.tops if top in needed]:
            result.append(layer if layer.type == "DummyData" else _rewired(layer, layer.bottoms, tops))
    return result


def _real_bottoms(layer: LayerDefinition) -> list[str]:
    return layer.bottoms[:1] if layer.type in MEANINGS else layer.bottoms


def _inference_form(layer: LayerDefinition, meant: set[tuple[str, ...]], notes: list[str]) -> list[LayerDefinition]:
    """The layer itself; a loss as what it means at inference, once."""
    meaning = MEANINGS.get(layer.type)
    if meaning is None:
        return [layer]
    bottom = layer.bottoms[:1]
    if (meaning, *bottom) in meant:
        return []
    # A second top of SoftmaxWithLoss holds the probabilities.
    top = layer.tops[1] if len(layer.tops) > 1 else layer.tops[0] if layer.tops else layer.name
    notes.append(f'{layer.type} "{layer.name}" is read as {meaning}; its output is called "{top}"')
    return [_rewired(layer, bottom, [top], meaning)]


def _rewired(layer: LayerDefinition, bottoms: list[str], tops: list[str], type: str | None = None) -> LayerDefinition:
    """The layer with other bottoms, tops and perhaps type; with a new type only Softmax's parameters stay."""
    parameters = layer.parameters.copy()
    if type is not None:
        parameters = Message("LayerParameter", layer.line)
        parameters.set("name", layer.name)
        parameters.set("type", type)
        if type == "Softmax" and layer.parameters.has("softmax_param"):
            parameters.set("softmax_param", layer.param("softmax_param"))
    return LayerDefinition(
        layer.name, type or layer.type, bottoms, tops, parameters, layer.params, layer.file, layer.line
    )


def _cut(net: NetDefinition, whole: InferenceNet, outputs: Sequence[str]) -> InferenceNet:
    """Only what ``outputs`` need."""
    writer = {name: index for index, (_, tops) in enumerate(whole.wiring) for name in tops}
    by_layer = {layer.name: index for index, layer in enumerate(whole.layers)}
    wanted: list[tuple[int, list[int]]] = []  # layer, and which of its tops
    for name in outputs:
        index = writer.get(name, by_layer.get(name))
        if index is None:
            near = get_close_matches(name, [*writer, *by_layer], 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ReadError(f'has no blob or layer "{name}" to cut the net at{hint}', net.file)
        tops = whole.wiring[index][1]
        wanted.append((index, [tops.index(name)] if name in writer else list(range(len(tops)))))
    needed = sorted(_ancestors(whole.wiring, writer, [index for index, _ in wanted]))
    layers = [whole.layers[index] for index in needed]
    wiring = unique_tops(net, layers)  # a stage that was not the last of its blob may be now, and has its name then
    cut = [wiring[needed.index(index)][1][top] for index, tops in wanted for top in tops]
    return InferenceNet(layers, wiring, whole.data, whole.notes, cut)


def _ancestors(
    wiring: Sequence[tuple[list[str], list[str]]], writer: Mapping[str, int], wanted: Iterable[int]
) -> set[int]:
    needed, pending = set(), list(wanted)
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending.extend(writer[bottom] for bottom in wiring[index][0])
    return needed


def stated_shape(layer: LayerDefinition, index: int, channels: int | None) -> tuple[int, ...] | None:
    """The shape that a data layer itself gives for one top, None where its file of data would.

    Batches of training are of no interest: one image. ``channels`` are those that the weights want.
    """
    if layer.type == "DummyData":
        shapes = dummy_shapes(layer)
        return shapes[index] if shapes else None
    if layer.type == "MemoryData":
        message = layer.param("memory_data_param")
        sizes = [message.get(name) for name in ("channels", "height", "width")]
        return (1, *sizes) if index == 0 and all(sizes) else None
    if index > 0 or channels is None:
        return None
    size = layer.param("transform_param").get("crop_size")
    sides = (size, size)
    if not size and layer.type == "ImageData":
        message = layer.param("image_data_param")
        sides = message.get("new_height"), message.get("new_width")
    return (1, channels, *sides) if all(sides) else None
