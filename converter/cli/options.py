"""Options that several verbs share, spelt once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from converter.errors import UsageError


def _numbers(text: str, option: str, kind: type) -> tuple:
    try:
        return tuple(kind(part) for part in text.replace("x", ",").split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f'{option} wants numbers separated by commas, not "{text}"') from error


def input_shapes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str | None, tuple]:
    """``1,3,224,224`` or ``NAME=1,3,224,224``, once per input; the key None stands for the only input."""
    shapes: dict[str | None, tuple] = {}
    for value in values:
        name, equals, shape = value.rpartition("=")
        key = name if equals else None
        sizes = _numbers(shape, "--input-shape", int)
        if not sizes or min(sizes) < 1:
            raise UsageError(f'--input-shape wants positive sizes such as 1,3,224,224, not "{value}"')
        if key in shapes:
            raise UsageError(f"--input-shape names {key or 'the input'} twice")
        shapes[key] = sizes
    return shapes


def _mean(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    return None if value is None else _numbers(value, "--mean", float)


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    sizes = _numbers(value, f"--{param.name}", int)
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise UsageError(f"--{param.name} wants HEIGHT,WIDTH or one number for both")
    return (sizes[0], sizes[-1])


def _apply(function: Callable, *options: Callable) -> Callable:
    for option in reversed(options):
        function = option(function)
    return function


def reader_options(function: Callable) -> Callable:
    """What every reader understands."""
    return _apply(
        function,
        click.option(
            "--input-shape", "input_shapes", multiple=True, callback=input_shapes, metavar="[NAME=]N,C,H,W",
            help="Shape of an input that the files do not give, or another one; once per input.",
        ),
        click.option("--output", "outputs", multiple=True, metavar="NAME", help="Cut the net at this tensor."),
        click.option("--mean", callback=_mean, metavar="B,G,R", help="Mean of each channel, in the net's own order."),
        click.option("--scale", type=float, help="Factor after the mean is subtracted, for instance 0.00392157."),
        click.option("--channels", type=click.Choice(["rgb", "bgr", "gray"]), help="Order of the input's channels."),
        click.option("--resize", callback=_size, metavar="H,W", help="Images are resized to this before cropping."),
        click.option("--crop", callback=_size, metavar="H,W", help="The centre of this size is what the net sees."),
    )  # fmt: skip


def verification_options(function: Callable) -> Callable:
    """What is compared, on what."""
    path = click.Path(path_type=Path)
    return _apply(
        function,
        click.option("--images", "--data", "images", type=path, help="Folder of test images. [data/mouths]"),
        click.option("--limit", type=click.IntRange(1), help="At most this many images. [as many as time allows]"),
    )
