"""How a runtime's interpreter is started: with which variables."""

from __future__ import annotations

import os

# The user's own modules must not get into an environment that was made to be exact.
_OF_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "VIRTUAL_ENV")
# A worker has no business on the network; where the kernel cannot cut it off, no proxy leads there either.
_OF_NETWORK = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")


def variables(own_environment: bool) -> dict[str, str]:
    """The variables for a runtime's process: the caller's, without what would change which modules it finds.

    ``own_environment`` is false where the interpreter that runs the converter is used: there the user's own
    module path is what made it fit.
    """
    dropped = {*_OF_NETWORK, *(name.upper() for name in _OF_NETWORK)}
    if own_environment:
        dropped.update(_OF_PYTHON)
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    if own_environment:
        kept["PYTHONNOUSERSITE"] = "1"
    return kept
