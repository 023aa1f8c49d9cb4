"""``python -m converter frameworks``: what each framework can read, write and run, from what is there."""

from __future__ import annotations

import json

import click


@click.command("frameworks", help="What each framework can read, write and run.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--debug", is_flag=True)
def command(as_json: bool, debug: bool) -> None:
    from converter.frameworks import ALIASES, can

    rows = [
        {"framework": name, "aliases": list(ALIASES[name])}
        | {verb: can(name, part) for verb, part in (("reads", "reader"), ("writes", "writer"), ("runs", "worker"))}
        for name in ALIASES
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from converter.cli.output import table

    mark = {True: "yes", False: "-"}
    table(
        ["framework", "also called", "reads", "writes", "runs"],
        [
            (row["framework"], ", ".join(row["aliases"]), mark[row["reads"]], mark[row["writes"]], mark[row["runs"]])
            for row in rows
        ],
    )
