"""The command line as a person meets it: help at once, one line for an error, the redirect undone."""

import json
import os
import subprocess
import sys

import pytest


def run(*arguments, **options):
    command = [sys.executable, "-m", "converter", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, **options)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["caffe->pytorch", "--help"], ["caffe->pytroch"], ["nonsense"]]
)
def test_help_and_errors_in_the_arguments_import_nothing_heavy(arguments):
    code = (
        "import sys; from converter.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnx_ir', 'rich', 'matplotlib', 'PIL', 'h5py', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["caffe->pytroch"], 'error: unknown framework "pytroch"; did you mean pytorch?\n'),
        (["caffe->caffe"], "error: caffe to caffe changes nothing; name two different frameworks\n"),
        (["caffe->pytorch", "no.prototxt"], "error: no.prototxt: there is no such file\n"),
        (["verify", "a.prototxt"], "error: verify wants two models: python -m converter verify A_FILES -- B_FILES\n"),
        (["env", "install", "cobol"], 'error: unknown framework "cobol"; known are'),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(arguments, line):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_error_for_a_machine():
    done = run("caffe->pytorch", "no.prototxt", "--json")
    answer = json.loads(done.stdout)
    assert answer["error"] == "ReadError"
    assert answer["file"] == "no.prototxt"
    assert answer["exit_code"] == done.returncode == 2


def test_the_shell_s_redirect_is_undone(tmp_path):
    command = f"{sys.executable} -m converter caffe->pytorch no.prototxt"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "understood as 'caffe->pytorch'" in done.stderr
    assert "no.prototxt: there is no such file" in done.stderr
    assert os.listdir(tmp_path) == []
