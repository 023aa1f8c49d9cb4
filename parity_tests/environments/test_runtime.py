"""A runtime's process does what it is asked; whatever it does instead ends in an error and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter import environments
from converter.environments import exchange
from converter.errors import EnvironmentMissing, ReadError, UsageError, WorkerFailed

# A worker whose model gives what the test's `run` body makes of x.
WORKER = """
import os, signal, socket, subprocess, sys, time
import numpy

def versions():
    return {{"toy": "1.0"}}

def load(files, options):
    return Model(options)

class Model:
    inputs, outputs, taps = ["x"], ["y"], ["twice"]

    def __init__(self, options):
        self.options = options

    def run(self, inputs, names, lenient):
        x = inputs["x"]
        {body}
"""
ECHO = 'return {name: {"y": x, "twice": 2 * x}[name] for name in names}'
ONE = {"x": np.ones(3, np.float32)}


@pytest.fixture
def runtime(toy, tmp_path, monkeypatch):
    """Makes the runtime "toy", whose worker runs ``body``; whatever becomes of it, nothing may be left of it."""
    exchanged = tmp_path / "exchanged"
    exchanged.mkdir()
    monkeypatch.setattr(exchange.tempfile, "tempdir", str(exchanged))
    made = []

    def make(body: str = ECHO):
        (toy / "worker.py").write_text(WORKER.format(body=body))
        made.append(environments.open_runtime("toy"))
        return made[-1]

    make.forget = made.clear
    yield make
    for one in made:
        one.close()
    assert list(exchanged.iterdir()) == []


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_gives_the_outputs_or_all_or_what_is_named(runtime, artifact):
    with runtime() as toy, toy.open(artifact()) as session:
        assert toy.versions() == {"toy": "1.0"}
        assert session.names == (("x",), ("y",), ("twice",))
        assert session.run(ONE).keys() == {"y"}
        assert session.run(ONE, "all").keys() == {"y", "twice"}
        assert session.run(ONE, ["twice"])["twice"].tolist() == [2, 2, 2]


def test_several_models_are_open_at_a_time(runtime, artifact):
    with runtime('return {"y": x + self.options["add"]}') as toy:
        first, second = toy.open(artifact(options={"add": 1})), toy.open(artifact(options={"add": 2}))
        assert [session.run(ONE)["y"][0] for session in (first, second, first)] == [2, 3, 2]
        first.close()
        with pytest.raises(UsageError, match="closed"):
            first.run(ONE)
        assert second.run(ONE)["y"][0] == 3


@pytest.fixture
def echo(runtime, artifact):
    """A session whose output is its input."""
    return runtime().open(artifact())


KINDS = (
    arrays_of.boolean_dtypes() | arrays_of.integer_dtypes(endianness="?") | arrays_of.floating_dtypes(endianness="?")
)
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(array=arrays_of.arrays(KINDS, SHAPES), layout=st.sampled_from([np.asarray, np.transpose, np.asfortranarray]))
def test_arrays_arrive_as_they_are(echo, array, layout):
    sent = layout(array)
    back = echo.run({"x": sent})["y"]
    assert back.shape == sent.shape and back.dtype == sent.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, sent)
    assert back.flags.writeable


def test_what_a_library_prints_does_not_reach_the_protocol(runtime, artifact):
    with runtime('print("{}"); os.write(1, b"[1]\\n"); subprocess.call(["echo", "7"]); ' + ECHO) as toy:
        assert toy.open(artifact()).run(ONE).keys() == {"y"}


def test_a_flood_on_stderr_neither_blocks_nor_fills_the_memory(runtime, artifact):
    with runtime('os.write(2, b"flood\\n" * 2_000_000); os.write(2, b"last words\\n"); os._exit(3)') as toy:
        with pytest.raises(WorkerFailed, match=r"ended with status 3 \| last words") as caught:
            toy.open(artifact()).run(ONE)
        assert len(caught.value.stderr_tail) < 100_000


def test_a_killed_worker_is_an_error_and_the_next_model_starts_another(runtime, artifact):
    toy = runtime('os.kill(os.getpid(), signal.SIGKILL) if x.sum() > 2 else None; return {"y": x}')
    session = toy.open(artifact())
    with pytest.raises(WorkerFailed, match="the toy runtime failed: died of SIGKILL"):
        session.run(ONE)
    with pytest.raises(WorkerFailed, match="open the model again"):
        session.run(ONE)
    assert toy.open(artifact()).run({"x": np.zeros(1)})["y"].tolist() == [0]


def test_a_worker_that_hangs_is_ended_with_its_children(runtime, artifact, tmp_path):
    note = tmp_path / "child"
    body = (
        f'child = subprocess.Popen(["sleep", "1000"]); open({str(note)!r}, "w").write(str(child.pid)); time.sleep(1000)'
    )
    toy = runtime(body)
    session = toy.open(artifact())
    toy.seconds = 1.0
    with pytest.raises(WorkerFailed, match="no answer to 'run' within 1 s"):
        session.run(ONE)
    assert not is_running(int(note.read_text()))


def test_an_interrupted_caller_leaves_nothing_behind(runtime, artifact):
    toy = runtime("time.sleep(1000)")
    session = toy.open(artifact())

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            session.run(ONE)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not toy._process and not session._process.alive


def test_a_killed_caller_leaves_nothing_behind(toy, tmp_path):
    (toy / "worker.py").write_text(WORKER.format(body="time.sleep(1000)"))
    script = f"""
import pathlib
from converter import environments
from converter.environments import description
description.FRAMEWORKS = pathlib.Path({str(toy.parent)!r})
runtime = environments.open_runtime("toy")
runtime.versions()
print(runtime._exchange.folder, runtime._process._process.pid, flush=True)
runtime._ask(runtime._process, "load", files={{}}, options={{}})
runtime._ask(runtime._process, "run", model=2, inputs={{}}, fetch="all")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(environments.__file__).parents[2]), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, text=True) as caller:
        folder, worker = caller.stdout.readline().split()
        caller.kill()
    for _ in range(600):  # a busy machine takes its time
        if not Path(folder).exists() and not is_running(int(worker)):
            break
        time.sleep(0.1)
    assert not Path(folder).exists() and not is_running(int(worker))


def test_a_forgotten_runtime_ends(runtime, artifact):
    session = runtime().open(artifact())
    process = session._process
    runtime.forget()
    del session
    gc.collect()
    assert not process.alive


def test_an_exception_is_an_error_and_the_worker_goes_on(runtime, artifact):
    with runtime('x.sum() > 2 and self.no_such_thing; return {"y": x}') as toy:
        session = toy.open(artifact())
        with pytest.raises(WorkerFailed, match="AttributeError: .*no_such_thing"):
            session.run(ONE)
        assert session.run({"x": np.zeros(1)})["y"].tolist() == [0]


@pytest.mark.parametrize("body", ["return {}", 'return {"z": x}', "return None", 'return {"y": numpy.array("text")}'])
def test_an_answer_without_the_output_is_an_error(runtime, artifact, body):
    with runtime(body) as toy, pytest.raises(WorkerFailed):
        toy.open(artifact()).run(ONE)


def test_more_memory_than_the_machine_has_is_refused(runtime, artifact):
    toy = runtime('return {"y": numpy.ones(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "i1")}')
    with pytest.raises(WorkerFailed, match="(?i)memory"):
        toy.open(artifact()).run(ONE)


def can_leave_the_network() -> bool:
    return subprocess.run(["unshare", "--map-root-user", "--net", "true"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not can_leave_the_network(), reason="this kernel refuses network namespaces to this user")
def test_a_worker_has_no_network(runtime, artifact):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        toy = runtime(f"socket.create_connection({address!r}, 5)")
        with pytest.raises(WorkerFailed, match="OSError|unreachable"):
            toy.open(artifact()).run(ONE)


def test_a_framework_that_does_not_import_is_an_environment_to_mend(toy):
    (toy / "worker.py").write_text("import no_such_framework")
    with environments.open_runtime("toy") as runtime, pytest.raises(EnvironmentMissing) as caught:
        runtime.versions()
    assert "No module named 'no_such_framework'" in str(caught.value)
    assert "python -m converter env install toy" in str(caught.value)


def test_mistakes_of_the_caller_are_named(runtime, artifact, tmp_path):
    with runtime() as toy:
        with pytest.raises(UsageError, match="a model of chess cannot be run by toy"):
            toy.open(artifact(framework="chess"))
        with pytest.raises(ReadError, match="gone.bin: there is no such file"):
            toy.open(artifact(files={"weights": tmp_path / "gone.bin"}))
        session = toy.open(artifact())
        with pytest.raises(UsageError, match='no input "X"; did you|no input "X"; there are: x'):
            session.run({"X": np.ones(1)})
        with pytest.raises(UsageError, match='no value for the input "x"'):
            session.run({})
        with pytest.raises(UsageError, match='no tensor "twice2"; did you mean "twice"'):
            session.run(ONE, ["twice2"])
        with pytest.raises(UsageError, match="holds no numbers"):
            session.run({"x": np.array(["text"])})
