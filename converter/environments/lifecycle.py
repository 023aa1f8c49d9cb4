"""Finding, installing, proving and removing environments.

An environment is made in a hidden folder beside its place and renamed into it when it has been proven, so a folder
under its final name is whole. A file lock per name keeps two processes from making the same one.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from converter.environments import locations, proof, system_packages, virtual_environment
from converter.environments.description import Description, describe
from converter.environments.steps import Progress, StepFailed
from converter.errors import EnvironmentMissing

RECORD = "environment.json"


@dataclass(frozen=True)
class Status:
    """What is known of one runtime.

    ``location`` is the folder of its own environment, None where the interpreter that runs the converter is used.
    ``python`` starts it, None unless installed. ``versions`` are those of its modules when it was proven.
    """

    name: str
    state: Literal["installed", "missing", "broken"]
    detail: str
    python: Path | None = None
    location: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)
    purpose: str = ""


def status(name: str) -> Status:
    """The state of a runtime, found in milliseconds: nothing is started (`check` does). UsageError for a wrong name."""
    description = describe(name)
    folder = place(description)
    main = proof.main_interpreter_versions(description)
    if not folder.is_dir() and main is not None:
        detail = "in the Python that runs the converter"
        return Status(name, "installed", detail, Path(sys.executable), None, main, description.purpose)
    if not folder.is_dir():
        others = [other.name for other in _folders_of(name)]
        detail = f"{others[0]} is of another version" if others else "never installed here"
        return Status(name, "missing", detail, purpose=description.purpose)
    python = virtual_environment.python(folder)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        versions, files, megabytes = record["versions"], record["files"], record["megabytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return Status(name, "broken", f"{RECORD} is gone or damaged", None, folder, {}, description.purpose)
    if not os.access(python, os.X_OK):
        detail = f"its Python {python.resolve()} is gone"
        return Status(name, "broken", detail, None, folder, versions, description.purpose)
    for file in files:
        if not (folder / file).is_file():
            return Status(name, "broken", f"{file} is gone", None, folder, versions, description.purpose)
    return Status(name, "installed", f"{megabytes} MB", python, folder, versions, description.purpose)


def check(name: str) -> Status:
    """As `status`, and where it is installed its modules are really imported; takes seconds."""
    found = status(name)
    if found.python is None:
        return found
    try:
        versions, _ = proof.prove(describe(name), found.python, own_environment=found.location is not None)
    except proof.ProofFailed as error:
        return Status(name, "broken", str(error), None, found.location, found.versions, found.purpose)
    return Status(name, "installed", found.detail, found.python, found.location, versions, found.purpose)


def install(name: str, progress: Progress) -> Status:
    """Makes the runtime available and proves it; a broken one is made anew. Lines for the user go to ``progress``.

    Raises:
        EnvironmentMissing: it could not be made; says why, and the command that does it.
        UsageError: there is no runtime of that name.
    """
    description = describe(name)
    with locked(name, progress):
        found = check(name)
        if found.state == "installed":
            return found
        if found.state == "broken":
            progress(f"{name} is broken ({found.detail}): making it anew")
        locations.log_file(name).unlink(missing_ok=True)
        try:
            system_packages.ensure(description, description.run_packages, progress)
            _make(description, progress)
        except (StepFailed, proof.ProofFailed, OSError) as error:
            raise EnvironmentMissing(name, str(error), description.install_command) from error
    return status(name)


def remove(name: str) -> None:
    """Deletes the runtime's environments, of every version, and its cached build; what uv downloaded stays uv's."""
    describe(name)
    with locked(name, lambda line: None):
        for folder in [*_folders_of(name), *_folders_of(name, locations.builds())]:
            shutil.rmtree(folder)


def place(description: Description) -> Path:
    """The final folder of an environment; another lock or recipe has another."""
    return locations.environments() / f"{description.name}-{description.digest}"


@contextmanager
def locked(name: str, progress: Progress) -> Iterator[None]:
    """Holds the lock of ``name``; waits for another process that has it, and says so."""
    file = locations.lock_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting: another process is installing or removing {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make(description: Description, progress: Progress) -> None:
    """Makes, proves and puts into place the environment; the lock is held."""
    final = place(description)
    partial = final.with_name(f".{final.name}.partial")
    final.parent.mkdir(parents=True, exist_ok=True)
    # What a killed installation left would else be built upon.
    shutil.rmtree(partial, ignore_errors=True)
    free = shutil.disk_usage(final.parent).free // 10**6
    progress(
        f"{description.name}: downloads about {description.download_megabytes} MB, "
        f"takes {description.disk_megabytes} MB of {free} MB free in {final.parent}"
    )
    if free < description.disk_megabytes:
        raise StepFailed(f"{description.disk_megabytes} MB are needed in {final.parent}, {free} MB are free")
    try:
        virtual_environment.create(description, partial, progress)
        try:
            versions, files = proof.prove(description, virtual_environment.python(partial), own_environment=True)
        except proof.ProofFailed:
            _forget_build(description, partial)
            raise
        record = {
            "versions": versions,
            "files": [os.path.relpath(file, partial) for file in files],
            "megabytes": _size(partial) // 10**6,
        }
        (partial / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _forget_build(description: Description, folder: Path) -> None:
    """Drops the cached build that the proof failed with, so that the next installation builds."""
    if description.build_script is not None:
        shutil.rmtree(virtual_environment.cached_build(description, folder), ignore_errors=True)


def _folders_of(name: str, parent: Path | None = None) -> list[Path]:
    """Every environment (or what else ``parent`` holds) of that name, of whatever version."""
    ours = re.compile(rf"{re.escape(name)}-[0-9a-f]{{12}}")
    folder = parent or locations.environments()
    return sorted(entry for entry in folder.glob(f"{name}-*") if ours.fullmatch(entry.name))


def _size(folder: Path) -> int:
    """Bytes of everything under ``folder``; what hard links share with uv's cache is counted here too."""
    return sum(entry.lstat().st_size for entry in folder.rglob("*"))
