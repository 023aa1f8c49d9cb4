"""Classes and functions that a written model.py may need, each in a file that is copied into it.

They are read as text and never imported here: PyTorch need not be installed.
"""

from __future__ import annotations

from pathlib import Path


def piece(name: str) -> str:
    """The source of one class or function, without the imports above it."""
    text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    starts = [index for index in (text.find("\nclass "), text.find("\ndef "), text.find("\n@")) if index >= 0]
    return text[min(starts) + 1 :].rstrip() + "\n"
