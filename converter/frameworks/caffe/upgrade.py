"""Old nets to the current form, as Caffe does on loading: V0 to V1, V1 to V2, ``input:`` fields to an Input layer.

The rules are those of Caffe's upgrade_proto.cpp, stated in shared/facts/caffe.md 2.4.
"""

from __future__ import annotations

from converter.errors import ReadError

from .message import Message, UnknownField
from .schema import V0_TYPES, V1_TYPES, message_type

_V1_NAMES = {v2: name for name, v2 in V1_TYPES.values()}
_V2_TYPES = dict(V1_TYPES.values())

# V0 field -> {V0 types it counts for: (parameter message, field)}. Caffe ignores a field given to any other type.
_V0_FIELDS: dict[str, dict[str, tuple[str, str]]] = {
    "num_output": {"conv": ("convolution_param", "num_output"), "innerproduct": ("inner_product_param", "num_output")},
    "biasterm": {"conv": ("convolution_param", "bias_term"), "innerproduct": ("inner_product_param", "bias_term")},
    "weight_filler": {
        "conv": ("convolution_param", "weight_filler"),
        "innerproduct": ("inner_product_param", "weight_filler"),
    },
    "bias_filler": {
        "conv": ("convolution_param", "bias_filler"),
        "innerproduct": ("inner_product_param", "bias_filler"),
    },
    "pad": {"conv": ("convolution_param", "pad"), "pool": ("pooling_param", "pad")},
    "kernelsize": {"conv": ("convolution_param", "kernel_size"), "pool": ("pooling_param", "kernel_size")},
    "group": {"conv": ("convolution_param", "group")},
    "stride": {"conv": ("convolution_param", "stride"), "pool": ("pooling_param", "stride")},
    "pool": {"pool": ("pooling_param", "pool")},
    "dropout_ratio": {"dropout": ("dropout_param", "dropout_ratio")},
    "local_size": {"lrn": ("lrn_param", "local_size")},
    "alpha": {"lrn": ("lrn_param", "alpha")},
    "beta": {"lrn": ("lrn_param", "beta")},
    "k": {"lrn": ("lrn_param", "k")},
    "concat_dim": {"concat": ("concat_param", "concat_dim")},
    "source": {
        "data": ("data_param", "source"),
        "images": ("image_data_param", "source"),
        "window_data": ("window_data_param", "source"),
    },
    "batchsize": {
        "data": ("data_param", "batch_size"),
        "images": ("image_data_param", "batch_size"),
        "window_data": ("window_data_param", "batch_size"),
    },
    "rand_skip": {"data": ("data_param", "rand_skip"), "images": ("image_data_param", "rand_skip")},
    **{
        old: {type: ("transform_param", new) for type in ("data", "images", "window_data")}
        for old, new in (
            ("scale", "scale"),
            ("meanfile", "mean_file"),
            ("cropsize", "crop_size"),
            ("mirror", "mirror"),
        )
    },
}


def upgrade(net: Message, file: str | None) -> tuple[Message, str]:
    """The NetParameter in V2 form and the dialect it came in ("V0", "V1" or "V2"). ``net`` is not changed.

    Raises ReadError where Caffe aborts or where a layer would be lost.
    """
    old = net.all("layers")
    if old and net.has("layer"):
        raise ReadError("holds both `layer` and `layers`; Caffe refuses that", file, old[0].line)
    upgraded, dialect = net.copy(), "V2"
    if old:
        dialect = "V1"
        if any(layer.has("layer") for layer in old):
            dialect, old = "V0", _upgrade_v0(old, net.all("input"), file)
        upgraded.set("layers")
        upgraded.set("layer", *(_upgrade_v1(layer, file) for layer in old))
    _upgrade_inputs(upgraded, file)
    upgraded.set("layer", *(_normalised(layer, file) for layer in upgraded.all("layer")))
    return upgraded, dialect


def _upgrade_v0(connections: list[Message], inputs: list[str], file: str | None) -> list[Message]:
    """V1 layers. A ``padding`` layer goes away: its pad moves into the layer that reads it."""
    for connection in connections:
        if not connection.has("layer"):
            raise ReadError("a layer of the V1 form among layers of the V0 form", file, connection.line)
    writer: dict[str, Message | None] = dict.fromkeys(inputs)
    upgraded = []
    for connection in connections:
        layer = connection.get("layer").copy()
        name, type = layer.get("name") or "", layer.get("type") or ""
        bottoms = list(connection.all("bottom"))
        for index, bottom in enumerate(bottoms):
            if bottom not in writer:
                raise ReadError(f'reads the unknown blob "{bottom}"', file, connection.line, name)
            source = writer[bottom]
            if source is None or source.get("layer").get("type") != "padding":
                continue
            if type not in ("conv", "pool") or len(bottoms) != 1 or len(source.all("bottom")) != 1:
                message = "a padding layer must stand alone before a conv or pool layer"
                raise ReadError(message, file, connection.line, name)
            layer.set("pad", source.get("layer").get("pad"))
            bottoms[index] = source.all("bottom")[0]
        writer.update(dict.fromkeys(connection.all("top"), connection))
        if type != "padding":
            upgraded.append(_v1_layer(layer, bottoms, connection, file))
    return upgraded


def _v1_layer(layer: Message, bottoms: list[str], connection: Message, file: str | None) -> Message:
    name, type = layer.get("name") or "", layer.get("type") or ""
    if type not in V0_TYPES:
        raise ReadError(f'the V0 form of a net has no layer type "{type}"', file, connection.line, name)
    upgraded = Message("V1LayerParameter", connection.line)
    upgraded.unknown = layer.unknown + connection.unknown
    upgraded.set("name", name)
    upgraded.set("type", _V1_NAMES[V0_TYPES[type]])
    upgraded.set("bottom", *bottoms)
    upgraded.set("top", *connection.all("top"))
    for copied in ("blobs", "blobs_lr", "weight_decay"):
        upgraded.set(copied, *layer.all(copied))
    for field, places in _V0_FIELDS.items():
        if type in places and layer.has(field):
            parameter, new = places[type]
            if not upgraded.has(parameter):
                upgraded.set(parameter, upgraded.get(parameter))
            upgraded.get(parameter).set(new, layer.get(field))
    return upgraded


def _upgrade_v1(layer: Message, file: str | None) -> Message:
    upgraded = Message("LayerParameter", layer.line, unknown=list(layer.unknown))
    upgraded.set("name", layer.get("name") or "")
    upgraded.set("type", _V2_TYPES[layer.get("type")])
    specifications: list[Message] = []
    for old, new in (
        ("param", "name"),
        ("blob_share_mode", "share_mode"),
        ("blobs_lr", "lr_mult"),
        ("weight_decay", "decay_mult"),
    ):
        for index, value in enumerate(layer.all(old)):
            if index == len(specifications):
                specifications.append(Message("ParamSpec", layer.line))
            specifications[index].set(new, value)
    upgraded.set("param", *specifications)
    for field, values in layer.fields.items():
        if field not in ("name", "type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer"):
            upgraded.set(field, *values)
    for data in ("data_param", "image_data_param", "window_data_param"):
        if upgraded.has(data):
            _move_transformation(upgraded, data)
    return upgraded


def _move_transformation(layer: Message, data: str) -> None:
    """scale, mean_file, crop_size and mirror of a V1 data layer belong to transform_param."""
    parameter, transformation = layer.get(data).copy(), layer.get("transform_param").copy()
    for field in ("scale", "mean_file", "crop_size", "mirror"):
        if parameter.has(field):
            transformation.set(field, parameter.get(field))
            parameter.set(field)
    layer.set(data, parameter)
    if transformation.fields:
        layer.set("transform_param", transformation)


def _upgrade_inputs(net: Message, file: str | None) -> None:
    """``input`` with ``input_shape`` (one each) or ``input_dim`` (four each) to one Input layer named "input", first.

    Without any shape the layer has none either: real Caffe aborts then, a converter can ask for the shape.
    """
    names, shapes, dims = net.all("input"), list(net.all("input_shape")), net.all("input_dim")
    if shapes and dims:
        raise ReadError("input_shape and input_dim may not both be given", file)
    if dims:
        if len(dims) != 4 * len(names):
            raise ReadError(f"{len(names)} inputs need {4 * len(names)} input_dim, the file has {len(dims)}", file)
        for start in range(0, len(dims), 4):
            shapes.append(Message("BlobShape"))
            shapes[-1].set("dim", *dims[start : start + 4])
    elif shapes and len(shapes) != len(names):
        raise ReadError(f"{len(names)} inputs need as many input_shape, the file has {len(shapes)}", file)
    if not names:
        return
    layer, parameter = Message("LayerParameter"), Message("InputParameter")
    parameter.set("shape", *shapes)
    layer.set("name", "input")
    layer.set("type", "Input")
    layer.set("top", *names)
    layer.set("input_param", parameter)
    for field in ("input", "input_shape", "input_dim"):
        net.set(field)
    net.set("layer", layer, *net.all("layer"))


def _normalised(layer: Message, file: str | None) -> Message:
    """BatchNorm's three ``param`` blocks are cleared, as Caffe does; round_mode becomes ceil_mode."""
    layer = layer.copy()
    if layer.get("type") == "BatchNorm" and len(layer.all("param")) == 3:
        layer.set("param")
    if layer.has("pooling_param") and layer.get("pooling_param").has("round_mode"):
        pooling = layer.get("pooling_param").copy()
        ceil = pooling.get("round_mode") == "CEIL"
        if pooling.has("ceil_mode") and pooling.get("ceil_mode") != ceil:
            raise ReadError("round_mode and ceil_mode contradict each other", file, pooling.line, layer.get("name"))
        pooling.set("round_mode")
        pooling.set("ceil_mode", ceil)
        layer.set("pooling_param", pooling)
    return layer


def unknown_fields(message: Message, skip_top: bool = False) -> list[tuple[str, UnknownField]]:
    """(message type, field) of all that the schema lacks within ``message``; the outermost ones left out if asked."""
    found = [] if skip_top else [(message.type, unknown) for unknown in message.unknown]
    for name, values in message.fields.items():
        if message_type(message.type).by_name[name].is_message:
            for value in values:
                if value.type != "Opaque":
                    found += unknown_fields(value)
    return found
