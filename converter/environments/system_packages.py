"""Debian packages that a runtime needs: looked up by anyone, installed by root alone."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from converter.environments import steps
from converter.environments.description import Description
from converter.errors import EnvironmentMissing


def missing(packages: Sequence[str]) -> list[str]:
    """Those of ``packages`` that dpkg does not list as installed, in the same order."""
    listing = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,  # Status 1 says that some are unknown, which is what is asked.
    ).stdout
    installed = {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def ensure(description: Description, packages: Sequence[str], progress: steps.Progress) -> None:
    """Installs those of ``packages`` that are missing.

    A machine without dpkg may have the same libraries under other names: there the final proof that the modules
    import decides, and a line says so.

    Raises:
        EnvironmentMissing: some are missing and this user may not install them; the command does it.
        StepFailed: apt-get failed.
    """
    if not packages:
        return
    if shutil.which("dpkg-query") is None:
        progress(f"no dpkg here: taking it that the system has what Debian calls {', '.join(packages)}")
        return
    absent = missing(packages)
    if not absent:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *absent]
    if os.geteuid() != 0:
        raise EnvironmentMissing(
            description.name,
            f"{len(absent)} system packages are missing, which only root may install",
            f"sudo {shlex.join(command)} && {description.install_command}",
        )
    progress(f"installing {len(absent)} system packages: {' '.join(absent)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    # Another apt-get may be running; it ends.
    patient = ["-o", "DPkg::Lock::Timeout=300"]
    steps.run(description.name, ["apt-get", "update", *patient], progress, environment=quiet)
    steps.run(description.name, [*command, *patient], progress, environment=quiet)
