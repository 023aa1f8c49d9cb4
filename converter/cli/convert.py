"""``python -m converter 'A->B' FILES... -o DIR``: convert, and prove."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from converter.cli.options import reader_options, verification_options
from converter.pair import parse_pair


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("pair")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the result. [converted/<net>-<target>]")
@click.option("--force", is_flag=True, help="Replace what stands at --out, whatever it is.")
@click.option("--flat", is_flag=True, help="One class only: do not make repeated blocks classes of their own.")
@reader_options
@verification_options
@click.option("--no-verify", is_flag=True, help="Do not prove anything; the result says so.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(pair: str, files: tuple[Path, ...], as_json: bool, debug: bool, **options: Any) -> None:
    """Convert FILES (in any order; told apart by content) of framework A to framework B, and prove both agree.

    Without FILES the repository's own trained model of A is converted, over the repository's test images.
    """
    parse_pair(pair)  # a misspelt name is answered before anything heavy is imported
    from converter import api
    from converter.cli.output import Progress, conversion_json, print_conversion

    with Progress(quiet=as_json) as progress:
        result = api.convert(pair, files, progress=progress, **options)
    if as_json:
        conversion_json(result)
    else:
        print_conversion(result)
    sys.exit(result.exit_code)
