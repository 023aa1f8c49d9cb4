"""A protocol buffer message as plain Python, the same for text and binary files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .schema import FieldType, message_type


@dataclass(slots=True)
class UnknownField:
    """A field that the schema does not hold: its name (``field 154`` in a binary file), raw value and line."""

    name: str
    value: Any
    line: int | None


@dataclass(slots=True)
class Message:
    """One message: ``type`` names its table in schema.py, ``fields`` holds what the file sets, in its order.

    Every entry of ``fields`` is a list, of length one for a singular field. Values are int, float, bool, str,
    bytes or Message; an enum value is its upper-case name. ``line`` is 1-based, None in a binary file.
    """

    type: str
    line: int | None = None
    fields: dict[str, list] = field(default_factory=dict)
    unknown: list[UnknownField] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether the file sets the field."""
        self._field(name)
        return bool(self.fields.get(name))

    def get(self, name: str) -> Any:
        """The value of a singular field, else its default.

        An absent message field is an empty Message, so that its own defaults can be asked for. A scalar for which
        the schema has no explicit default is None (not proto2's zero): unset is never mistaken for 0.
        """
        described = self._field(name)
        if described.repeated:
            raise TypeError(f"{self.type}.{name} is repeated: ask with all()")
        values = self.fields.get(name)
        if values:
            return values[0]
        return Message(described.kind) if described.is_message else described.default

    def all(self, name: str) -> list:
        """The values of a repeated field in file order; empty where the file has none."""
        if not self._field(name).repeated:
            raise TypeError(f"{self.type}.{name} is singular: ask with get()")
        return self.fields.get(name, [])

    def set(self, name: str, *values: Any) -> None:
        """Replace the field's values; none at all removes the field."""
        self._field(name)
        if values:
            self.fields[name] = list(values)
        else:
            self.fields.pop(name, None)

    def add(self, name: str, value: Any) -> None:
        """Append one value to a repeated field."""
        self._field(name)
        self.fields.setdefault(name, []).append(value)

    def copy(self) -> Message:
        """A copy whose field lists can be changed; nested messages are shared."""
        return Message(self.type, self.line, {k: list(v) for k, v in self.fields.items()}, list(self.unknown))

    def _field(self, name: str) -> FieldType:
        fields = message_type(self.type).by_name
        if name not in fields:
            raise KeyError(f"{self.type} has no field {name}")
        return fields[name]
