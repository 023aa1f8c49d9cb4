"""How long a conversion takes and how much memory, beside copying the same bytes and beside other converters.

    python tools/bench_convert.py [--competitors] [--runs 5] [--folder DIR]

writes a VGG-16 with random weights (a .caffemodel of 553 MB) into a temporary folder and prints a Markdown table (the
one of tools/README.md). Every row is a fresh process, the copies apart, on files in the page cache; what an earlier row
wrote is on the disk before the next begins. The fastest run counts, as other work only adds. "Own memory" is the peak
of RssAnon, asked of /proc every few milliseconds; "resident" is the peak of VmHWM, which counts mapped pages of the
page cache too.

``--competitors`` makes an environment for each other converter, with uv, below CONVERTER_HOME/benchmark, and runs it on
copies of the files, without a network where the kernel allows that. They get Python 3.10, the last one for which the
protobuf that they need is compiled: on 3.11 it is pure Python and they take 20 times as long.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from converter.environments import locations  # noqa: E402
from converter.environments.virtual_environment import find_uv, python  # noqa: E402
from converter.frameworks.caffe.format import write_caffemodel  # noqa: E402

#: VGG-16 (Simonyan and Zisserman 2014, configuration D): channels of the convolutions, stage by stage.
STAGES = [(64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)]
CLASSIFIER = [4096, 4096, 1000]

POLL_SECONDS = 0.003

COMPETITORS_PYTHON = "3.10"


class Competitor(NamedTuple):
    """Another converter: what uv installs for it, and the modules to run, with names of files in braces."""

    label: str
    packages: str
    commands: list[str]


COMPETITORS = [
    Competitor(
        "caffe2onnx 2.0.1, to ONNX",
        "--no-deps caffe2onnx==2.0.1 onnx==1.14.1 protobuf==3.20.3 numpy==1.23.5 typing-extensions==4.16.0 "
        "setuptools==65.5.0",
        ["caffe2onnx.convert --prototxt {prototxt} --caffemodel {weights} --onnx {out}/vgg.onnx"],
    ),
    Competitor(
        "MMdnn 0.3.1, to IR, to PyTorch code and pickled weights",
        "mmdnn==0.3.1 protobuf==3.20.3 numpy==1.23.5 setuptools==65.5.0",
        [
            "mmdnn.conversion._script.convertToIR -f caffe -n {prototxt} -w {weights} -d {out}/ir",
            "mmdnn.conversion._script.IRToCode -f pytorch -n {out}/ir.pb -w {out}/ir.npy -d {out}/n.py -dw {out}/w.npy",
        ],
    ),
]


class Measured(NamedTuple):
    """Of one run: seconds, and megabytes at the peak (None where nothing was measured)."""

    seconds: float
    anonymous: float | None = None
    resident: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--competitors", action="store_true", help="install and run the other converters as well")
    parser.add_argument(
        "--runs", type=int, default=5, help="runs of each row, of which the fastest counts (default: 5)"
    )
    parser.add_argument("--folder", type=Path, help="where the files go: the disk that is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-convert-", dir=options.folder) as folder:
        print_table(rows(Path(folder), options.competitors, options.runs), (Path(folder) / "vgg.caffemodel"))


def rows(folder: Path, competitors: bool, runs: int) -> Iterator[tuple[str, Measured]]:
    """Label and figures of every row; the first one is the copy that the others are compared with."""
    prototxt, weights = write_vgg(folder)
    model, copy, out = folder / "vgg.onnx", folder / "copy", folder / "out"
    yield "copy of the .caffemodel", best(runs, copy, timed, shutil.copyfile, weights, copy)
    yield "the same, on the disk (fsync)", best(runs, copy, timed, copy_to_disk, weights, copy)
    for target in ("pytorch", "onnx"):
        convert = [sys.executable, "-m", "converter", f"caffe->{target}", prototxt, weights, "-o", out, "--no-verify"]
        yield f"**caffe->{target}**", best(runs, out, measure, [convert])
    measure([convert])
    (out / "model.onnx").rename(model)
    shutil.rmtree(out)
    script = "import sys, onnx; onnx.save(onnx.load(sys.argv[1]), sys.argv[2])"
    yield "onnx.load, onnx.save of it", best(runs, copy, measure, [[sys.executable, "-c", script, model, copy]])
    model.unlink()
    for other in COMPETITORS if competitors else ():
        yield other.label, best(runs, out, run_competitor, environment(other), other, prototxt, weights, out)


def run_competitor(interpreter: Path, other: Competitor, prototxt: Path, weights: Path, out: Path) -> Measured:
    """One run on copies of the files, whose making is not counted."""
    out.mkdir()
    names = {"prototxt": out / prototxt.name, "weights": out / weights.name, "out": out}
    shutil.copyfile(prototxt, names["prototxt"])
    shutil.copyfile(weights, names["weights"])
    os.sync()
    commands = [[interpreter, "-m", *(part.format(**names) for part in command.split())] for command in other.commands]
    return measure([[*without_network(), *command] for command in commands], cwd=out)


def environment(other: Competitor) -> Path:
    """The interpreter of an environment with the packages of ``other``, made unless it is there."""
    name = f"{other.label.split()[0].lower()}-{locations.digest_of(COMPETITORS_PYTHON, other.packages)}"
    folder = locations.home() / "benchmark" / name
    if not folder.exists():
        partial = folder.with_name(f".{name}.{os.getpid()}")
        uv = find_uv()
        subprocess.run([uv, "venv", "-q", "--relocatable", "-p", COMPETITORS_PYTHON, partial], check=True)
        subprocess.run([uv, "pip", "install", "-q", "-p", python(partial), *other.packages.split()], check=True)
        partial.rename(folder)
    return python(folder)


def without_network() -> list[str]:
    """What to put before a command so that it has no network; nothing where the kernel refuses."""
    command = ["unshare", "--map-root-user", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0
    return command if allowed else []


def best(runs: int, made: Path, run: Callable[..., Measured], *arguments: Any) -> Measured:
    """The fastest run; ``made`` is removed after each."""
    measured = []
    for _ in range(runs):
        os.sync()
        measured.append(run(*arguments))
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    return min(measured)


def timed(action: Callable[..., object], *arguments: Any) -> Measured:
    """Seconds of one call in this process."""
    start = time.perf_counter()
    action(*arguments)
    return Measured(time.perf_counter() - start)


def copy_to_disk(source: Path, destination: Path) -> None:
    shutil.copyfile(source, destination)
    with open(destination, "rb+") as file:
        os.fsync(file.fileno())


def measure(commands: Sequence[Sequence[object]], cwd: Path = ROOT) -> Measured:
    """Run the commands one after the other: their times added, the larger of their peaks."""
    seconds, anonymous, resident = 0.0, 0.0, 0.0
    for command in commands:
        with tempfile.TemporaryFile() as log:
            start = time.perf_counter()
            process = subprocess.Popen(list(map(str, command)), cwd=cwd, stdout=log, stderr=log)
            while process.poll() is None:
                anonymous = max(anonymous, status(process.pid, "RssAnon"))
                resident = max(resident, status(process.pid, "VmHWM"))
                time.sleep(POLL_SECONDS)
            seconds += time.perf_counter() - start
            if process.returncode:
                log.seek(0)
                raise SystemExit(
                    f"{' '.join(map(str, command))} failed:\n{log.read().decode(errors='replace')[-2000:]}"
                )
    return Measured(seconds, anonymous, resident)


def status(pid: int, key: str) -> float:
    """Megabytes of a line of /proc/<pid>/status; 0 when the process has just ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1000 for line in text.splitlines() if line.startswith(f"{key}:")), 0)


def write_vgg(folder: Path) -> tuple[Path, Path]:
    """VGG-16 as a deploy.prototxt and a .caffemodel of random weights."""
    text = ['name: "VGG16"', 'layer { name: "data" type: "Input" top: "data"'
            " input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }"]  # fmt: skip
    shapes: list[tuple[str, str, tuple[int, ...]]] = []
    bottom, channels = "data", 3
    for stage, widths in enumerate(STAGES, 1):
        for number, width in enumerate(widths, 1):
            name, size = f"conv{stage}_{number}", f"num_output: {width}"
            text += [layer(name, "Convolution", bottom, name, f"convolution_param {{ {size} pad: 1 kernel_size: 3 }}"),
                     layer(f"relu{stage}_{number}", "ReLU", name, name)]  # fmt: skip
            shapes.append((name, "Convolution", (width, channels, 3, 3)))
            bottom, channels = name, width
        text.append(
            layer(
                f"pool{stage}",
                "Pooling",
                bottom,
                f"pool{stage}",
                "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
            )
        )
        bottom = f"pool{stage}"
    inputs = channels * 7 * 7
    for number, width in enumerate(CLASSIFIER, 6):
        name = f"fc{number}"
        text.append(layer(name, "InnerProduct", bottom, name, f"inner_product_param {{ num_output: {width} }}"))
        if width != CLASSIFIER[-1]:
            text += [layer(f"relu{number}", "ReLU", name, name), layer(f"drop{number}", "Dropout", name, name)]
        shapes.append((name, "InnerProduct", (width, inputs)))
        bottom, inputs = name, width
    text.append(layer("prob", "Softmax", bottom, "prob"))
    prototxt, weights = folder / "vgg.prototxt", folder / "vgg.caffemodel"
    prototxt.write_text("\n".join(text) + "\n")
    random = np.random.default_rng(0)
    write_caffemodel(weights, (
        (name, type, [0.01 * random.standard_normal(shape, np.float32), np.zeros(shape[0], np.float32)])
        for name, type, shape in shapes
    ), "VGG16")  # fmt: skip
    return prototxt, weights


def layer(name: str, type: str, bottom: str, top: str, parameters: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{type}" bottom: "{bottom}" top: "{top}" {parameters} }}'


def print_table(measured: Iterator[tuple[str, Measured]], weights: Path) -> None:
    """Print each row as soon as it is there, and whether the aim is reached."""
    copy = ours = None
    for label, result in measured:
        if copy is None:
            copy = result
            print(f"{weights.stat().st_size / 1e6:.0f} MB of weights\n")
            print("| what | seconds | times the copy | own memory, MB | resident, MB |\n|---|---|---|---|---|")
        memory = ["" if value is None else f"{value:.0f}" for value in (result.anonymous, result.resident)]
        print(
            f"| {label} | {result.seconds:.2f} | {result.seconds / copy.seconds:.1f} | {' | '.join(memory)} |",
            flush=True,
        )
        ours = result if "caffe->pytorch" in label else ours
    aim = 2 * copy.seconds + 1
    print(f"\nAim: twice the copy and 1 s, {aim:.2f} s: {'reached' if ours.seconds <= aim else 'missed'};"
          f" 300 MB of own memory: {'reached' if ours.anonymous <= 300 else 'missed'}")  # fmt: skip


if __name__ == "__main__":
    main()
