"""Helpers of the reader's tests: read files, evaluate the hub graph, ask the real Caffe, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from converter import environments
from converter.environments.runtime import Runtime
from converter.frameworks.caffe import format, reader
from converter.frameworks.options import ReadOptions
from converter.graph.evaluate import local, reference
from converter.graph.model import Model

#: Distance to the float64 value that float32 is granted, in standard deviations of its own rounding; rms of a tensor.
#: The greatest that real Caffe shows on real nets is 1.8.
ALLOWED = 6.0


def read(paths: Sequence[Path], **options: object) -> Model:
    """The model of files in any order, roles told by content."""
    return reader.read({reader.classify(path): path for path in paths}, ReadOptions(**options))


def read_text(
    folder: Path, prototxt: str, weights: Mapping[str, Sequence[np.ndarray]] | None = None, **options: object
) -> Model:
    """The model of a prototxt's text and of weights by layer name, written into ``folder``."""
    net, stored = folder / "deploy.prototxt", folder / "weights.caffemodel"
    net.write_text(prototxt, encoding="utf-8")
    layers = [(name, "", list(blobs)) for name, blobs in (weights or {"none": []}).items()]
    format.write_caffemodel(stored, layers)
    return read([net, stored], **options)


def net(shapes: Mapping[str, Sequence[int]] | Sequence[int], *layers: str) -> str:
    """The text of a net of inputs (one called "data" where only a shape is given) and layers."""
    inputs = shapes if isinstance(shapes, Mapping) else {"data": shapes}
    heads = []
    for name, shape in inputs.items():
        dims = " ".join(f"dim: {size}" for size in shape)
        heads.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
    return "\n".join([*heads, *layers])


def layer(kind: str, bottoms: str = "data", tops: str = "top", parameters: str = "", name: str = "layer") -> str:
    """The text of one layer; several bottoms or tops are separated by blanks."""
    wires = [f'bottom: "{blob}"' for blob in bottoms.split()] + [f'top: "{blob}"' for blob in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(wires)} {parameters} }}'


def normal(*shapes: Sequence[int], seed: int = 7) -> list[np.ndarray]:
    """Random weights of these shapes."""
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def random_inputs(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in model.input_shapes().items()}


def distance(found: np.ndarray, value: np.ndarray, noise: np.ndarray) -> float:
    """Root mean square of the error in units of float32 noise; infinite where the shapes differ or a NaN is alone."""
    if found.shape != value.shape or (np.isfinite(found) != np.isfinite(value)).any():
        return float("inf")
    finite = np.isfinite(value)
    error, grain = np.abs(found - value)[finite], np.broadcast_to(noise, value.shape)[finite]
    # Where the arithmetic is exact, equality within the rounding to float32 is asked.
    grain = np.maximum(grain, np.abs(value[finite]) * 2.0**-25 + 1e-30)
    return float(np.sqrt(np.mean((error / grain) ** 2))) if error.size else 0.0


@contextmanager
def real_caffe() -> Iterator[Runtime]:
    with environments.open_runtime("caffe") as runtime:
        yield runtime


def run_real(runtime: Runtime, model: Model, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every blob that the real Caffe computes, by hub name."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = reader.runtime_artifact(model, Path(folder))
        with runtime.open(artifact) as session:
            return {name: np.array(value) for name, value in session.run(dict(inputs), list(artifact.taps)).items()}


def distances(model: Model, inputs: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Each blob's distance, judged from the inputs that the real layer had."""
    judged = local(model, {**inputs, **real}, list(real))
    return {name: distance(real[name], *judged[name]) for name in real}


def assert_as_real(
    runtime: Runtime, model: Model, inputs: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Every blob of ``model`` is what the real Caffe computes; returns the real ones."""
    inputs = random_inputs(model) if inputs is None else inputs
    real = run_real(runtime, model, inputs)
    found = distances(model, inputs, real)
    bad = {name: (value, real[name].shape) for name, value in found.items() if not value < ALLOWED}
    assert not bad, bad
    return real


def assert_golden(model: Model, inputs: Mapping[str, np.ndarray], golden: Mapping[str, np.ndarray]) -> None:
    """Outputs recorded from the real runtime are within the float32 noise of the whole net."""
    expected = reference(model, inputs, list(golden))
    bad = {name: distance(golden[name], expected.values[name], expected.noise[name]) for name in golden}
    bad = {name: value for name, value in bad.items() if not value < ALLOWED}
    assert not bad, bad
