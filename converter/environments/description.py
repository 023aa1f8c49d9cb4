"""``environment.toml``: what a framework's runtime is made from and how it is recognised.

A framework has a runtime when its folder holds that file. Keys:

    purpose               one line for the user
    kind                  "virtual environment": made by uv from a hash-locked file
    python                version of the interpreter
    imports               modules that must import: the proof that it works. The interpreter that runs the converter
                          is used instead, with nothing to install, where it has all of them
    requirements, lock    what was asked for, and the file beside that pins all of it with hashes. The lock is the whole
                          truth: what it does not name is not installed, whatever a package says that it depends on
    build_lock            optional: pins what source distributions in the lock are built with
    download_megabytes, disk_megabytes    told before anything is downloaded
    [system_packages]     run, build: Debian's names; the second only where no earlier build is cached
    [build]               script: run by the new interpreter as `script OUTPUT` in an empty folder; what it leaves in
                          OUTPUT goes into site-packages, and into a cache. sources: the lock file of what it downloads
    [worker]              fatal_line: a regular expression of the line of stderr that says why the process died
                          environment: variables that the worker starts with

The worker is ``worker.py`` in the same folder.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from converter.environments.locations import digest_of
from converter.errors import UsageError

FRAMEWORKS = Path(__file__).parent.parent / "frameworks"
KINDS = ("virtual environment",)


@dataclass(frozen=True)
class Description:
    """One ``environment.toml``; see the module for the meaning of each field."""

    name: str
    folder: Path
    purpose: str
    kind: str
    python: str
    imports: tuple[str, ...]
    requirements: tuple[str, ...]
    lock: Path
    download_megabytes: int
    disk_megabytes: int
    run_packages: tuple[str, ...] = ()
    build_packages: tuple[str, ...] = ()
    build_script: Path | None = None
    build_sources: Path | None = None
    build_lock: Path | None = None
    fatal_line: str | None = None
    worker_environment: dict[str, str] = field(default_factory=dict)

    @property
    def worker(self) -> Path:
        """The script that runs inside the environment."""
        return self.folder / "worker.py"

    @property
    def build_recipe(self) -> tuple[bytes, ...]:
        """What determines the products of the build script: its text and the hashes of its sources."""
        return tuple(file.read_bytes() for file in (self.build_script, self.build_sources) if file is not None)

    @property
    def digest(self) -> str:
        """Names the environment's content: another lock or recipe is another environment."""
        built_with = [] if self.build_lock is None else [self.build_lock.read_bytes()]
        return digest_of(self.kind, self.python, self.lock.read_bytes(), *built_with, *self.build_recipe)

    @property
    def install_command(self) -> str:
        return f"python -m converter env install {self.name}"


def names() -> list[str]:
    """The frameworks that have a runtime, sorted."""
    return sorted(file.parent.name for file in FRAMEWORKS.glob("*/environment.toml"))


def describe(name: str) -> Description:
    """Reads the description of one framework's runtime.

    Raises:
        UsageError: there is no such runtime, or its description is of an unknown kind.
    """
    if name not in (known := names()):
        raise UsageError(f"no runtime is called {name!r}; there are: {', '.join(known)}")
    folder = FRAMEWORKS / name
    table = tomllib.loads((folder / "environment.toml").read_text(encoding="utf-8"))
    if table["kind"] not in KINDS:
        raise UsageError(f"{folder / 'environment.toml'}: kind {table['kind']!r} is none of: {', '.join(KINDS)}")
    packages, build, worker = (table.get(section, {}) for section in ("system_packages", "build", "worker"))
    return Description(
        name=name,
        folder=folder,
        purpose=table["purpose"],
        kind=table["kind"],
        python=table["python"],
        imports=tuple(table["imports"]),
        requirements=tuple(table["requirements"]),
        lock=folder / table["lock"],
        download_megabytes=table["download_megabytes"],
        disk_megabytes=table["disk_megabytes"],
        run_packages=tuple(packages.get("run", ())),
        build_packages=tuple(packages.get("build", ())),
        build_script=folder / build["script"] if build else None,
        build_sources=folder / build["sources"] if build else None,
        build_lock=folder / table["build_lock"] if "build_lock" in table else None,
        fatal_line=worker.get("fatal_line"),
        worker_environment=worker.get("environment", {}),
    )
