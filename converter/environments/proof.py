"""The proof that a runtime works: its interpreter imports the modules that it is for."""

from __future__ import annotations

import json
import subprocess
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from converter.environments import child, locations
from converter.environments.description import Description

SECONDS = 600
# Runs in the runtime's interpreter, any Python from 3.6 on. Its last line: versions and files of the modules, as JSON.
_SCRIPT = """
import importlib, json, platform, sys
versions, files = {"python": platform.python_version()}, []
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    versions[name] = str(getattr(module, "__version__", "unknown"))
    files.append(module.__file__)
print("\\n" + json.dumps({"versions": versions, "files": files}))
"""


class ProofFailed(Exception):
    """The modules do not import; ``str()`` is the last line that the interpreter printed."""


def prove(description: Description, python: Path, own_environment: bool) -> tuple[dict[str, str], list[str]]:
    """Imports the modules of ``description`` in ``python``.

    Returns:
        Their versions by name (and "python"), and the files that they came from.

    Raises:
        ProofFailed: one of them does not import, or not within ten minutes.
    """
    locations.home().mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [str(python), "-c", _SCRIPT, *description.imports],
            # `-c` puts the current folder first on the module path; this one holds no modules.
            cwd=locations.home(),
            env={**child.variables(own_environment), **description.worker_environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=True,
        )
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise ProofFailed(lines[-1].strip()) from error
    except subprocess.TimeoutExpired as error:
        raise ProofFailed(f"importing {', '.join(description.imports)} takes over {SECONDS} s") from error
    except (OSError, ValueError, IndexError) as error:
        raise ProofFailed(f"{python} does not run: {error}") from error
    return answer["versions"], answer["files"]


def main_interpreter_versions(description: Description) -> dict[str, str] | None:
    """Versions of the modules of ``description`` in the interpreter that runs the converter; None if one is absent.

    Looks without importing, and never in the current folder: a folder of the user's there may be called "caffe".
    """
    import platform
    import sys

    here = Path.cwd()
    path = [entry for entry in sys.path if entry and Path(entry) != here]
    versions = {"python": platform.python_version()}
    for module in description.imports:
        found = PathFinder.find_spec(module, path)
        if found is None or found.origin is None:
            return None
        try:
            versions[module] = version(module)
        except PackageNotFoundError:
            versions[module] = "unknown"
    return versions
