"""One worker process: requests in, replies out, and an error with its last words whatever it does instead."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converter.errors import WorkerFailed

STDERR_KEPT = 64 * 1024
LONGEST_REPLY = 64 * 1024 * 1024
SECONDS_TO_DIE = 5.0


class RequestRefused(WorkerFailed):
    """The worker answered that it cannot do this; it is alive and takes further requests."""


class WorkerProcess:
    """A started worker, leader of a process group of its own.

    ``fatal_line`` is the regular expression of the line on standard error that says why such a process died.
    """

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, variables: Mapping[str, str], fatal_line: str | None
    ) -> None:
        self.name = name
        self._fatal_line = re.compile(fatal_line, re.MULTILINE) if fatal_line else None
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerFailed(name, f"{command[0]} cannot be started: {error.strerror}") from error
        assert self._process.stdin and self._process.stdout
        self._requests, self._replies = self._process.stdin.fileno(), self._process.stdout.fileno()
        # A worker that does not read must not stop the caller.
        os.set_blocking(self._requests, False)
        self._received = bytearray()
        self._stderr = b""
        # Without a reader a chatty worker would stop when the pipe is full.
        self._drain = threading.Thread(target=self._drain_stderr, daemon=True)
        self._drain.start()
        self._one_at_a_time = threading.Lock()
        self._asked = 0

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, verb: str, seconds: float, **arguments: Any) -> dict[str, Any]:
        """Sends one request and returns its reply.

        Raises:
            RequestRefused: the worker answered with an error.
            WorkerFailed: it died, answered garbage, or not within ``seconds``; it is dead then. So it is after
                whatever else interrupts the call.
        """
        with self._one_at_a_time:
            try:
                self._asked += 1
                deadline = time.monotonic() + seconds
                self._send(json.dumps({"id": self._asked, "verb": verb, **arguments}).encode() + b"\n", deadline)
                reply = self._parsed(self._next_line(deadline))
            except TimeoutError:
                self.kill()
                raise self._failure(f"no answer to {verb!r} within {seconds:g} s") from None
            except BaseException:
                self.kill()
                raise
        if "error" in reply:
            raise RequestRefused(self.name, str(reply["error"]), "")
        return reply

    def kill(self) -> None:
        """Ends the process and whatever it started; harmless when it is dead."""
        # A reaped process's number may be another's by now.
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _send(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            _wait(self._requests, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._requests, rest[:65536]) :]
            except BrokenPipeError:
                raise self._death() from None

    def _next_line(self, deadline: float) -> bytes:
        while True:
            _wait(self._replies, select.POLLIN, deadline)
            piece = os.read(self._replies, 65536)
            if not piece:
                raise self._death()
            self._received += piece
            if b"\n" in piece:
                line, _, self._received = self._received.partition(b"\n")
                return bytes(line)
            if len(self._received) > LONGEST_REPLY:
                raise self._failure(f"a reply of more than {LONGEST_REPLY} bytes")

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict) or reply.get("id") != self._asked or self._received:
            raise self._failure(f"it does not speak the protocol: {line[:80]!r}")
        return reply

    def _death(self) -> WorkerFailed:
        """Says how the process, whose end of a pipe is closed, came to its end."""
        deadline = time.monotonic() + SECONDS_TO_DIE
        finished = None
        while finished is None and time.monotonic() < deadline:
            # Looked at and not reaped, so that its group can still be killed.
            finished = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            time.sleep(0.01)
        self.kill()
        if finished is None:
            return self._failure("it closed its pipes and went on")
        status = self._process.returncode
        return self._failure(f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}")

    def _failure(self, reason: str) -> WorkerFailed:
        """The error with the last lines of standard error, cut after the line that tells most."""
        if not self.alive:
            self._drain.join(SECONDS_TO_DIE)
        tail = self._stderr.decode(errors="replace")
        if self._fatal_line and (matches := list(self._fatal_line.finditer(tail))):
            tail = tail[: matches[-1].end()]
        return WorkerFailed(self.name, reason, tail)

    def _drain_stderr(self) -> None:
        assert self._process.stderr
        with self._process.stderr as stream:
            while piece := stream.read(65536):
                self._stderr = (self._stderr + piece)[-STDERR_KEPT:]


def _wait(descriptor: int, event: int, deadline: float) -> None:
    """Returns when ``descriptor`` is ready for ``event`` or closed at the other end; TimeoutError at the deadline."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
