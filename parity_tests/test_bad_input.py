"""Broken, hostile and mistaken input, end to end: one clear line, exit 2, nothing written, bounded time and memory."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from bad_files import CASES, CONV, INPUT, NET, Files, net
from hypothesis import given, settings
from hypothesis import strategies as st

from converter import api
from converter.errors import ConverterError, UsageError, WriteError

#: What a process that meets hostile input may take: to import everything needs 0.5 s and 1 GB of addresses.
SECONDS, ADDRESS_SPACE = 20, 3 * 2**30

#: The cases that are run through the command line as well: one of each kind, and those that could hang or grow.
AS_PROCESSES = [
    "empty weights", "truncated weights", "truncated net", "weights of the other byte order", "a git-lfs pointer",
    "a pickle", "a folder", "no such file", "an unreadable file", "nested without end", "deeply nested", "a cycle",
    "two layers of one name", "weights of another net", "a weight of another shape", "a huge input", "a large layer",
    "tiles of tiles", "more slices than channels",
]  # fmt: skip


@pytest.fixture
def files(tmp_path) -> Files:
    (tmp_path / "given").mkdir()
    return Files(tmp_path / "given")


def line_of(error: ConverterError | str, files: Files) -> str:
    return str(error).replace(f"{files.folder}/", "")


def command_line(*arguments, **options) -> subprocess.CompletedProcess:
    """Run the tool in a process of little memory and time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    return subprocess.run(
        [sys.executable, "-m", "converter", *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS,
        preexec_fn=limit, env={**os.environ, "PYTHONPATH": os.getcwd(), "OPENBLAS_NUM_THREADS": "1"}, **options,
    )  # fmt: skip


def test_the_files_are_good_until_they_are_spoilt(files, tmp_path):
    done = command_line("caffe->pytorch", *files.both, "-o", tmp_path / "out", "--no-verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "model.py").exists()


@pytest.mark.parametrize("name", CASES)
def test_from_a_program_it_is_an_error_of_one_line(name, files, tmp_path):
    spoil, line = CASES[name]
    with pytest.raises(ConverterError) as caught:
        api.convert("caffe->pytorch", spoil(files), tmp_path / "out", no_verify=True)
    assert re.match(line, line_of(caught.value, files)), line_of(caught.value, files)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert os.listdir(tmp_path) == ["given"]


@pytest.mark.parametrize("name", AS_PROCESSES)
def test_on_the_command_line_it_is_that_line_and_exit_2(name, files, tmp_path):
    spoil, line = CASES[name]
    done = command_line("caffe->pytorch", *spoil(files), "-o", tmp_path / "out", "--no-verify")
    assert re.match(f"error: {line}", line_of(done.stderr, files)), done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (2, "")
    assert os.listdir(tmp_path) == ["given"]


def test_every_layer_that_cannot_be_converted_has_a_line(files, tmp_path):
    more = 'layer { name: "%s" type: "%s" bottom: "fc" top: "%s" }\n'
    spoil = net(NET + more % ("a", "Foo", "a") + more % ("b", "Bar", "b"))
    with pytest.raises(ConverterError) as caught:
        api.convert("caffe->pytorch", spoil(files), tmp_path / "out", no_verify=True)
    head, *layers = line_of(caught.value, files).splitlines()
    assert "2 layers cannot be converted" in head
    assert [line.split(": ")[0].strip() for line in layers] == ["deploy.prototxt:5", "deploy.prototxt:6"]
    assert os.listdir(tmp_path) == ["given"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (r"new\nline", r"new\nline"),
        (r"\033[2J\007", r"\x1b[2J\x07"),
        (r"\000", r"\x00"),
        ("r" * 10**6, "rrr ... rrr"),
    ],
)
@pytest.mark.parametrize("type", ["InnerProduct", "Foo"])
def test_a_name_cannot_break_the_line_or_command_the_terminal(name, shown, type, files, tmp_path):
    spoil = net(NET + f'layer {{ name: "{name}" type: "{type}" bottom: "fc" top: "end" }}')
    with pytest.raises(ConverterError) as caught:
        api.convert("caffe->pytorch", spoil(files), tmp_path / "out", no_verify=True)
    last = str(caught.value).splitlines()[-1]
    assert str(caught.value).count("\n") == len(getattr(caught.value, "layers", ()))
    assert shown in last and last.isprintable() and len(last) < 1100


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        ("caffe->pytroch", 'unknown framework "pytroch"; did you mean pytorch?'),
        ("caffe->caffe", "caffe to caffe changes nothing"),
        ("caffe", '"caffe" is not a pair of frameworks'),
        ("caffe->", '"caffe->" is not a pair of frameworks'),
        ("caffe->pytorch->onnx", "is not a pair of frameworks"),
    ],
)
def test_a_pair_that_is_none(pair, line, files, tmp_path):
    with pytest.raises(UsageError) as caught:
        api.convert(pair, files.both, tmp_path / "out", no_verify=True)
    assert line in str(caught.value)
    assert os.listdir(tmp_path) == ["given"]


def test_a_destination_that_holds_other_things_is_left_alone(files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    for destination in (out, out / "thesis.tex", out / "thesis.tex" / "below"):
        with pytest.raises(WriteError, match=str(destination)):
            api.convert("caffe->pytorch", files.both, destination, no_verify=True)
    assert os.listdir(out) == ["thesis.tex"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(INPUT + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }\n' * 3000, id="in place"),
        pytest.param(
            INPUT + 'layer { name: "c" type: "Concat" top: "c" ' + 'bottom: "data" ' * 3000 + "}\n", id="many bottoms"
        ),
        pytest.param(INPUT + f'layer {{ name: "{"r" * 10**6}" type: "ReLU" bottom: "data" top: "r" }}', id="long name"),
        pytest.param(INPUT + "# comment\n" * 10**6 + CONV, id="many lines"),
    ],
)
@pytest.mark.parametrize("target", ["pytorch", "onnx"])
def test_long_files_take_their_time_but_no_more(files, tmp_path, text, target):
    done = command_line(f"caffe->{target}", *net(text)(files), "-o", tmp_path / "out", "--no-verify")
    assert done.returncode == 0, done.stderr


# -- mutations -------------------------------------------------------------------------------------------------

flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3)), max_size=4)
cuts = st.tuples(st.floats(0, 1), st.floats(0, 1))
TOKENS = re.compile(r'[A-Za-z_]\w*|"[^"]*"|-?[\d.]+|[{}:]')
WORDS = [
    "{", "}", ":", '""', "0", "-1", "7", "1e30", "nan", "4294967296", "true", "MAX", '"fc"', '"data"', '"Softmax"',
    '"Reshape"', '"Pooling"', "layer", "dim", "top", "bottom", "pad", "axis", "group", "stride", "phase", "TRAIN",
]  # fmt: skip

#: The repository's own trained net: real files, as Caffe wrote them.
SMILE = Path(__file__).resolve().parents[1] / "reference_models" / "caffe"


def converts_or_is_refused(net: bytes, weights: bytes) -> None:
    """Convert; whatever comes out other than a result and a ConverterError fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        files, out = Files(Path(folder)), Path(folder) / "out"
        files.net.write_bytes(net)
        files.weights.write_bytes(weights)
        try:
            api.convert("caffe->pytorch", files.both, out, no_verify=True)
        except ConverterError as error:
            assert error.exit_code == 2
            assert not out.exists()
        else:
            assert {"model.py", "model.safetensors"} <= set(os.listdir(out))


@pytest.fixture(scope="module", params=["small", "smile"])
def good(request, tmp_path_factory) -> tuple[bytes, bytes]:
    """A net and its weights that can be converted."""
    if request.param == "smile":
        return (SMILE / "deploy.prototxt").read_bytes(), (SMILE / "smile.caffemodel").read_bytes()
    files = Files(tmp_path_factory.mktemp("good"))
    return files.net.read_bytes(), files.weights.read_bytes()


@settings(max_examples=100, deadline=5000)
@given(flips=flips, cut=cuts, splice=st.booleans())
def test_damaged_weights(good, flips, cut, splice):
    net, weights = good
    converts_or_is_refused(net, damaged(weights, flips, cut, splice))


@settings(max_examples=100, deadline=5000)
@given(flips=flips, cut=cuts, splice=st.booleans())
def test_damaged_text(good, flips, cut, splice):
    net, weights = good
    converts_or_is_refused(damaged(net, flips, cut, splice), weights)


@settings(max_examples=100, deadline=5000)
@given(
    swaps=st.lists(st.tuples(st.integers(0, 999), st.sampled_from(WORDS) | st.integers(0, 999)), min_size=1, max_size=3)
)
def test_text_with_other_words(good, swaps):
    net, weights = good
    tokens = TOKENS.findall(re.sub("#.*", "", net.decode()))
    for position, word in swaps:
        tokens[position % len(tokens)] = word if isinstance(word, str) else tokens[word % len(tokens)]
    converts_or_is_refused(" ".join(tokens).encode(), weights)


def damaged(data: bytes, flips: list[tuple[float, bytes]], cut: tuple[float, float], splice: bool) -> bytes:
    """``data`` with some bytes replaced, and the part within ``cut`` put in a second time or left out."""
    changed = bytearray(data)
    for where, patch in flips:
        at = int(where * len(changed))
        changed[at : at + len(patch)] = patch
    start, stop = sorted(int(where * len(changed)) for where in cut)
    return bytes(changed[:stop] + changed[start:] if splice else changed[:start] + changed[stop:])


# -- a conversion that is killed -------------------------------------------------------------------------------

#: Its weights, 1.2 GB, come from the filler, so that writing them takes a while.
LARGE = INPUT + (
    'layer { name: "large" type: "InnerProduct" bottom: "data" top: "large" '
    'inner_product_param { num_output: 4000000 weight_filler { type: "constant" value: 1 } } }'
)


@pytest.mark.parametrize(("number", "left"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, 1)])
def test_a_killed_conversion_leaves_no_result(files, tmp_path, number, left):
    """What SIGKILL leaves is hidden and no result; the next conversion to that folder takes it away."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "converter", "caffe->pytorch", *net(LARGE)(files), "-o", out, "--no-verify"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    deadline = time.monotonic() + SECONDS
    while not list(tmp_path.glob(".out.partial-*/model.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline, "no weights were being written"
        time.sleep(0.001)
    process.send_signal(number)
    assert process.wait(SECONDS) in (128 + number, -number)
    assert not out.exists()
    assert len(list(tmp_path.glob(".out.partial-*"))) == left
    api.convert("caffe->pytorch", net(NET)(files), out, no_verify=True)
    assert sorted(os.listdir(tmp_path)) == ["given", "out"]
