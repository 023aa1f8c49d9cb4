"""The binary form of protocol buffers, read from a memory map without copying or visiting what is long.

A field is a key (number << 3 | wire type) and a payload: wire type 0 a varint, 1 eight bytes, 2 a length and that many
bytes, 5 four bytes; 3 and 4 (groups) do not occur in Caffe. Source: shared/facts/caffe.md 2.1.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from converter.errors import ReadError

from .message import Message, UnknownField
from .schema import ENUMS, FieldType, message_type
from .text import float32_value

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAXIMUM_FIELDS = 1_000_000  # a net of a thousand layers has some tens of thousands
MAXIMUM_TEXT = 1 << 20
_WIRE_NAMES = {VARINT: "a varint", FIXED64: "8 bytes", LENGTH: "a length-delimited value", FIXED32: "4 bytes"}
_WIDTHS = {FIXED64: 8, FIXED32: 4}


class WireField(NamedTuple):
    """One field, or a run of the same fixed-width field.

    ``start`` to ``stop`` is the payload of the first occurrence; ``value`` a varint's; ``count`` and ``stride`` (bytes)
    describe a run of unpacked values with equal keys, which would be millions of Python steps one by one.
    """

    number: int
    wire: int
    start: int
    stop: int
    value: int = 0
    count: int = 1
    stride: int = 0


class WireFile:
    """A memory-mapped file. Every mistake in it is a ReadError that names the byte."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with open(path, "rb") as file:
                self.size = file.seek(0, 2)
                self.buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        except OSError as error:
            raise ReadError(f"cannot be opened: {error.strerror or error}", path) from None
        self.fields_left = MAXIMUM_FIELDS

    def error(self, message: str, position: int) -> ReadError:
        return ReadError(f"{message} at byte {position:,}", self.path)

    def fields(self, start: int, stop: int) -> Iterator[WireField]:
        """The fields of the message that lies in [start, stop), in order."""
        position = start
        while position < stop:
            self.fields_left -= 1
            if self.fields_left < 0:
                raise ReadError(f"more than {MAXIMUM_FIELDS:,} fields: these are no weights of a net", self.path)
            key, payload = self.varint(position, stop)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise self.error(f"damaged: field number {number}", position)
            if wire == VARINT:
                value, end = self.varint(payload, stop)
                yield WireField(number, wire, payload, end, value)
            elif wire == LENGTH:
                length, payload = self.varint(payload, stop)
                end = payload + length
                if end > stop:
                    raise self.error(
                        f"truncated or damaged: field {number} claims {length:,} bytes of the {stop - payload:,} left",
                        position,
                    )
                yield WireField(number, wire, payload, end)
            elif wire in _WIDTHS:
                width = _WIDTHS[wire]
                if payload + width > stop:
                    raise self.error(f"truncated: field {number} needs {width} bytes", position)
                stride = payload - position + width
                count = self._run(position, stop, payload - position, stride)
                yield WireField(number, wire, payload, payload + width, 0, count, stride)
                end = position + count * stride
            else:
                raise self.error(f"damaged: wire type {wire}, which Caffe never writes,", position)
            position = end

    def varint(self, position: int, stop: int) -> tuple[int, int]:
        """(value modulo 2**64, position behind it)."""
        value = shift = 0
        while True:
            if position >= stop:
                raise self.error("truncated: an integer ends too early", position)
            byte = self.buffer[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1, position
            shift += 7
            if shift > 63:
                raise self.error("damaged: an integer of more than ten bytes", position)

    def _run(self, position: int, stop: int, key_length: int, stride: int) -> int:
        """How many times the key at ``position`` repeats every ``stride`` bytes; looks in growing steps."""
        most = (stop - position) // stride
        if most < 2 or self.buffer[position + stride] != self.buffer[position]:
            return 1
        count, step = 1, 64
        key = np.frombuffer(self.buffer, np.uint8, key_length, position)
        while count < most:
            look = min(step, most - count)
            keys = np.ndarray((look, key_length), np.uint8, self.buffer, position + count * stride, (stride, 1))
            same = (keys == key).all(axis=1)
            if not same.all():
                return count + int(np.argmin(same))
            count, step = count + look, min(step * 4, 1 << 20)
        return count

    def text(self, field: WireField, what: str) -> str:
        """The value of a string field."""
        self.expect(field, LENGTH, what)
        if field.stop - field.start > MAXIMUM_TEXT:
            raise self.error(f"damaged: {what} of {field.stop - field.start:,} bytes", field.start)
        try:
            return self.buffer[field.start : field.stop].decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"damaged: {what} is not UTF-8 text", field.start) from None

    def expect(self, field: WireField, wire: int, what: str) -> None:
        if field.wire != wire:
            raise self.error(
                f"damaged: {what} should be {_WIRE_NAMES[wire]} but is {_WIRE_NAMES[field.wire]},", field.start
            )

    def integers(self, field: WireField, what: str) -> list[int]:
        """The values of a repeated int64 field, packed or not."""
        if field.wire == VARINT:
            return [_signed(field.value, 64)]
        self.expect(field, LENGTH, what)
        values, position = [], field.start
        while position < field.stop:
            value, position = self.varint(position, field.stop)
            values.append(_signed(value, 64))
            self.fields_left -= 1
            if self.fields_left < 0:
                raise ReadError(f"more than {MAXIMUM_FIELDS:,} values: these are no weights of a net", self.path)
        return values

    def message(self, type: str, start: int, stop: int, skip: frozenset[str], into: Message | None = None) -> Message:
        """Decode a message by its table, leaving out the fields named in ``skip``.

        The depth is bounded by the schema, which has no cycles. A singular message that comes twice is merged and of a
        scalar the last wins, as protobuf does; a number or enum value that the table lacks goes to ``unknown``.
        """
        message = into or Message(type)
        known = message_type(type).by_number
        if type == "Opaque":
            return message
        for item in self.fields(start, stop):
            field = known.get(item.number)
            if field is None:
                message.unknown.append(UnknownField(f"field {item.number}", "", None))
            elif field.name not in skip:
                self._add(message, field, item, skip)
        return message

    def _add(self, message: Message, field: FieldType, item: WireField, skip: frozenset[str]) -> None:
        if field.is_message:
            self.expect(item, LENGTH, field.name)
            earlier = message.fields.get(field.name)
            merged = earlier[0] if earlier and not field.repeated else None
            values = [self.message(field.kind, item.start, item.stop, skip, merged)]
        elif field.kind in ("string", "bytes"):
            self.expect(item, LENGTH, field.name)
            values = [self.buffer[item.start : item.stop] if field.kind == "bytes" else self.text(item, field.name)]
        elif field.kind in ("float", "double"):
            values = self._floats(field, item)
        else:
            values = []
            for raw in self.integers(item, field.name):
                value = _scalar(field, raw)
                if value is None:
                    message.unknown.append(UnknownField(f"{field.name} = {raw}", "", None))
                else:
                    values.append(value)
        if field.repeated:
            message.fields.setdefault(field.name, []).extend(values)
        elif values:
            message.fields[field.name] = values[-1:]

    def _floats(self, field: FieldType, item: WireField) -> list[float]:
        layout, wire = ("<f", FIXED32) if field.kind == "float" else ("<d", FIXED64)
        width = _WIDTHS[wire]
        if item.wire == LENGTH:
            count, stride = (item.stop - item.start) // width, width
            if count * width != item.stop - item.start:
                raise self.error(f"damaged: {field.name} is not a whole number of values", item.start)
        else:
            self.expect(item, wire, field.name)
            count, stride = item.count, item.stride
        self.fields_left -= count
        if self.fields_left < 0:
            raise ReadError(f"more than {MAXIMUM_FIELDS:,} values in the parameters of layers", self.path)
        numbers = (struct.unpack_from(layout, self.buffer, item.start + i * stride)[0] for i in range(count))
        return [float32_value(number) if wire == FIXED32 else number for number in numbers]


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _scalar(field: FieldType, raw: int) -> int | bool | str | None:
    """A varint as the field's type; None for an enum value without a name."""
    if field.is_enum:
        return next((name for name, number in ENUMS[field.kind].items() if number == _signed(raw, 32)), None)
    if field.kind == "bool":
        return raw != 0
    bits = int(field.kind[-2:])
    return raw & (1 << bits) - 1 if field.kind.startswith("u") else _signed(raw, bits)


def encode_varint(value: int) -> bytes:
    """A non-negative integer below 2**64."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_prefix(number: int, length: int) -> bytes:
    """Key and length of a length-delimited field, whose ``length`` bytes follow."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(length)
