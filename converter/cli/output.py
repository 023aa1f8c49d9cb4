"""What the terminal shows: progress, tables, verdicts. The only place that prints for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_out = Console(highlight=False, soft_wrap=True)


class Progress:
    """A line on standard error that says what is being done; nothing where standard error is no terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._status = None if quiet or not self._console.is_terminal else self._console.status("")

    def __enter__(self) -> Progress:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, message: str) -> None:
        if self._status:
            self._status.update(Text(message))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table as wide as the terminal; piped, no line is cut or wrapped."""
    view = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        view.add_row(*(Text(str(cell)) for cell in row))
    console = _out if _out.is_terminal else Console(width=10_000, highlight=False)
    console.print(view)


def print_conversion(result: Any) -> None:
    """The verdict, where the files are, and how to load them."""
    _verdict(result)
    _out.print(Text(f"files    {result.directory}/: {', '.join(result.listing)}"))
    if result.report:
        _out.print(Text(f"report   {result.report}"))
    _out.print(Text("load it  " + "\n         ".join(result.loading)))


def print_verification(result: Any) -> None:
    """The verdict of two models on disk."""
    _verdict(result)
    if result.report:
        _out.print(Text(f"report   {result.report}"))


def conversion_json(result: Any) -> None:
    """The same for a machine: one JSON object."""
    print(json.dumps(result.to_json(), indent=1))


def print_description(description: dict[str, Any]) -> None:
    """What ``inspect`` found."""
    rows = [
        (
            row["layer"],
            row["type"],
            " + ".join(row["ops"]),
            ", ".join("x".join(map(str, shape)) for shape in row["shapes"]),
            f"{row['parameters']:,}" if row["parameters"] else "",
            row["where"],
        )
        for row in description["layers"]
    ]
    table(["layer", "type", "hub operators", "output", "parameters", "from"], rows)
    print()
    for title, key in (("inputs", "inputs"), ("outputs", "outputs")):
        shapes = (f"{name} {'x'.join(map(str, shape))}" for name, shape in description[key].items())
        print(f"{title:<11}{', '.join(shapes)}")
    print(f"parameters {description['parameters']:,}")
    if description["preprocessing"]:
        print(
            "images     " + ", ".join(f"{key} {value}" for key, value in description["preprocessing"].items() if value)
        )
    for note in description["notes"]:
        print(f"note       {note}")
    for target, reasons in description["targets"].items():
        print(f"{'to ' + target:<11}" + ("can take it" if not reasons else f"{len(reasons)} layers cannot:"))
        for reason in reasons:
            print(f"           {reason}")


_WORDS = {
    "right": ("PROVEN", "green"),
    "wrong": ("WRONG", "bold red"),
    "unproven": ("NOT PROVEN", "yellow"),
    "unverified": ("NOT VERIFIED", "yellow"),
}


def _verdict(result: Any) -> None:
    word, style = _WORDS[result.status]
    line = Text(f"{result.source} -> {result.target}  ")
    line.append(word, style=style)
    line.append(f"  {result.headline}")
    _out.print(line)
    for detail in result.details:
        _out.print(Text(f"         {detail}"))
