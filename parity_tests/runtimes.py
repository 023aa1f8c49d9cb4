"""For tests that run a framework's real runtime."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from converter import environments
from converter.environments import child
from converter.environments.description import describe


def needs_runtime(name: str) -> pytest.MarkDecorator:
    """Marks a test, a class or (as ``pytestmark``) a module that cannot run without the runtime ``name``.

    It is skipped where that is not installed, with the command that installs it; under CONVERTER_REQUIRE_RUNTIMES=1,
    as in continuous integration, it runs all the same and so fails.
    """
    found = environments.status(name)
    required = os.environ.get("CONVERTER_REQUIRE_RUNTIMES") == "1"
    reason = f"{name} is {found.state} ({found.detail}); {environments.install_command(name)}"
    return pytest.mark.skipif(found.state != "installed" and not required, reason=reason)


def build_in(name: str, script: str, folder: Path) -> None:
    """Runs ``script`` in ``folder`` by the Python of the runtime ``name``: the framework itself makes a model there."""
    # A file: some frameworks read the source of the net.
    (folder / "build.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [str(environments.status(name).python), "build.py"],
        cwd=folder,
        env={**child.variables(own_environment=True), **describe(name).worker_environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
