"""``python -m converter frameworks``: what each framework can read, write and run, from what is there."""

from __future__ import annotations

import json

import click


@click.command("frameworks", help="What each framework can read, write and run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@click.option("--markdown", is_flag=True, help="The table of the README.")
@click.option("--debug", is_flag=True)
def command(as_json: bool, markdown: bool, debug: bool) -> None:
    from converter.frameworks import ALIASES, can

    parts = {"reads": "reader", "writes": "writer", "runs": "worker"}
    rows = [
        {"framework": name, "aliases": list(ALIASES[name])} | {verb: can(name, part) for verb, part in parts.items()}
        for name in ALIASES
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    columns = ["framework", "also called", *parts]
    cells = [
        [row["framework"], ", ".join(row["aliases"]), *("yes" if row[verb] else "-" for verb in parts)] for row in rows
    ]
    if markdown:
        for line in (columns, ["---"] * len(columns), *cells):
            click.echo(f"| {' | '.join(line)} |")
        return
    from converter.cli.output import table

    table(columns, cells)
