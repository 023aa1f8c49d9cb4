"""Programs that do not keep to the protocol end in WorkerFailed, soon and whatever they do."""

from __future__ import annotations

import sys
import tempfile

import pytest

from converter.environments import worker_process
from converter.environments.exchange import BadAnswer, Exchange
from converter.environments.worker_process import WorkerProcess
from converter.errors import WorkerFailed


@pytest.fixture
def program(tmp_path):
    """Starts a Python program as a worker."""
    started = []

    def start(text: str, fatal_line: str | None = None) -> WorkerProcess:
        started.append(WorkerProcess("toy", [sys.executable, "-c", text], tmp_path, {}, fatal_line))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.mark.parametrize(
    "says",
    ["'hello'", "'{}'", "'[]'", "'null'", "'{\"id\": 2}'", '\'{"id": 1}\\n{"id": 1}\'', "'[' * 100000", "'\\x00'"],
)
def test_garbage_is_named_and_ends_the_process(program, says):
    process = program(f"import time; print({says}, flush=True); time.sleep(1000)")
    with pytest.raises(WorkerFailed, match="does not speak the protocol"):
        process.ask("hello", 20)
    assert not process.alive


def test_a_line_without_end_is_bounded(program, monkeypatch):
    monkeypatch.setattr(worker_process, "LONGEST_REPLY", 1_000_000)
    with pytest.raises(WorkerFailed, match="more than 1000000 bytes"):
        program("while True: print(end='x' * 65536)").ask("hello", 20)


def test_a_program_that_does_not_read_cannot_hold_the_caller(program):
    process = program("import time; time.sleep(1000)")
    with pytest.raises(WorkerFailed, match="no answer to 'load' within 0.5 s"):
        process.ask("load", 0.5, options={"long": "x" * 10_000_000})
    assert not process.alive


def test_the_status_of_a_program_that_ends_is_told(program):
    with pytest.raises(WorkerFailed, match=r"ended with status 4 \| goodbye"):
        program("import sys; print('goodbye', file=sys.stderr); sys.exit(4)").ask("hello", 20)


def test_the_fatal_line_is_told_though_a_stack_trace_follows(program):
    text = "import os, sys; print('chat\\nF1 check failed\\n  @ 0x1234 frame', file=sys.stderr, flush=True); os.abort()"
    with pytest.raises(WorkerFailed, match=r"died of SIGABRT \| F1 check failed$"):
        program(text, fatal_line=r"^F\d+ .*").ask("hello", 20)


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(WorkerFailed, match="cannot be started"):
        WorkerProcess("toy", [str(tmp_path / "none")], tmp_path, {}, None)


@pytest.mark.parametrize(
    "entry",
    [
        *[None, 3, [], {}, {"file": "a.bin"}],
        *[{"file": file, "dtype": "<f4", "shape": [2]} for file in ("../a.bin", "/etc/passwd", "b.bin", "link.bin", 3)],
        *[{"file": "a.bin", "dtype": dtype, "shape": [2]} for dtype in ("<f8", "O", "|O8", "<U2", ">f4", "", None)],
        *[
            {"file": "a.bin", "dtype": "<f4", "shape": shape}
            for shape in ([3], [-1], [2.0], ["2"], 2, [2**62, 4], [True])
        ],
    ],
)
def test_what_a_worker_says_of_an_array_is_checked(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    exchange = Exchange()
    (exchange.folder / "a.bin").write_bytes(bytes(8))
    (exchange.folder / "link.bin").symlink_to("a.bin")
    with pytest.raises(BadAnswer):
        exchange.read(entry)
    assert exchange.read({"file": "a.bin", "dtype": "<f4", "shape": [1, 2]}).tolist() == [[0, 0]]
    assert not (exchange.folder / "a.bin").exists()
