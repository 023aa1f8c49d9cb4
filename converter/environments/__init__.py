"""The real runtimes: found, installed in environments of their own, and run in processes of their own.

    status("caffe")                    installed, missing or broken, and why
    install("caffe", print)            made by uv from a hash-locked file, proven, put into place
    with open_runtime("caffe") as runtime, runtime.open(artifact) as session:
        outputs = session.run({"data": images}, fetch="all")

A framework has a runtime when its folder holds ``environment.toml`` (see description.py) and ``worker.py``.
Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converter.environments.lifecycle import Status
    from converter.environments.runtime import Runtime

__all__ = ["install", "install_command", "names", "open_runtime", "remove", "status"]


def names() -> list[str]:
    """The frameworks that have a runtime, sorted."""
    from converter.environments import description

    return description.names()


def status(name: str) -> Status:
    """The state of a runtime, found in milliseconds without starting anything. UsageError for a wrong name."""
    from converter.environments import lifecycle

    return lifecycle.status(name)


def install(name: str, progress: Callable[[str], None]) -> Status:
    """Makes a runtime available, whatever state it is in; lines for the user go to ``progress``.

    Raises:
        EnvironmentMissing: it could not be made; says why, and the command that does it.
        UsageError: there is no runtime of that name.
    """
    from converter.environments import lifecycle

    return lifecycle.install(name, progress)


def remove(name: str) -> None:
    """Deletes a runtime's own environment and its cached build. UsageError for a wrong name."""
    from converter.environments import lifecycle

    lifecycle.remove(name)


def install_command(name: str) -> str:
    """The command line that installs a runtime, for messages. UsageError for a wrong name."""
    from converter.environments import description

    return description.describe(name).install_command


def open_runtime(name: str) -> Runtime:
    """A runtime, ready to open models; its process starts with the first use.

    Raises:
        EnvironmentMissing: it is missing or broken; says which, and the command that installs it.
        UsageError: there is no runtime of that name.
    """
    from converter.environments import description, lifecycle
    from converter.environments.runtime import Runtime
    from converter.errors import EnvironmentMissing

    found = lifecycle.status(name)
    if found.python is None:
        raise EnvironmentMissing(name, f"{found.state}: {found.detail}", install_command(name))
    return Runtime(description.describe(name), found.python, own_environment=found.location is not None)
