"""``parity.json``: what was judged, on what, by what, and the verdict; enough to see later what changed.

To replay a verdict: :func:`changed_files` says whether the files are still those that were judged, and the command in
the certificate judges them again, on inputs that are the same where their hashes are.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from converter.errors import ReadError
from converter.parity.side import Side
from converter.parity.verdict import LayerFigure, SideFigure, Verdict

VERSION = 1
#: Bytes of a file that are hashed at a time.
CHUNK = 1 << 20
#: Longest certificate that is read; the figures of a layer take about a kilobyte.
LONGEST = 64 << 20


def write(path: Path, verdict: Verdict, sides: tuple[Side, Side], inputs: Mapping[str, np.ndarray]) -> None:
    """Write the certificate of ``verdict`` to ``path``. Keys are in a fixed order; no path of this machine is in it."""
    path.write_text(json.dumps(_certificate(path.parent, verdict, sides, inputs), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A certificate as it was written. Raises ReadError for anything else."""
    try:
        if path.stat().st_size > LONGEST:
            raise ReadError("is too large for a certificate", path)
        certificate = json.loads(path.read_text(encoding="utf-8"))
        if certificate["certificate"] != VERSION:
            raise ReadError(f"is a certificate of version {certificate['certificate']}, not {VERSION}", path)
    except OSError as error:
        raise ReadError(error.strerror or str(error), path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReadError("is no certificate of a conversion", path) from error
    return certificate


def changed_files(path: Path) -> list[str]:
    """Files beside the certificate at ``path`` that are gone, or are not what was judged. Raises ReadError."""
    certificate = read(path)
    try:
        files = [file for side in ("source", "target") for file in certificate[side]["files"].values()]
        judged = {str(file["name"]): file["sha256"] for file in files if file["beside"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ReadError("is no certificate of a conversion", path) from error
    folder, changed = path.parent.resolve(), []
    for name, digest in judged.items():
        there = (folder / name).resolve()
        if not there.is_relative_to(folder):
            raise ReadError(f'names "{name}", which is not beside it', path)
        if not there.is_file():
            changed.append(f"{name} is gone")
        elif hash_file(there) != digest:
            changed.append(f"{name} is another file")
    return changed


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read a piece at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _certificate(
    folder: Path, verdict: Verdict, sides: tuple[Side, Side], inputs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    from converter import __version__

    def portable(text: str) -> str:
        """``text`` with the files of layers named without the folders of this machine."""
        for file in {layer.origin.file for layer in verdict.layers if layer.origin.file}:
            text = text.replace(file, Path(file).name)
        return text

    return {
        "certificate": VERSION,
        "right": verdict.right,
        "summary": portable(verdict.summary()).splitlines(),
        "first_bad_layer": verdict.first_bad,
        "side": verdict.side,
        "cause": verdict.cause.text if verdict.cause else None,
        "source": _side(sides[0], folder),
        "target": _side(sides[1], folder),
        "inputs": {name: _input(array) for name, array in inputs.items()},
        "judge": {
            "converter": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "multiples": asdict(verdict.multiples),
            "seed": verdict.seed,
            "samples": verdict.samples,
            "seconds": round(verdict.seconds, 3),
        },
        "conditioning": _number(verdict.conditioning),
        "notes": [portable(note) for note in verdict.notes],
        "again": "python -m converter verify SOURCE_FILES -- FOLDER_OF_THIS_CERTIFICATE",
        "layers": [_layer(layer) for layer in verdict.layers],
    }


def _side(side: Side, folder: Path) -> dict[str, Any]:
    files = {role: _file(path.resolve(), folder.resolve()) for role, path in sorted(side.files.items())}
    return {
        "framework": side.name,
        "runtime": side.label,
        "recorded": side.recorded,
        "versions": dict(sorted(side.versions.items())),
        "files": files,
    }


def _file(path: Path, folder: Path) -> dict[str, Any]:
    beside = path.is_relative_to(folder)
    return {
        "name": path.relative_to(folder).as_posix() if beside else path.name,
        "beside": beside,
        "bytes": path.stat().st_size,
        "sha256": hash_file(path),
    }


def _input(array: np.ndarray) -> dict[str, Any]:
    data = np.asarray(array, order="C")
    return {"shape": list(data.shape), "dtype": data.dtype.name, "sha256": hashlib.sha256(data).hexdigest()}


def _layer(layer: LayerFigure) -> dict[str, Any]:
    return {
        "name": layer.name,
        "layer": layer.origin.layer,
        "type": layer.origin.type,
        "line": layer.origin.line,
        "op": layer.op,
        "shape": list(layer.shape),
        "output": layer.is_output,
        "right": layer.right,
        "difference": _number(layer.difference),
        "amplification": _number(layer.amplification),
        "source": _figure(layer.source),
        "target": _figure(layer.target),
    }


def _figure(figure: SideFigure | None) -> dict[str, Any] | None:
    if figure is None:
        return None
    return {key: _number(value) if isinstance(value, float) else value for key, value in asdict(figure).items()}


def _number(value: float | None) -> float | str | None:
    """Six digits; JSON has no infinity, so it is a word."""
    if value is None:
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
