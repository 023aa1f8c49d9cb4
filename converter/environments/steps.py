"""The commands that an installation consists of, run one after the other with their output shown and kept."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from converter.environments import locations

Progress = Callable[[str], None]


class StepFailed(Exception):
    """A command of an installation failed; ``str()`` is one line that says which, why, and where the log is."""


def run(
    name: str,
    command: Sequence[str | Path],
    progress: Progress,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs ``command`` for the environment ``name``; each line that it prints goes to ``progress`` and to the log.

    The command starts in ``folder`` (by default the converter's home, so that no project file of the user's
    current folder takes part) with the variables ``environment`` added. It is killed with all its children when
    the caller is interrupted.

    Raises:
        StepFailed: it could not be started, or its exit status was not zero.
    """
    words = [str(word) for word in command]
    log = locations.log_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    last_lines: deque[str] = deque(maxlen=20)
    try:
        process = subprocess.Popen(
            words,
            cwd=folder or locations.home(),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise StepFailed(f"{words[0]} cannot be started: {error.strerror}") from error
    with log.open("a", encoding="utf-8") as record, _killed_on_the_way_out(process):
        record.write(f"$ {' '.join(words)}\n")
        for line in process.stdout or ():
            record.write(line)
            if text := line.strip():
                last_lines.append(text)
                progress(text)
        status = process.wait()
    if status:
        raise StepFailed(f"{' '.join(words[:3])} failed: {_telling_line(last_lines)} (log: {log})")


def _telling_line(lines: Sequence[str]) -> str:
    """The first of the last lines that speaks of an error, or the last of all."""
    errors = (line for line in lines if "error" in line.lower() or line.startswith(("E: ", "×")))
    return next(errors, lines[-1] if lines else "it printed nothing")


@contextmanager
def _killed_on_the_way_out(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()
