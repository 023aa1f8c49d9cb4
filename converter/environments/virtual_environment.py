"""The kind "virtual environment": made by uv from a hash-locked file, with the products of a build script added."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from converter.environments import locations, steps, system_packages
from converter.environments.description import Description


def python(folder: Path) -> Path:
    """The interpreter of the virtual environment in ``folder``."""
    return folder / "bin" / "python"


def create(description: Description, folder: Path, progress: steps.Progress) -> None:
    """Makes the virtual environment in ``folder``, which may be renamed afterwards.

    Raises:
        StepFailed: uv or the build script failed.
        EnvironmentMissing: a build needs system packages that this user may not install.
    """
    uv = find_uv()
    steps.run(
        description.name,
        [uv, "venv", "--no-project", "--relocatable", "--python", description.python, folder],
        progress,
    )
    # Build constraints with hashes hold what a source distribution is built with to exact files as well.
    constraints = [] if description.build_lock is None else ["--build-constraints", description.build_lock]
    steps.run(
        description.name,
        [
            *(uv, "pip", "install", "--python", python(folder), "--no-deps", "--require-hashes"),
            *(*constraints, "-r", description.lock),
        ],
        progress,
    )
    if description.build_script is not None:
        shutil.copytree(built_products(description, folder, progress), site_packages(folder), dirs_exist_ok=True)


def find_uv() -> str:
    """The path of uv: the one that was installed with the converter, else the one on PATH.

    Raises:
        StepFailed: there is none.
    """
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        if path := shutil.which("uv"):
            return path
        raise steps.StepFailed("uv is needed and not there: pip install uv") from None


def site_packages(folder: Path) -> Path:
    """The folder of the installed modules."""
    (found,) = folder.glob("lib/python3*/site-packages")
    return found


def cached_build(description: Description, folder: Path) -> Path:
    """Where the products of the build script are kept for this interpreter and this release of the system.

    The release stands for the compiler and the libraries: it is known also where no compiler is installed.
    """
    script = "import json, sysconfig; print(json.dumps(sysconfig.get_config_var('SOABI')))"
    shown = subprocess.run([python(folder), "-I", "-c", script], stdout=subprocess.PIPE, check=True).stdout
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    release = f"{system.get('ID', platform.system())} {system.get('VERSION_ID', platform.release())}"
    digest = locations.digest_of(*description.build_recipe, json.loads(shown), release)
    return locations.builds() / f"{description.name}-{digest}"


def built_products(description: Description, folder: Path, progress: steps.Progress) -> Path:
    """The folder of the build's products, from the cache or built now by the interpreter in ``folder``."""
    products = cached_build(description, folder)
    if products.is_dir():
        progress(f"taking the earlier build in {products}")
        return products
    system_packages.ensure(description, description.build_packages, progress)
    products.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{description.name}-", dir=products.parent) as scratch:
        output, work = Path(scratch, "output"), Path(scratch, "work")
        output.mkdir()
        work.mkdir()
        progress("building from source: one to three minutes")
        steps.run(description.name, [python(folder), description.build_script, output], progress, folder=work)
        output.rename(products)
    return products
