"""The trap cases of ../shared/traps as test parameters; see the README there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: The folder beside the repository that is never part of it.
SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder shared beside the repository ({SHARED})")


@dataclass(frozen=True)
class Trap:
    """One case: files as a user gives them, options, and what is expected: "right", "refused" or "right-or-refused"."""

    name: str
    files: tuple[Path, ...]
    options: dict[str, Any]
    expects: str
    must_mention: tuple[str, ...]
    optional_outputs: tuple[str, ...]
    folder: Path

    def golden(self) -> dict[str, dict[str, np.ndarray]]:
        """The real runtime's arrays by kind: "input", "output", "mid" and "alt", each by name."""
        found: dict[str, dict[str, np.ndarray]] = {"input": {}, "output": {}, "mid": {}, "alt": {}}
        with np.load(self.folder / "golden.npz", allow_pickle=False) as arrays:
            for key in arrays.files:
                kind, name = key.split(":", 1) if key.startswith(("input:", "mid:", "alt:")) else ("output", key)
                found[kind][name] = arrays[key]
        return found


def traps(framework: str) -> list[Any]:
    """Every case of a framework as a parameter of pytest; one that skips where the cases are absent."""
    folders = sorted((SHARED / "traps" / framework).glob("*/case.json"))
    if not folders:
        reason = f"no trap cases for {framework} in {SHARED}"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(_read(path), id=path.parent.name) for path in folders]


def _read(path: Path) -> Trap:
    case = json.loads(path.read_text(encoding="utf-8"))
    return Trap(
        name=path.parent.name,
        files=tuple(path.parent / name for name in case["files"]),
        options=case.get("options", {}),
        expects=case["expects"],
        must_mention=tuple(case.get("must_mention", ())),
        optional_outputs=tuple(case.get("optional_outputs", ())),
        folder=path.parent,
    )
