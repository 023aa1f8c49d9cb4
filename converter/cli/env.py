"""``python -m converter env list|install|check|remove``: the frameworks' real runtimes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from converter.errors import ConverterError, UsageError


@click.group(
    "env",
    help="The frameworks' real runtimes, each in an environment of its own.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    pass


@command.command("list", help="Every runtime: installed or not, versions, size, what it is for.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--debug", is_flag=True)
def list_(as_json: bool, debug: bool) -> None:
    from converter import environments

    states = [environments.status(name) for name in environments.names()]
    if as_json:
        click.echo(json.dumps([_plain(state) for state in states], indent=1))
        return
    from converter.cli.output import table

    rows = [
        (state.name, state.state, ", ".join(f"{k} {v}" for k, v in state.versions.items()), state.detail, state.purpose)
        for state in states
    ]
    table(["runtime", "state", "versions", "size, or why", "what it is for"], rows)


@command.command("install", help="Create the environment of NAME, or of all.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all")
@click.option("--debug", is_flag=True)
def install(names: tuple[str, ...], debug: bool) -> None:
    from converter import environments
    from converter.cli.output import Progress

    failed = []
    for name in _chosen(names):
        try:
            with Progress() as progress:
                state = environments.install(name, progress)
            click.echo(f"{name}: {state.state}, {state.location or state.python}")
        except ConverterError as error:
            if len(_chosen(names)) == 1:
                raise
            failed.append(name)
            click.echo(f"error: {name}: {error}", err=True)
    if failed:
        click.echo(f"not installed: {', '.join(failed)}", err=True)
        sys.exit(3)


@command.command("check", help="Start each runtime (all, when none is named) and say what answers.")
@click.argument("names", nargs=-1)
@click.option("--debug", is_flag=True)
def check(names: tuple[str, ...], debug: bool) -> None:
    from converter import environments
    from converter.cli.output import table

    rows, bad = [], False
    for name in _chosen(names or ("all",)):
        try:
            with environments.open_runtime(name) as runtime:
                versions = runtime.versions()
            rows.append((name, "runs", ", ".join(f"{key} {value}" for key, value in versions.items())))
        except ConverterError as error:
            bad = True
            rows.append((name, "does not run", str(error)))
    table(["runtime", "state", "versions or reason"], rows)
    sys.exit(3 if bad else 0)


@command.command("remove", help="Delete the environment of NAME, or of all.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all")
@click.option("--debug", is_flag=True)
def remove(names: tuple[str, ...], debug: bool) -> None:
    from converter import environments

    for name in _chosen(names):
        environments.remove(name)
        click.echo(f"{name}: removed")


def _chosen(names: tuple[str, ...]) -> list[str]:
    from converter import environments
    from converter.frameworks import canonical

    known = environments.names()
    if "all" in names:
        return known
    chosen = [canonical(name) for name in names]
    for name in chosen:
        if name not in known:
            raise UsageError(f"{name} has no environment yet; those that have: {', '.join(known)}")
    return chosen


def _plain(state) -> dict:  # noqa: ANN001 - a Status, whose module is imported only when the verb runs
    return {key: str(value) if isinstance(value, Path) else value for key, value in vars(state).items()}
