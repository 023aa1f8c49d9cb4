"""For tests that run a framework's real runtime."""

from __future__ import annotations

import os

import pytest

from converter import environments


def needs_runtime(name: str) -> pytest.MarkDecorator:
    """Marks a test, a class or (as ``pytestmark``) a module that cannot run without the runtime ``name``.

    It is skipped where that is not installed, with the command that installs it; under CONVERTER_REQUIRE_RUNTIMES=1,
    as in continuous integration, it runs all the same and so fails.
    """
    found = environments.status(name)
    required = os.environ.get("CONVERTER_REQUIRE_RUNTIMES") == "1"
    reason = f"{name} is {found.state} ({found.detail}); {environments.install_command(name)}"
    return pytest.mark.skipif(found.state != "installed" and not required, reason=reason)
