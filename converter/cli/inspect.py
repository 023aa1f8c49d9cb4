"""``python -m converter inspect FILES``: the hub graph of a model, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from converter.cli.options import reader_options


@click.command("inspect", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@reader_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(files: tuple[Path, ...], as_json: bool, debug: bool, **options: Any) -> None:
    """Print the graph: layers, shapes, parameters, where each came from, which targets can take it."""
    from converter import api

    description = api.inspect(files, **options)
    if as_json:
        click.echo(json.dumps(description, indent=1))
        return
    from converter.cli.output import print_description

    print_description(description)
