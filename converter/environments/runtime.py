"""A framework's real runtime: a process of its own, in which models are opened and run."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from converter.environments import child, worker_protocol
from converter.environments.description import Description
from converter.environments.exchange import BadAnswer, Exchange
from converter.environments.worker_process import RequestRefused, WorkerProcess
from converter.errors import EnvironmentMissing, ReadError, UsageError, WorkerFailed

#: A request may take this long unless `Runtime.seconds` is set: a thousand images through a large net on one core.
SECONDS = 1800.0


class Runnable(Protocol):
    """What a runtime opens: a framework's name, its files by role, and what the worker must know beside them."""

    framework: str
    files: Mapping[str, Path]
    options: Mapping[str, Any]


class Names(NamedTuple):
    """What can be given to and fetched from a model; ``taps`` are the tensors between."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    taps: tuple[str, ...]


class Runtime:
    """One worker process, started with the first use and again after it failed. A context manager.

    ``seconds`` bounds every single request.
    """

    def __init__(self, description: Description, python: Path, own_environment: bool) -> None:
        self.name = description.name
        self.seconds = SECONDS
        self._description, self._python, self._own_environment = description, python, own_environment
        self._process: WorkerProcess | None = None
        self._exchange: Exchange | None = None
        self._versions: dict[str, str] = {}
        self._clean_up: weakref.finalize[..., Any] | None = None

    def versions(self) -> dict[str, str]:
        """The versions of the framework and what it computes with, as its process reports them."""
        self._started()
        return dict(self._versions)

    def open(self, artifact: Runnable) -> Session:
        """Loads a model in the runtime.

        Raises:
            UsageError: it is another framework's.
            ReadError: one of its files does not exist.
            WorkerFailed: the runtime cannot load it, or died of it.
            EnvironmentMissing: the framework does not import; says the command that mends it.
        """
        if artifact.framework != self.name:
            raise UsageError(f"a model of {artifact.framework} cannot be run by {self.name}")
        files = {role: Path(path).absolute() for role, path in artifact.files.items()}
        for path in files.values():
            if not path.is_file():
                raise ReadError("there is no such file", path)
        process, exchange = self._started()
        paths = {role: str(path) for role, path in files.items()}
        reply = self._ask(process, "load", files=paths, options=dict(artifact.options))
        names = Names(*(tuple(map(str, reply.get(part, ()))) for part in Names._fields))
        return Session(self, process, exchange, reply.get("model"), names)

    def close(self) -> None:
        """Ends the process and whatever it started, and removes what was exchanged with it."""
        if self._clean_up:
            self._clean_up()
        self._process = self._exchange = None

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> tuple[WorkerProcess, Exchange]:
        """The living process and its exchange folder; starts them where there are none."""
        if self._process and self._exchange and self._process.alive:
            return self._process, self._exchange
        self.close()
        self._exchange = exchange = Exchange()
        # Covers what happens before the process is there, and replaced once it is.
        self._clean_up = weakref.finalize(self, _remove, None, exchange.folder)
        # In a folder of their own, the framework's modules cannot be mistaken for files beside the worker.
        program = exchange.folder / "program"
        program.mkdir()
        protocol = Path(shutil.copy(worker_protocol.__file__, program))
        shutil.copy(self._description.worker, program / "worker.py")
        try:
            self._process = process = WorkerProcess(
                self.name,
                [str(self._python), str(protocol), str(exchange.folder), str(os.getpid())],
                exchange.folder,
                {**child.variables(self._own_environment), **self._description.worker_environment},
                self._description.fatal_line,
            )
            self._clean_up.detach()
            self._clean_up = weakref.finalize(self, _remove, process, exchange.folder)
            reply = self._ask(process, "hello")
        except RequestRefused as error:
            self.close()
            raise EnvironmentMissing(self.name, f"broken: {error.reason}", self._description.install_command) from error
        except BaseException:
            self.close()
            raise
        self._versions = {str(name): str(version) for name, version in reply.get("versions", {}).items()}
        return process, exchange

    def _ask(self, process: WorkerProcess, verb: str, **arguments: Any) -> dict[str, Any]:
        """One request; a process that does not survive it leaves nothing behind."""
        try:
            return process.ask(verb, self.seconds, **arguments)
        except BaseException:
            if not process.alive and process is self._process:
                self.close()
            raise


class Session:
    """A model opened in a runtime. A context manager; ``names`` says what it takes and gives."""

    def __init__(self, runtime: Runtime, process: WorkerProcess, exchange: Exchange, model: Any, names: Names) -> None:
        self.names = names
        self._runtime, self._process, self._exchange, self._model = runtime, process, exchange, model

    def run(
        self, inputs: Mapping[str, np.ndarray], fetch: Literal["outputs", "all"] | Sequence[str] = "outputs"
    ) -> dict[str, np.ndarray]:
        """Runs the model on ``inputs`` (name -> array, any batch size that the model takes).

        Args:
            fetch: the model's outputs, or those and every tap, or the tensors of the given names.

        Returns:
            The fetched arrays by name; they are the caller's own.

        Raises:
            UsageError: an input is missing or unknown or holds no numbers, or a fetched name is unknown.
            WorkerFailed: the runtime refused, died, hung or answered garbage.
        """
        self._demand_alive()
        _demand_known("input", inputs, self.names.inputs)
        if absent := [name for name in self.names.inputs if name not in inputs]:
            raise UsageError(f'no value for the input "{absent[0]}"')
        if not isinstance(fetch, str):
            fetch = list(dict.fromkeys(fetch))
            _demand_known("tensor", fetch, (*self.names.outputs, *self.names.taps))
        sent = {name: self._exchange.write(name, array) for name, array in inputs.items()}
        reply = self._runtime._ask(self._process, "run", model=self._model, inputs=sent, fetch=fetch)
        due = {"outputs": self.names.outputs, "all": self.names.outputs}.get(
            fetch if isinstance(fetch, str) else "", fetch
        )
        try:
            arrays = {name: self._exchange.read(entry) for name, entry in reply["arrays"].items()}
            if lost := [name for name in due if name not in arrays]:
                raise BadAnswer(f'it did not return "{lost[0]}"')
        except (KeyError, AttributeError, BadAnswer) as error:
            self._runtime.close()
            raise WorkerFailed(self._runtime.name, f"it does not speak the protocol: {error}") from error
        return arrays

    def close(self) -> None:
        """Frees the model in the runtime."""
        if self._process.alive and self._model is not None:
            self._runtime._ask(self._process, "close", model=self._model)
        self._model = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _demand_alive(self) -> None:
        if self._model is None:
            raise UsageError("this session is closed")
        if not self._process.alive:
            raise WorkerFailed(self._runtime.name, "its process has ended; open the model again")


def _demand_known(kind: str, names: Iterable[str], known: Sequence[str]) -> None:
    """UsageError for the first of ``names`` that is not among ``known``, with what may have been meant."""
    allowed = set(known)
    for name in names:
        if name not in allowed:
            near = get_close_matches(name, known, 1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(known[:10])}"
            raise UsageError(f'the model has no {kind} "{name}"{hint}')


def _remove(process: WorkerProcess | None, folder: Path) -> None:
    if process:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
