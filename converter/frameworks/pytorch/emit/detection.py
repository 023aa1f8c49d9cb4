"""The last layer of SSD: a class in the written file."""

from __future__ import annotations

from converter.frameworks.pytorch.emit.activation import short
from converter.frameworks.pytorch.emit.code import Code, Module, Node, call, emits

#: Attribute -> the value that the class takes when nothing is given (emit/pieces/DetectionOutput.py).
_DEFAULTS = {
    "share_location": 1,
    "background_label_id": 0,
    "code_type": "CORNER",
    "variance_encoded_in_target": 0,
    "confidence_threshold": None,
    "nms_threshold": None,
    "top_k": -1,
    "eta": 1.0,
    "keep_top_k": -1,
}


@emits("converter::DetectionOutput")
def detection_output(node: Node) -> Code:
    """Without suppression parameters every box is kept: no nms_threshold."""
    given = {name: value for name, value in node.attributes.items() if name in _DEFAULTS and value != _DEFAULTS[name]}
    if node.get("without_nms", 0):
        given = {name: value for name, value in given.items() if name not in ("nms_threshold", "top_k", "eta")}
    options = {name: _plain(name, value) for name, value in given.items()}
    arguments = {"num_classes": node.attributes["num_classes"]}
    module = Module("DetectionOutput", arguments, options)
    return call(module, "{module}({0}, {1}, {2})", piece="DetectionOutput")


def _plain(name: str, value: object) -> object:
    if name in ("share_location", "variance_encoded_in_target"):
        return bool(value)
    return short(value) if isinstance(value, float) else value
