"""Trains the smile net with Caffe, on the CPU, and deploys it.

    python train.py [--data DIR] [--photographs DIR] [-o DIR]

Runs under the Python of the Caffe environment (pycaffe, numpy, Pillow). Writes smile.caffemodel, card.json (what was
measured, the loss curve included) and recorded/ (what Caffe computes for the images; see record.py). With
``--photographs`` the same net is trained a second time on those, and only its accuracy is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "2")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import caffe  # noqa: E402
import numpy as np  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from mouth_layer import PREPROCESSING, ROOT, MouthLayer, dataset, load_images, split  # noqa: E402
from record import forward, record  # noqa: E402

STEPS_PER_POINT = 25  # of the curve


def train(folder: Path, weights: Path) -> list[dict[str, float]]:
    """Trains on the images of ``folder`` as solver.prototxt says and writes ``weights``; returns the curve."""
    solver_parameters = caffe_pb2.SolverParameter()
    text_format.Parse((HERE / "solver.prototxt").read_text(), solver_parameters)
    caffe.set_mode_cpu()
    caffe.set_random_seed(solver_parameters.random_seed)
    MouthLayer.folder, MouthLayer.seed = folder, solver_parameters.random_seed
    os.chdir(HERE)  # solver.prototxt names its net relative to itself
    solver = caffe.get_solver("solver.prototxt")
    curve = []
    for iteration in range(0, solver_parameters.max_iter, STEPS_PER_POINT):
        losses = []
        for _ in range(STEPS_PER_POINT):
            solver.step(1)
            losses.append(float(solver.net.blobs["loss"].data))
        solver.test_nets[0].share_with(solver.net)
        validation = solver.test_nets[0].forward()
        point = {
            "iteration": iteration + STEPS_PER_POINT,
            "loss": round(float(np.mean(losses)), 6),
            "validation_loss": round(float(validation["loss"]), 6),
            "validation_accuracy": round(float(validation["accuracy"]), 4),
        }
        curve.append(point)
        print(point, flush=True)
    solver.net.save(str(weights))
    return curve


def accuracy(folder: Path, weights: Path) -> dict[str, float]:
    """Part of the images that the deployed net puts into the right class, for each part of the split."""
    net = caffe.Net(str(HERE / "deploy.prototxt"), str(weights), caffe.TEST)
    results = {}
    for part, data in split(dataset(folder)).items():
        probabilities = forward(net, load_images(data.files, PREPROCESSING))["prob"]
        results[part] = round(float(np.mean(probabilities.argmax(axis=1) == data.labels)), 4)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "mouths", help="folder with class folders 0 and 1")
    parser.add_argument("--photographs", type=Path, help="train a second time on these, and keep the accuracy only")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="where to write (default: beside this script)")
    arguments = parser.parse_args()
    data, output = arguments.data.resolve(), arguments.output.resolve()
    photographs = arguments.photographs and arguments.photographs.resolve()
    output.mkdir(parents=True, exist_ok=True)
    weights = output / "smile.caffemodel"

    measured = {}
    if photographs:
        train(photographs, weights)
        measured = {"photographs": accuracy(photographs, weights)}
    start = time.perf_counter()
    curve = train(data, weights)
    seconds = time.perf_counter() - start
    card = {
        "framework": "caffe",
        "model": {"prototxt": "deploy.prototxt", "caffemodel": "smile.caffemodel"},
        "task": "is a mouth neutral (0) or smiling (1)?",
        "preprocessing": vars(PREPROCESSING),
        "accuracy": {"mouths": accuracy(data, weights), **measured},
        "solver": "solver.prototxt",
        "seed": MouthLayer.seed,
        "device": "cpu",
        "seconds": round(seconds, 1),
        "versions": {"caffe": caffe.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "curve": curve,
    }
    (output / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    record(HERE / "deploy.prototxt", weights, data, output / "recorded")
    print(json.dumps(card["accuracy"]))


if __name__ == "__main__":
    main()
