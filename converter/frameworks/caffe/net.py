"""The net that a prototxt or a .caffemodel describes: layers in V2 terms, filtered for one phase."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from converter.errors import ReadError

from .kinds import classify, refuse_other_kind
from .message import Message
from .schema import KNOWN_LAYER_TYPES, message_type
from .text import MAXIMUM_BYTES, format_message, nearest_name, parse_message
from .upgrade import unknown_fields, upgrade
from .wire import WireFile


@dataclass
class ParamSpec:
    """One ``param`` block: ``name`` ("" when the blob is not shared) and ``share_mode``, STRICT or PERMISSIVE."""

    name: str = ""
    share_mode: str = "STRICT"


@dataclass
class LayerDefinition:
    """One layer in V2 terms, whatever dialect the file was written in.

    ``parameters`` is the whole LayerParameter message. ``line`` is None in a binary file, and for the Input layer that
    the upgrade makes of ``input:`` fields. A layer whose type the schema does not know may have fields of its own in
    ``parameters.unknown``.
    """

    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    parameters: Message
    params: list[ParamSpec] = field(default_factory=list)
    file: str | None = None
    line: int | None = None

    def param(self, name: str) -> Message:
        """One parameter message, e.g. ``pooling_param``; an empty one, with the defaults, where the file has none."""
        return self.parameters.get(name)

    @property
    def include(self) -> list[Message]:
        """NetStateRule messages; of include and exclude at most one is non-empty."""
        return self.parameters.all("include")

    @property
    def exclude(self) -> list[Message]:
        """NetStateRule messages."""
        return self.parameters.all("exclude")


@dataclass
class NetDefinition:
    """A net of one phase, upgraded to V2. ``dialect`` says what the file was: "V0", "V1" or "V2".

    Data layers, losses and Accuracy are still in ``layers``: the reader decides what becomes of them.
    """

    name: str
    layers: list[LayerDefinition]
    file: str | None
    dialect: str

    @property
    def inputs(self) -> dict[str, tuple[int, ...] | None]:
        """Every top of an Input layer with its shape; None where the file does not say it.

        Raises ReadError where an Input layer's shapes and tops do not fit, or a dimension is not positive.
        """
        inputs: dict[str, tuple[int, ...] | None] = {}
        for layer in self.layers:
            if layer.type == "Input":
                inputs.update(zip(layer.tops, _input_shapes(layer), strict=True))
        return inputs


def read_prototxt(path: str | Path, phase: str = "TEST", level: int = 0, stages: Sequence[str] = ()) -> NetDefinition:
    """The net of a prototxt of any dialect, as it is in that phase.

    Raises ReadError, with file and line, for what real Caffe would abort on; an unknown field is tolerated only
    directly in a layer whose type is itself unknown, so that a reader can report all such layers at once.
    """
    kind = classify(path)
    if kind in ("prototxt", "text file"):
        data = Path(path).read_bytes() if Path(path).stat().st_size <= MAXIMUM_BYTES else b" " * (MAXIMUM_BYTES + 1)
        # comments are often in other encodings than UTF-8
        return parse_prototxt(data.decode("utf-8", "surrogateescape"), phase, level, stages, str(path))
    raise refuse_other_kind(path, "a net prototxt", kind)


def parse_prototxt(
    text: str, phase: str = "TEST", level: int = 0, stages: Sequence[str] = (), file: str | None = None
) -> NetDefinition:
    """The same from a string; ``file`` is named in errors."""
    return _build(parse_message(text, "NetParameter", file), phase, level, stages, file)


def read_net_binary(path: str | Path, phase: str = "TEST") -> NetDefinition:
    """The net that a .caffemodel was trained as, without its weights.

    Raises ReadError also for a field number that the schema lacks or that means different things in different forks of
    Caffe: the prototxt is needed then. A layer's own phase, which is that of the training, is left out.
    """
    kind = classify(path)
    if kind not in (None, "caffemodel"):
        raise refuse_other_kind(path, "a binary Caffe net", kind)
    file = WireFile(path)
    skip = frozenset({"blobs", "phase", "loss_weight", "propagate_down"})
    message = file.message("NetParameter", 0, file.size, skip)
    message.unknown.clear()
    return _build(message, phase, 0, (), str(path))


def _build(message: Message, phase: str, level: int, stages: Sequence[str], file: str | None) -> NetDefinition:
    for unknown in message.unknown:
        hint = nearest_name(unknown.name, message_type("NetParameter").by_name)
        raise ReadError(f"unknown field {unknown.name} of a net{hint}", file, unknown.line)
    message, dialect = upgrade(message, file)
    state_stages = {*message.get("state").all("stage"), *stages}
    layers = []
    for layer in message.all("layer"):
        if _is_included(layer, phase, level, state_stages, file):
            _check(layer, phase, file)
            layers.append(_layer_definition(layer, file))
    return NetDefinition(message.get("name") or "", layers, file, dialect)


def _layer_definition(layer: Message, file: str | None) -> LayerDefinition:
    return LayerDefinition(
        name=layer.get("name") or "",
        type=layer.get("type") or "",
        bottoms=list(layer.all("bottom")),
        tops=list(layer.all("top")),
        parameters=layer,
        params=[ParamSpec(p.get("name") or "", p.get("share_mode")) for p in layer.all("param")],
        file=file,
        line=layer.line,
    )


def _is_included(layer: Message, phase: str, level: int, stages: set[str], file: str | None) -> bool:
    """Caffe's FilterNet: any include rule that holds lets the layer in, any exclude rule keeps it out."""
    name, include, exclude = layer.get("name"), layer.all("include"), layer.all("exclude")
    if include and exclude:
        raise ReadError("has both include and exclude rules; Caffe refuses that", file, layer.line, name)
    for rule in (*include, *exclude):
        for unknown in rule.unknown:
            hint = nearest_name(unknown.name, message_type(rule.type).by_name)
            raise ReadError(f"unknown field {unknown.name} of a rule{hint}", file, unknown.line or rule.line, name)
    if include:
        return any(_rule_holds(rule, phase, level, stages) for rule in include)
    return not any(_rule_holds(rule, phase, level, stages) for rule in exclude)


def _rule_holds(rule: Message, phase: str, level: int, stages: set[str]) -> bool:
    lowest, highest = rule.get("min_level"), rule.get("max_level")
    return (
        rule.get("phase") in (None, phase)
        and (lowest is None or level >= lowest)
        and (highest is None or level <= highest)
        and stages.issuperset(rule.all("stage"))
        and stages.isdisjoint(rule.all("not_stage"))
    )


def _check(layer: Message, phase: str, file: str | None) -> None:
    """What would be silently wrong if it were passed on."""
    name, type = layer.get("name") or "", layer.get("type") or ""
    known = type in KNOWN_LAYER_TYPES
    for owner, unknown in unknown_fields(layer, skip_top=not known):
        if unknown.line is None and type.endswith(("Loss", "Data", "Accuracy")):
            continue  # a training snapshot holds such layers with fields of its own fork; nothing is read from them
        where = "" if owner == "LayerParameter" else f" of {owner}"
        if unknown.line is None:
            message = (
                f"({type}) {unknown.name}{where} is not known or not the same in every Caffe; give the prototxt as well"
            )
        else:
            message = (
                f"({type}) unknown field {unknown.name}{where}{nearest_name(unknown.name, message_type(owner).by_name)}"
            )
        raise ReadError(message, file, unknown.line, name)
    if layer.has("blobs"):
        raise ReadError(
            "holds weights within the prototxt; they are read from a .caffemodel only", file, layer.line, name
        )
    if layer.get("phase") not in (None, phase):
        raise ReadError(
            f"is fixed to phase {layer.get('phase')}; remove that to convert the net", file, layer.line, name
        )


def _input_shapes(layer: LayerDefinition) -> list[tuple[int, ...] | None]:
    """One shape for each top; one for all of them is legal."""
    shapes = [tuple(shape.all("dim")) for shape in layer.param("input_param").all("shape")]
    if len(shapes) not in (0, 1, len(layer.tops)):
        message = f"has {len(layer.tops)} tops but {len(shapes)} shapes"
        raise ReadError(message, layer.file, layer.line, layer.name)
    for shape in shapes:
        if any(not 0 < size < 2**31 for size in shape):
            raise ReadError(f"has the impossible input shape {shape}", layer.file, layer.line, layer.name)
    return shapes * len(layer.tops) if len(shapes) == 1 else shapes or [None] * len(layer.tops)


def unique_tops(net: NetDefinition, keep: Sequence[LayerDefinition] | None = None) -> list[tuple[list[str], list[str]]]:
    """(bottoms, tops) of every layer of ``keep`` (default: all layers), with a name of its own for every value.

    A blob that is written in place several times keeps its name for the LAST value; each earlier one is called
    "<blob>@<layer that wrote it>" (and "#2", "#3" where that name is taken). The top of an Input layer is the
    exception: it always keeps its name, by which a caller feeds it, and every later value of it is "<blob>@<layer>".

    Raises ReadError where Caffe aborts: an unknown bottom, a top produced twice without being in place, a blob
    rewritten in place that another layer reads before.
    """
    layers = net.layers if keep is None else keep
    values: list[tuple[str, LayerDefinition]] = []  # every value: its blob and the layer that wrote it
    current: dict[str, int] = {}  # blob -> its value at this point
    readers: list[int] = []  # how many times a value has been read
    wiring: list[tuple[list[int], list[int]]] = []
    for layer in layers:
        bottoms, tops = [], []
        for blob in layer.bottoms:
            if blob not in current:
                raise ReadError(f'reads the unknown blob "{blob}"', layer.file, layer.line, layer.name)
            bottoms.append(current[blob])
            readers[current[blob]] += 1
        for index, blob in enumerate(layer.tops):
            in_place = index < len(layer.bottoms) and layer.bottoms[index] == blob
            if blob in current and not in_place:
                raise ReadError(f'writes blob "{blob}", which exists already', layer.file, layer.line, layer.name)
            if in_place and (current[blob] != bottoms[index] or readers[bottoms[index]] > 1):
                message = f'rewrites blob "{blob}" in place after something else has read it; Caffe refuses that'
                raise ReadError(message, layer.file, layer.line, layer.name)
            current[blob] = len(values)
            tops.append(len(values))
            values.append((blob, layer))
            readers.append(0)
        wiring.append((bottoms, tops))
    names = _value_names(values, current)
    return [([names[v] for v in bottoms], [names[v] for v in tops]) for bottoms, tops in wiring]


def _value_names(values: list[tuple[str, LayerDefinition]], last: Mapping[str, int]) -> list[str]:
    fed = {blob for blob, layer in values if layer.type == "Input"}
    taken = set(last)
    next_number: dict[str, int] = {}
    names = []
    for index, (blob, layer) in enumerate(values):
        if layer.type == "Input" if blob in fed else last[blob] == index:
            names.append(blob)
            continue
        name = wanted = f"{blob}@{layer.name}"
        number = next_number.get(wanted, 2)
        while name in taken:
            name, number = f"{wanted}#{number}", number + 1
        next_number[wanted] = number
        taken.add(name)
        names.append(name)
    return names


def runtime_prototxt(
    net: NetDefinition,
    keep: Sequence[LayerDefinition] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Text for the reference build of Caffe with nothing in place; blobs are called as by ``unique_tops(net, keep)``.

    Rules, phases and loss weights are gone, and ``engine``, since a CPU build aborts on CUDNN. ``input_shapes``
    replaces the shapes of inputs by name. The layers keep their names, by which the weights are loaded.
    """
    layers = net.layers if keep is None else keep
    head = Message("NetParameter")
    head.set("name", net.name)
    parts = [format_message(head)]
    for layer, (bottoms, tops) in zip(layers, unique_tops(net, layers), strict=True):
        message = layer.parameters.copy()
        for gone in ("include", "exclude", "phase", "loss_weight", "propagate_down", "blobs"):
            message.set(gone)
        message.set("bottom", *bottoms)
        message.set("top", *tops)
        if layer.type == "Input":
            message.set("input_param", _input_parameter(layer, input_shapes or {}))
        wrapped = Message("NetParameter")
        wrapped.set("layer", _without_engines(message))
        parts.append(format_message(wrapped))
    return "".join(parts)


def _input_parameter(layer: LayerDefinition, replaced: Mapping[str, Sequence[int]]) -> Message:
    parameter = Message("InputParameter")
    for top, stated in zip(layer.tops, _input_shapes(layer), strict=True):
        dims: Iterable[int] | None = replaced.get(top, stated)
        if dims is None:
            raise ReadError(f'says no shape of the input "{top}"', layer.file, layer.line, layer.name)
        shape = Message("BlobShape")
        shape.set("dim", *map(int, dims))
        parameter.add("shape", shape)
    return parameter


def _without_engines(layer: Message) -> Message:
    for name, values in layer.fields.items():
        field_type = message_type("LayerParameter").by_name[name]
        if field_type.is_message and "engine" in message_type(field_type.kind).by_name and values[0].has("engine"):
            parameter = values[0].copy()
            parameter.set("engine")
            layer.fields[name] = [parameter]
    return layer
