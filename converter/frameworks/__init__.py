"""The frameworks: a folder each, the same file names in every one. A missing file means "cannot".

``format.py`` bytes <-> plain structures · ``reader.py`` files -> hub graph · ``writer.py`` hub graph -> files ·
``worker.py`` and ``environment.toml`` the real runtime. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from converter.errors import UsageError

#: Every framework, and what else a user may call it.
ALIASES = {
    "caffe": (),
    "tensorflow": ("tf",),
    "pytorch": ("torch",),
    "mxnet": (),
    "keras": (),
    "paddle": ("paddlepaddle",),
    "cntk": (),
    "matconvnet": (),
    "deeplearning4j": ("dl4j",),
    "chainer": (),
    "lasagne": ("theano",),
    "darknet": (),
    "onnx": (),
}


def canonical(name: str) -> str:
    """The framework's name for whatever a user calls it. Raises UsageError with the nearest known names."""
    wanted = name.strip().lower()
    for framework, others in ALIASES.items():
        if wanted == framework or wanted in others:
            return framework
    from difflib import get_close_matches

    near = get_close_matches(wanted, [*ALIASES, *(alias for names in ALIASES.values() for alias in names)], 1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(ALIASES)}"
    raise UsageError(f'unknown framework "{name}"{hint}')


def can(framework: str, part: str) -> bool:
    """Whether ``framework`` has the module ``part`` ("reader", "writer") or, for "worker", a runtime."""
    if part == "worker":
        return (Path(__file__).parent / framework / "environment.toml").exists()
    package = f"converter.frameworks.{framework}"
    return find_spec(package) is not None and find_spec(f"{package}.{part}") is not None


def load(framework: str, part: str) -> ModuleType:
    """The module ``part`` of ``framework``. Raises UsageError naming what can, where it is missing."""
    if not can(framework, part):
        able = [name for name in ALIASES if can(name, part)]
        verb = {"reader": "read", "writer": "written", "worker": "run"}.get(part, part)
        raise UsageError(f"{framework} models cannot be {verb} yet; those that can: {', '.join(able)}")
    return import_module(f"converter.frameworks.{framework}.{part}")
