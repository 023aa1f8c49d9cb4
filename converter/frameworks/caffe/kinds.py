"""What a file is, told by its content: used to sort a user's files and to say what a wrong one seems to be."""

from __future__ import annotations

import re
from pathlib import Path

from converter.errors import ReadError

from .text import parse_message
from .wire import FIXED32, FIXED64, LENGTH, VARINT, WireField, WireFile

POINTER_STUB = "git-lfs pointer"
_HEAD_BYTES = 1 << 16
_MAGIC = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"version https://git-lfs", POINTER_STUB),
    (b"PK\x03\x04", "zip archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\x93NUMPY", "numpy array"),
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"MATLAB 5.0", "MATLAB file"),
    (b"%PDF", "PDF document"),
    (b"\x7fELF", "program"),
    (b"<!DOCTYPE", "web page"),
    (b"<html", "web page"),
)
# Field names at the top of a file that only one of the two kinds of prototxt has.
_NET_FIELDS = {"layer", "layers", "input", "input_dim", "input_shape", "force_backward"}
_SOLVER_FIELDS = """
    net net_param train_net test_net train_net_param test_net_param test_iter test_interval base_lr display average_loss
    max_iter iter_size lr_policy gamma power momentum momentum2 weight_decay regularization_type stepsize stepvalue
    clip_gradients snapshot snapshot_prefix snapshot_diff snapshot_format solver_mode solver_type device_id random_seed
    delta rms_decay test_initialization test_compute_loss snapshot_after_train train_state test_state
"""
# field number -> wire types, of the messages that a binary file can be
_NET_WIRE = {
    1: {LENGTH},
    2: {LENGTH},
    3: {LENGTH},
    4: {VARINT, LENGTH},
    5: {VARINT},
    6: {LENGTH},
    7: {VARINT},
    8: {LENGTH},
}
_BLOB_WIRE = {
    **{number: {VARINT} for number in (1, 2, 3, 4, 10, 11)},
    **{number: {LENGTH, FIXED32} for number in (5, 6)},
    **{number: {LENGTH, FIXED64} for number in (8, 9)},
    **{number: {LENGTH} for number in (7, 12, 13)},
}
_LAYER_NAME_AND_TYPE = {100: {1, 2}, 2: {1, 4, 5}}


def classify(path: str | Path) -> str | None:
    """One of "prototxt", "solver", "caffemodel", "hdf5", "mean", another kind in words ("zip archive"), or None.

    Looks at the head of a text file and at the outermost fields of a binary one; a caffemodel cut short is still called
    one.
    Raises ReadError only where the file cannot be opened.
    """
    file = WireFile(path)
    head = bytes(file.buffer[:_HEAD_BYTES])
    if not head:
        return "empty file"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[0] == 0x80 and head[1:2] in b"\2\3\4\5" and len(head) > 1:
        return "pickle"
    if is_text(head):
        return _text_kind(head.decode("utf-8", "replace"))
    return _binary_kind(file)


def is_text(head: bytes) -> bool:
    """Whether bytes look like text of any encoding: no control characters but space ones."""
    return not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", head)


def describe(kind: str | None) -> str:
    """The kind as the end of the sentence ``it seems to be ...``."""
    words = {
        None: "of an unknown kind",
        "prototxt": "a net as text (prototxt)",
        "solver": "a solver prototxt",
        "caffemodel": "weights (binary caffemodel)",
        "hdf5": "an HDF5 file",
        "mean": "a mean file (binaryproto)",
        POINTER_STUB: "a git-lfs pointer stub, the content itself is not here: run `git lfs pull`",
        "empty file": "empty",
    }
    return words.get(kind) or f"a {kind}"


def refuse_other_kind(path: str | Path, wanted: str, kind: str | None) -> ReadError:
    """The error for a file that is not ``wanted`` but ``kind``."""
    if kind == POINTER_STUB:
        return ReadError(f"not {wanted} but {describe(kind)}", path)
    return ReadError(f"not {wanted}: the file is {describe(kind)}", path)


def _text_kind(head: str) -> str | None:
    """By the names of the outermost fields, as far as the head goes."""
    # a head that stops within a message would be a mistake to the parser
    end = head.rfind("\n}") + 2 if len(head) >= _HEAD_BYTES // 4 else len(head)
    try:
        message = parse_message(head[:end], "Opaque")
    except ReadError:
        return "prototxt" if re.search(r"^\s*layers?\s*:?\s*\{", head, re.MULTILINE) else "text file"
    names = {field.name for field in message.unknown}
    if names & _NET_FIELDS:
        return "prototxt"
    if names & set(_SOLVER_FIELDS.split()):
        return "solver"
    return "text file"


def _binary_kind(file: WireFile) -> str | None:
    seen: dict[int, WireField] = {}
    net = blob = True
    names = 0
    try:
        for field in file.fields(0, file.size):
            if field.number == 1 and field.wire == VARINT and not seen:
                net = False
            net = net and (field.number > 8 or field.wire in _NET_WIRE[field.number])
            blob = blob and field.wire in _BLOB_WIRE.get(field.number, ())
            names += field.number == 1
            seen.setdefault(field.number, field)
            if not net and not blob:
                return "ONNX model" if _is_onnx(seen) else None
    except ReadError:
        pass  # cut short or damaged: judged by what came before
    layers = next((number for number in (100, 2) if number in seen), None)
    if net and names <= 1 and layers and _is_layer(file, seen[layers], _LAYER_NAME_AND_TYPE[layers]):
        return "caffemodel"
    if blob and seen.keys() & {5, 8, 12} and seen.keys() & {1, 2, 3, 4, 7}:
        return "mean"
    return None


def _is_layer(file: WireFile, field: WireField, expected: set[int]) -> bool:
    try:
        return any(inner.number in expected for inner in file.fields(field.start, field.stop))
    except ReadError:
        return True


def _is_onnx(seen: dict[int, WireField]) -> bool:
    """ModelProto begins with ir_version, field 1 as a small varint (shared/facts/onnx.md)."""
    return 1 in seen and seen[1].wire == VARINT and 0 < seen[1].value < 100
