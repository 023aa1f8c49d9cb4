"""The text form of protocol buffers (prototxt) to and from Message.

The dialect is the one that real Caffe accepts (shared/facts/caffe.md 2.7): ``#`` comments, ``,`` or ``;`` after a
field, ``{}`` or ``<>``, an optional ``:`` before a message, both quotes with adjacent strings joined, hexadecimal and
octal integers, ``0.1f``, enums by name or number, ``dim: [1, 3, 8, 8]``. What makes Caffe abort is a ReadError with
file and line, except for an unknown field: it is kept in ``Message.unknown``, since only who knows the layer's type
can judge it.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from converter.errors import ReadError

from .message import Message, UnknownField
from .schema import ENUMS, FieldType, message_type

MAXIMUM_BYTES = 64 << 20  # the largest known prototxt is below 3 MB
MAXIMUM_DEPTH = 100
MAXIMUM_VALUES = 500_000  # bounds memory: a value of two characters becomes hundreds of bytes

_SPACE = re.compile(r"\s*+(?:#[^\n]*+\s*+)*+", re.ASCII)
_TOKEN = re.compile(
    r"""(?P<name>[A-Za-z_]\w*)
      | (?P<integer>0[xX][0-9a-fA-F]+(?![\w.]) | \d++(?![\w.]))
      | (?P<float>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?[fF]?(?![\w.]))
      | (?P<string>"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')
      | (?P<symbol>[{}<>\[\]:;,-])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(
    rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\'\"?])|(.?))", re.DOTALL
)
_ESCAPED = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))
_CLOSING = {"{": "}", "<": ">"}
_INTEGER_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
_TRUTH = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}


def parse_message(text: str, type: str = "NetParameter", file: str | Path | None = None) -> Message:
    """The message of that type in ``text``. Raises ReadError with the line of the first mistake."""
    if len(text) > MAXIMUM_BYTES:
        raise ReadError(f"more than {MAXIMUM_BYTES >> 20} MB of text is no prototxt", file)
    return _Parser(text, file).message(type, line=1, end="", depth=0)


def nearest_name(name: str, names: Iterable[str]) -> str:
    """``, did you mean ...`` for an error message, or nothing."""
    close = difflib.get_close_matches(name[:80], list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def float32_value(value: float) -> float:
    """The shortest decimal number that is the same float32, which is what Caffe keeps of it."""
    if not math.isfinite(value):
        return value
    try:
        stored = struct.pack("<f", value)
    except OverflowError:
        return math.copysign(math.inf, value)
    for digits in range(6, 9):
        shortest = float(f"{value:.{digits}g}")
        if struct.pack("<f", shortest) == stored:
            return shortest
    return float(f"{struct.unpack('<f', stored)[0]:.9g}")


class _Parser:
    """Recursive descent with one token of look-ahead; every step moves forward, so the time is linear."""

    def __init__(self, text: str, file: str | Path | None) -> None:
        self.text, self.file = text.removeprefix("\ufeff"), file
        self.position, self.line, self.values = 0, 1, 0
        self.advance()

    def advance(self) -> None:
        """Read the next token into ``kind``, ``token`` and ``token_line``; at the end both are empty."""
        start = _SPACE.match(self.text, self.position).end()
        self.line += self.text.count("\n", self.position, start)
        self.position = start
        self.token_line = self.line
        if start == len(self.text):
            self.kind = self.token = ""
            return
        match = _TOKEN.match(self.text, start)
        if match is None:
            raise self.error(f"cannot understand {self.text[start : start + 20].splitlines()[0]!r}")
        self.kind, self.token, self.position = match.lastgroup, match.group(), match.end()

    def error(self, message: str, line: int | None = None) -> ReadError:
        return ReadError(message, self.file, line or self.token_line)

    def take(self, *tokens: str) -> bool:
        """Step over the next token if it is one of these symbols."""
        if self.kind == "symbol" and self.token in tokens:
            self.advance()
            return True
        return False

    def expect(self, what: str) -> str:
        token = self.token
        if not self.take(*what):
            found = repr(token) if token else "the end of the file"
            raise self.error(f"expected {' or '.join(what)}, found {found}")
        return token

    def message(self, type: str, line: int, end: str, depth: int) -> Message:
        """Fields up to the closing symbol ``end``, or to the end of the file where that is empty."""
        if depth > MAXIMUM_DEPTH:
            raise self.error(f"messages are nested more than {MAXIMUM_DEPTH} deep")
        message = Message(type, line)
        known = message_type(type).by_name
        while not (end and self.take(end)):
            if not self.token:
                if end:
                    raise self.error(f"the message opened in line {line} is not closed")
                break
            if self.kind != "name":
                raise self.error(f"expected the name of a field, found {self.token!r}")
            name, field_line = self.token, self.token_line
            self.advance()
            field = known.get(name)
            if field is None:
                message.unknown.append(UnknownField(name, self.unknown_value(depth), field_line))
            else:
                self.field(message, field, field_line, depth)
            self.take(",", ";")
        return message

    def field(self, message: Message, field: FieldType, line: int, depth: int) -> None:
        colon = self.take(":")
        if not colon and not field.is_message:
            raise self.error(f"expected : after {field.name}")
        if field.name in message.fields and not field.repeated:
            raise self.error(f"{field.name} is given a second time; Caffe refuses that", line)
        values = message.fields.setdefault(field.name, [])
        if colon and self.kind == "symbol" and self.token == "[":
            if not field.repeated:
                raise self.error(f"{field.name} takes one value, not a list")
            values += self.list_of(lambda: self.value(field, depth))
            if not values:
                del message.fields[field.name]
        else:
            values.append(self.value(field, depth))

    def list_of(self, element: Callable[[], Any]) -> list:
        """``[a, b]``; it may be empty but not end in a comma."""
        self.advance()
        values = []
        if not self.take("]"):
            values.append(element())
            while self.take(","):
                values.append(element())
            self.expect("]")
        return values

    def count_value(self) -> None:
        self.values += 1
        if self.values > MAXIMUM_VALUES:
            raise self.error(f"more than {MAXIMUM_VALUES:,} values: this is no prototxt of a net")

    def value(self, field: FieldType, depth: int) -> Any:
        self.count_value()
        line = self.token_line
        if field.is_message:
            opening = self.expect("{<")
            return self.message(field.kind, line, _CLOSING[opening], depth + 1)
        if field.kind in ("string", "bytes"):
            return self.string(field)
        negative = self.take("-")
        kind, token = self.kind, self.token
        if kind not in ("name", "integer", "float"):
            raise self.error(
                f"expected a value of {field.name}, found {token!r}" if token else "the file ends too early"
            )
        value = self.scalar(field, kind, token, negative)
        self.advance()
        return value

    def scalar(self, field: FieldType, kind: str, token: str, negative: bool) -> Any:
        """A number, truth value or enum name; ``kind`` and ``token`` are not consumed, for the line of an error."""
        shown = ("-" if negative else "") + token
        if field.is_enum:
            names = ENUMS[field.kind]
            if kind == "name" and token in names and not negative:
                return token
            if kind == "integer":
                number = -self.integer(token) if negative else self.integer(token)
                for name, value in names.items():
                    if value == number:
                        return name
            hint = nearest_name(token.upper(), names) or f"; one of {', '.join(names)}" * (len(names) < 8)
            raise self.error(f"{field.name} has no value {shown}{hint}")
        if field.kind == "bool":
            if kind == "name" and token in _TRUTH and not negative:
                return _TRUTH[token]
            if kind == "integer" and self.integer(token) < 2 and not negative:
                return bool(self.integer(token))
            raise self.error(f"{field.name} must be true or false, not {shown}")
        if field.kind in ("float", "double"):
            value = self.floating(kind, token, field.name)
            value = -value if negative else value
            return float32_value(value) if field.kind == "float" else value
        if kind != "integer":
            raise self.error(f"{field.name} must be an integer, not {shown}")
        number = -self.integer(token) if negative else self.integer(token)
        low, high = _INTEGER_RANGES[field.kind]
        if not low <= number <= high:
            raise self.error(f"{field.name}: {shown[:40]} is out of the range of {field.kind}")
        return number

    def integer(self, token: str) -> int:
        if len(token) > 40:
            raise self.error("an integer of more than 40 digits")
        try:
            if token[:2] in ("0x", "0X"):
                return int(token, 16)
            return int(token, 8) if token[0] == "0" else int(token)
        except ValueError:
            raise self.error(f"{token} is not an octal number") from None

    def floating(self, kind: str, token: str, name: str) -> float:
        if kind == "name":
            if token.lower() in ("inf", "infinity", "nan"):
                return float(token)
        elif kind == "float" or token == "0" or token[0] != "0":
            return float(token.rstrip("fF"))
        raise self.error(f"{name} must be a decimal number, not {token}")

    def string(self, field: FieldType) -> str | bytes:
        if self.kind != "string":
            found = self.token or "the end of the file"
            raise self.error(f"{field.name} must be a string in quotes, found {found}")
        parts, line = [], self.token_line
        while self.kind == "string":
            parts.append(self.unescape(self.token[1:-1]))
            self.advance()
        joined = b"".join(parts)
        if field.kind == "bytes":
            return joined
        try:
            return joined.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"{field.name} is not UTF-8 text", line) from None

    def unescape(self, quoted: str) -> bytes:
        def replace(match: re.Match[bytes]) -> bytes:
            octal, hexadecimal, short, long, letter, _ = match.groups()
            if octal:
                return bytes([int(octal, 8) & 255])
            if hexadecimal:
                return bytes([int(hexadecimal, 16)])
            if letter:
                return bytes([_ESCAPED[letter[0]]])
            code = int(short or long or b"110000", 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise self.error("an escape in a string that Caffe does not know")
            return chr(code).encode()

        # a file's bytes that are not UTF-8 come here as lone surrogates and go back to bytes
        return _ESCAPE.sub(replace, quoted.encode("utf-8", "surrogateescape"))

    def unknown_value(self, depth: int) -> Any:
        """A Message for ``{...}``, a list of values for ``[...]``, else the tokens as text."""
        self.count_value()
        colon = self.take(":")
        if self.kind == "symbol" and self.token in ("{", "<"):
            line, opening = self.token_line, self.expect("{<")
            return self.message("Opaque", line, _CLOSING[opening], depth + 1)
        if not colon:
            raise self.error(f"expected : or {{, found {self.token!r}" if self.token else "the file ends too early")
        if self.kind == "symbol" and self.token == "[":
            return self.list_of(lambda: self.unknown_element(depth))
        return self.unknown_element(depth)

    def unknown_element(self, depth: int) -> Any:
        self.count_value()
        if self.kind == "symbol" and self.token in ("{", "<"):
            line, opening = self.token_line, self.expect("{<")
            return self.message("Opaque", line, _CLOSING[opening], depth + 1)
        if self.kind == "string":
            parts = []
            while self.kind == "string":
                parts.append(self.token)
                self.advance()
            return " ".join(parts)
        sign = "-" if self.take("-") else ""
        if self.kind not in ("name", "integer", "float"):
            raise self.error(f"expected a value, found {self.token!r}" if self.token else "the file ends too early")
        token = sign + self.token
        self.advance()
        return token


def format_message(message: Message, indent: int = 0) -> str:
    """The text of a message, one field a line, unknown fields at its end; parsing it gives the message again."""
    lines: list[str] = []
    _format(message, "  " * indent, lines)
    return "".join(lines)


def _format(message: Message, margin: str, lines: list[str]) -> None:
    fields = message_type(message.type).by_name
    for name, values in message.fields.items():
        for value in values:
            if isinstance(value, Message):
                _format_nested(name, value, margin, lines)
            else:
                lines.append(f"{margin}{name}: {_format_scalar(fields[name], value)}\n")
    for unknown in message.unknown:
        if isinstance(unknown.value, Message):
            _format_nested(unknown.name, unknown.value, margin, lines)
        elif isinstance(unknown.value, list):
            lines.append(f"{margin}{unknown.name}: [\n")
            for index, value in enumerate(unknown.value):
                separator = "," if index + 1 < len(unknown.value) else ""
                if isinstance(value, Message):
                    lines.append(f"{margin}  {{\n")
                    _format(value, margin + "    ", lines)
                    lines.append(f"{margin}  }}{separator}\n")
                else:
                    lines.append(f"{margin}  {value}{separator}\n")
            lines.append(f"{margin}]\n")
        else:
            lines.append(f"{margin}{unknown.name}: {unknown.value}\n")


def _format_nested(name: str, message: Message, margin: str, lines: list[str]) -> None:
    lines.append(f"{margin}{name} {{\n")
    _format(message, margin + "  ", lines)
    lines.append(f"{margin}}}\n")


def _format_scalar(field: FieldType, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, bytes)) and not field.is_enum:
        return f'"{_escape(value)}"'
    return repr(value) if isinstance(value, float) else str(value)


def _escape(value: str | bytes) -> str:
    data = value.encode() if isinstance(value, str) else value
    return "".join(
        "\\" + chr(byte) if byte in b'\\"' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in data
    )
