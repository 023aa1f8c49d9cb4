"""Caffe files to plain structures and back; the face of this folder: others import from here alone.

    read_prototxt(path) -> NetDefinition       a net as text of any dialect, upgraded to V2 and filtered for a phase
    parse_prototxt(text) -> NetDefinition      the same from a string
    read_net_binary(path) -> NetDefinition     the net that a .caffemodel was trained as
    read_weights(path) -> Weights              .caffemodel or HDF5, memory-mapped
    read_mean(path) -> array                   .binaryproto
    classify(path) -> str | None               what a file is, by its content
    write_caffemodel(path, layers)             streaming
    format_message(message) -> str             the text of any message
    unique_tops(net), runtime_prototxt(net)    every in-place stage under a name of its own

schema.py holds the tables of fields, message.py one message, text.py and wire.py its two forms, upgrade.py the old
dialects, net.py and weights.py what the files mean, kinds.py what a file is.
"""

from .kinds import classify
from .message import Message, UnknownField
from .net import (
    LayerDefinition,
    NetDefinition,
    ParamSpec,
    parse_prototxt,
    read_net_binary,
    read_prototxt,
    runtime_prototxt,
    unique_tops,
)
from .text import format_message
from .weights import Blob, Weights, read_mean, read_weights, write_caffemodel

__all__ = [
    "Blob",
    "LayerDefinition",
    "Message",
    "NetDefinition",
    "ParamSpec",
    "UnknownField",
    "Weights",
    "classify",
    "format_message",
    "parse_prototxt",
    "read_mean",
    "read_net_binary",
    "read_prototxt",
    "read_weights",
    "runtime_prototxt",
    "unique_tops",
    "write_caffemodel",
]
