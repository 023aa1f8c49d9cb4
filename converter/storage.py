"""Whole results or none: a folder is built beside its destination and renamed into place."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converter.errors import WriteError

#: The file that marks a folder as a result of ours, which a later run may replace.
CARD = "conversion.json"

_PARTIAL = re.compile(r"^\.(?P<name>.+)\.partial-(?P<pid>\d+)-[0-9a-f]{8}$")


def check_destination(directory: Path, force: bool = False) -> None:
    """Raise WriteError where ``directory`` cannot become a result: a file, or a folder that holds other things."""
    with _writing(directory):
        _check(directory, force)


def _check(directory: Path, force: bool) -> None:
    if directory.is_dir():
        if not force and any(directory.iterdir()) and not (directory / CARD).exists():
            raise WriteError(f"{directory} is not empty and is no earlier result; choose another -o, or give --force")
    elif directory.exists() or directory.is_symlink():
        raise WriteError(f"{directory} exists and is no folder; choose another -o")
    parent = _existing_parent(directory)
    if not os.access(parent, os.W_OK):
        raise WriteError(f"{parent} cannot be written; choose another -o")


@contextmanager
def new_directory(destination: Path, force: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes ``destination`` when the block ends well, and vanishes when it does not.

    An earlier result at the destination is replaced in two renames; it is back where it was if the second fails.
    Leftovers of killed processes are removed. Raises WriteError.
    """
    destination = Path(os.path.abspath(destination))
    check_destination(destination, force)
    temporary = destination.parent / f".{destination.name}.partial-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with _writing(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(destination)
        temporary.mkdir()
    try:
        yield temporary
        with _writing(destination):
            _replace(temporary, destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _writing(destination: Path) -> Iterator[None]:
    """What the disk refuses, as a WriteError."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{str(destination)!r} cannot be written: {reason}") from error


def _replace(temporary: Path, destination: Path) -> None:
    if not destination.exists():
        temporary.rename(destination)
        return
    old = temporary.with_name(temporary.name[:-8] + uuid.uuid4().hex[:8])
    destination.rename(old)
    try:
        temporary.rename(destination)
    except OSError:
        old.rename(destination)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(destination: Path) -> None:
    for path in destination.parent.iterdir():
        match = _PARTIAL.match(path.name)
        if match and match["name"] == destination.name and not _alive(int(match["pid"])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _existing_parent(path: Path) -> Path:
    parent = Path(os.path.abspath(path)).parent
    while not parent.exists():
        parent = parent.parent
    return parent
