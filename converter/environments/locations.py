"""Where environments live.

One setting: the environment variable ``CONVERTER_HOME``, by default ``converter`` in the user's cache folder.

    environments/<name>-<digest>/   one folder per environment, named by what it is made from
    builds/<name>-<digest>/         what a build script made, kept so that the next installation skips the build
    locks/<name>.lock               held while an environment is installed or removed
    logs/<name>.log                 everything that the last installation printed
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder that holds everything below."""
    if chosen := os.environ.get("CONVERTER_HOME"):
        return Path(chosen).expanduser().absolute()
    # The XDG base directory specification: a relative value is to be ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "converter"


def environments() -> Path:
    return home() / "environments"


def builds() -> Path:
    return home() / "builds"


def lock_file(name: str) -> Path:
    return home() / "locks" / f"{name}.lock"


def log_file(name: str) -> Path:
    return home() / "logs" / f"{name}.log"


def digest_of(*parts: bytes | str) -> str:
    """Twelve hexadecimal digits that name the sequence ``parts``."""
    import hashlib

    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()[:12]
