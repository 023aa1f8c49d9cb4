"""The command line. A verb is a file here; each is imported only when it is called."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from converter import __version__
from converter.errors import ConverterError
from converter.pair import looks_like_pair, parse_pair, undo_redirect

#: Verb -> what the help says of it. The module of the same name holds the command.
VERBS = {
    "inspect": "Print a model's graph: layers, shapes, parameters, where each came from, which targets can take it.",
    "verify": "Judge two models that are already on disk: A_FILES -- B_FILES.",
    "env": "The frameworks' real runtimes: list, install, check, remove.",
    "frameworks": "What each framework can read, write and run.",
}

_HELP = """Convert a model of one framework into the files and the source of another, and prove both compute the same.

\b
  python -m converter 'caffe->pytorch'                                   the repository's own model
  python -m converter 'caffe->pytorch' deploy.prototxt w.caffemodel -o out/
  python -m converter 'caffe->pytorch' --help                            all options of a conversion

Exit codes: 0 converted and proven; 1 proven wrong; 2 bad input, nothing written; 3 converted but not proven,
because a runtime is missing.
"""


class _Verbs(click.Group):
    """A verb by its name, or a conversion where the first word is a pair of frameworks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in VERBS:
            return import_module(f"converter.cli.{name}").command
        if looks_like_pair(name):
            return import_module("converter.cli.convert").command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([("'A->B' FILES", "Convert."), *VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and looks_like_pair(args[0]):
            return "convert", self.get_command(ctx, args[0]), args  # the pair stays: it is the first argument
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="converter")
def cli() -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; errors are one line unless --debug is given."""
    arguments = _requote(sys.argv[1:] if arguments is None else list(arguments))
    # A plain kill unwinds like Ctrl-C, so that temporary folders and runtimes go with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(cli.main(arguments, prog_name="python -m converter", standalone_mode=False) or 0)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; nothing was written", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output went away: not an error of ours
        sys.exit(0)
    except ConverterError as error:
        if "--debug" in arguments:
            raise
        _report(error, as_json="--json" in arguments)
        sys.exit(error.exit_code)
    except Exception as error:
        if "--debug" in arguments:
            raise
        click.echo(f"error: a fault of ours ({type(error).__name__}: {error}); --debug shows where", err=True)
        sys.exit(2)


def _report(error: ConverterError, as_json: bool) -> None:
    if as_json:
        import json

        answer: dict[str, Any] = {"error": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
        for key in ("file", "line", "layer", "command"):
            if getattr(error, key, None) is not None:
                answer[key] = str(getattr(error, key))
        click.echo(json.dumps(answer))
    click.echo(f"error: {error}", err=True)


def _requote(arguments: list[str]) -> list[str]:
    """Put an unquoted ``caffe->pytorch`` together again, which the shell took for a redirect."""
    if not arguments or not arguments[0].endswith("-"):
        return arguments
    target = undo_redirect(arguments[0])
    if target is None:
        return arguments
    pair = f"{arguments[0]}>{target}"
    parse_pair(pair)
    where = os.path.abspath(target)
    sys.stdout.flush()
    os.dup2(2, 1)  # what was meant for the terminal goes there, by way of standard error
    if os.path.getsize(where) == 0:
        os.unlink(where)
    click.echo(
        f'the shell took the ">" of {pair} for a redirect into the file "{target}"; understood as \'{pair}\' '
        f"(quote it, or write {arguments[0][:-1]}:{target}); the empty file is removed",
        err=True,
    )
    return [pair, *arguments[1:]]
