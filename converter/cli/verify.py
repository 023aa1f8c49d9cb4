"""``python -m converter verify A_FILES -- B_FILES``: judge two models that are already on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from converter.cli.options import reader_options, verification_options
from converter.errors import UsageError

#: What stands for the ``--`` among the words: a control character, which no file is called.
_SEPARATOR = "\x1f--\x1f"


class _TwoModels(click.Command):
    """Keeps the ``--`` between the two models, which click would swallow; options may stand anywhere."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_SEPARATOR if word == "--" else word for word in args])


@click.command("verify", cls=_TwoModels, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for parity.json and report.html.")
@click.option("--force", is_flag=True, help="Replace what stands at --out, whatever it is.")
@reader_options
@verification_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(files: tuple[Path, ...], as_json: bool, debug: bool, **options: Any) -> None:
    """Judge two models on disk, A_FILES -- B_FILES: do both compute the same, layer by layer?

    A is a model that can be read; B another one, or a folder that a conversion wrote.
    """
    first, second = _split(files)
    from converter import api
    from converter.cli.output import Progress, conversion_json, print_verification

    with Progress(quiet=as_json) as progress:
        result = api.verify(first, second, progress=progress, **options)
    if as_json:
        conversion_json(result)
    else:
        print_verification(result)
    sys.exit(result.exit_code)


def _split(files: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """A's files and B's."""
    words = list(map(str, files))
    if words.count(_SEPARATOR) != 1 or words[0] == _SEPARATOR or words[-1] == _SEPARATOR:
        raise UsageError("verify wants two models: python -m converter verify A_FILES -- B_FILES")
    middle = words.index(_SEPARATOR)
    return files[:middle], files[middle + 1 :]
