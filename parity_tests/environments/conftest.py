"""A framework of the tests' own: a folder with environment.toml, and a home for environments that is theirs alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from converter.environments import description


@dataclass
class Artifact:
    framework: str = "toy"
    files: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)


@pytest.fixture
def artifact() -> Callable[..., Artifact]:
    """Makes what a runtime opens: a model of the framework "toy" without files, unless told otherwise."""
    return Artifact


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """The folder of the framework "toy", run by the Python that runs the tests; its worker is up to the test."""
    monkeypatch.setenv("CONVERTER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(description, "FRAMEWORKS", tmp_path / "frameworks")
    folder = tmp_path / "frameworks" / "toy"
    folder.mkdir(parents=True)
    (folder / "toy.lock").touch()
    (folder / "environment.toml").write_text("""
purpose = "plays"
kind = "virtual environment"
python = "3.11"
imports = ["numpy"]
requirements = []
lock = "toy.lock"
download_megabytes = 0
disk_megabytes = 1
""")
    return folder


@pytest.fixture
def toy_to_build(toy) -> Path:
    """As `toy`, but it needs the module ``toy_module``, which only its build script makes."""
    table = (toy / "environment.toml").read_text().replace('["numpy"]', '["toy_module"]')
    (toy / "environment.toml").write_text(f'{table}\n[build]\nscript = "build.py"\nsources = "sources.lock"\n')
    (toy / "sources.lock").touch()
    (toy / "build.py").write_text("""
import pathlib, sys
print("building the toy")
pathlib.Path(sys.argv[1], "toy_module.py").write_text("__version__ = '1.5'")
""")
    return toy
