"""Everything that this package raises on purpose.

ConverterError                 anything below; a user sees its one line, never a traceback
├── UsageError                 the arguments cannot be understood            exit 2
├── ReadError                  a file is broken, hostile or of another kind  exit 2
├── UnsupportedLayers          layers that cannot be handled, all of them    exit 2
├── WriteError                 the destination cannot be written             exit 2
├── EnvironmentMissing         a runtime is not installed                    exit 3
├── WorkerFailed               a runtime died, hung or printed garbage       exit 3
└── ParityFailure              both sides ran and differ                     exit 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Longer messages come from absurd names: their middle is left out.
LONGEST = 1000


def one_line(text: str) -> str:
    """``text`` as one line that a terminal shows and does not obey: names in a hostile file may hold anything."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class ConverterError(Exception):
    """Root of the tree. ``str(error)`` is one line that says what is wrong and what to do."""

    exit_code = 2


class UsageError(ConverterError):
    """The arguments cannot be understood."""


class ReadError(ConverterError):
    """A file cannot be read as what it should be.

    ``file`` and ``line`` (1-based) are put before the message, as compilers do; ``layer`` is for callers.
    """

    def __init__(
        self, message: str, file: str | Path | None = None, line: int | None = None, layer: str | None = None
    ) -> None:
        self.message, self.file, self.line, self.layer = message, file, line, layer
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        who = "" if layer is None or f'"{layer}"' in message else f'layer "{layer}": '
        super().__init__(one_line(f"{where}{who}{message}"))


@dataclass(frozen=True)
class UnsupportedLayer:
    """One layer that a reader or a writer cannot handle."""

    layer: str
    type: str
    reason: str
    file: str | None = None
    line: int | None = None
    help: str = ""

    def __str__(self) -> str:
        where = "" if self.file is None else f"{self.file}: " if self.line is None else f"{self.file}:{self.line}: "
        help = f"; {self.help}" if self.help else ""
        return one_line(f'{where}layer "{self.layer}" ({self.type}): {self.reason}{help}')


class UnsupportedLayers(ConverterError):
    """Every layer that cannot be handled, found before anything was written."""

    def __init__(self, layers: Sequence[UnsupportedLayer], side: str = "") -> None:
        self.layers = tuple(layers)
        count = f"{len(self.layers)} layer{'s' if len(self.layers) != 1 else ''} cannot be converted"
        head = f"{side}: {count}" if side else count
        super().__init__("\n  ".join([head, *map(str, self.layers)]))


class WriteError(ConverterError):
    """The destination cannot be written; what was there is untouched."""


class EnvironmentMissing(ConverterError):
    """A real runtime is not installed. ``command`` installs it."""

    exit_code = 3

    def __init__(self, name: str, reason: str, command: str) -> None:
        self.name, self.reason, self.command = name, reason, command
        super().__init__(f"{name} is not installed ({reason}); install it with: {command}")


class WorkerFailed(ConverterError):
    """A runtime's process died, hung or answered garbage; ``stderr_tail`` holds its last lines."""

    exit_code = 3

    def __init__(self, name: str, reason: str, stderr_tail: str = "") -> None:
        self.name, self.reason, self.stderr_tail = name, reason, stderr_tail
        tail = stderr_tail.strip().splitlines()
        super().__init__(f"the {name} runtime failed: {reason}" + (f" | {tail[-1].strip()}" if tail else ""))


class ParityFailure(ConverterError):
    """Both sides ran and do not compute the same; ``verdict`` is the whole judgement."""

    exit_code = 1

    def __init__(self, message: str, verdict: Any = None) -> None:
        self.verdict = verdict
        super().__init__(message)
