"""``caffe->pytorch``, in every way that people type it."""

from __future__ import annotations

import os
import re

from converter.errors import UsageError
from converter.frameworks import ALIASES, canonical

_PAIR = re.compile(r"^\s*([A-Za-z0-9]+)\s*(?:->|→|:|-to-|=>)\s*([A-Za-z0-9]+)\s*$")


def parse_pair(text: str) -> tuple[str, str]:
    """Source and target of ``caffe->pytorch``, ``caffe:pytorch`` or ``caffe-to-pytorch``. Raises UsageError."""
    match = _PAIR.match(text)
    if not match:
        raise UsageError(f"\"{text}\" is not a pair of frameworks; write it as 'caffe->pytorch' or caffe:pytorch")
    source, target = canonical(match[1]), canonical(match[2])
    if source == target:
        raise UsageError(f"{source} to {target} changes nothing; name two different frameworks")
    return source, target


def looks_like_pair(text: str) -> bool:
    """Whether a command-line word is meant as a pair, rightly spelt or not."""
    return _PAIR.match(text) is not None or "->" in text or text.endswith("-") and text[:-1].isalnum()


def undo_redirect(text: str, stdout: int = 1) -> str | None:
    """What the shell made of an unquoted ``caffe->pytorch``, put together again.

    The shell passes ``caffe-`` and opens a file named ``pytorch`` as standard output. Returns the name of that file
    where standard output is a file in the current folder that is named after a framework, None otherwise.
    """
    if not text.endswith("-"):
        return None
    try:
        opened = os.fstat(stdout)
    except OSError:
        return None
    for name in [*ALIASES, *(alias for aliases in ALIASES.values() for alias in aliases)]:
        try:
            here = os.stat(name)
        except OSError:
            continue
        if (here.st_dev, here.st_ino) == (opened.st_dev, opened.st_ino):
            return name
    return None
