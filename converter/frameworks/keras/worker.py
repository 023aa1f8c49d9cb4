"""Runs a Keras model file on real Keras. The protocol: converter/environments/worker_protocol.py.

Keras 3 reads what Keras 3 saved, tf_keras (the last Keras 2) what came before: Keras 3 refuses many older files and
gives others a new meaning, as hard_sigmoid.

Taps are the outputs of layers. "conv" is a layer, "encoder/conv" one of the nested model "encoder". A layer that the
model calls several times has a tap for each call, "conv#0" and "conv#1" in the order in which they run; one with
several outputs has "lstm:0", "lstm:1".
"""

from __future__ import annotations

import itertools
import json
import os
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

# The user's keras.json would change the defaults; there is none in the worker's own folder. Read by the imports below.
os.environ["KERAS_HOME"] = os.getcwd()

import h5py
import keras
import numpy
import tensorflow
import tf_keras

PACKAGES = {"keras": keras, "tf_keras": tf_keras}
LONGEST_CONFIG = 100_000_000
MOST_CALLS = 100_000
# In the name of a TensorFlow function, or in the node, that a layer of Keras 2 may consist of.
REACHES_FILES = re.compile(
    r"\b(io|data|train|summary|saved_model|raw_ops)\.|(?i:(read|write)_?file|matching_?files|py_?func|numpy_func|print)"
)
tensorflow.config.experimental.enable_op_determinism()


def versions() -> dict[str, str]:
    modules = {"keras": keras, "tf_keras": tf_keras, "tensorflow": tensorflow, "numpy": numpy}
    return {name: module.__version__ for name, module in modules.items()}


def load(files: dict[str, str], options: dict) -> Model:
    """``files``: "model" (.keras or .h5, told apart by content).

    ``options``: "package", "keras" or "tf_keras", to overrule what the file's version of Keras says.
    """
    path = files["model"]
    suffix, version, config = description_of(path)
    refuse_code(config)
    package = options.get("package")
    if package is None:
        package = "keras" if int(version.split(".")[0]) >= 3 else "tf_keras"
        refuse_other_meanings(version, config)
    if not path.endswith(suffix):
        # Keras tells the kinds of file by the ending: a link with it in the worker's own folder.
        link = os.path.join(tempfile.mkdtemp(dir=os.getcwd()), f"model{suffix}")
        os.symlink(path, link)
        path = link
    return Model(PACKAGES[package].models.load_model(path, compile=False))


def description_of(path: str) -> tuple[str, str, Any]:
    """The ending that Keras wants for such a file, the version of Keras that saved it, and the configuration in it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            metadata, config = (read_json(archive, name) for name in ("metadata.json", "config.json"))
        return ".keras", metadata["keras_version"], config
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ValueError(f"{path} holds weights and no model")
        return ".h5", as_text(file.attrs.get("keras_version", "1")), json.loads(file.attrs["model_config"])


def read_json(archive: zipfile.ZipFile, name: str) -> Any:
    size = archive.getinfo(name).file_size
    if size > LONGEST_CONFIG:
        raise ValueError(f"{name} takes {size} bytes")
    return json.loads(archive.read(name))


def as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def dictionaries(config: Any) -> Iterator[dict]:
    """Yields every dictionary in ``config``, however deep."""
    rest = [config]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            yield value
        if isinstance(value, (dict, list)):
            rest.extend(value.values() if isinstance(value, dict) else value)


def refuse_code(config: Any) -> None:
    """ValueError where the file carries Python bytecode, which tf_keras would run, or calls what reaches files."""
    for entry in dictionaries(config):
        if entry.get("class_name") in ("Lambda", "__lambda__") or entry.get("function_type") == "lambda":
            name = (entry.get("config") or {}).get("name", "a function")
            raise ValueError(f'"{name}" is Python bytecode (a Lambda), which is not run')
        if entry.get("class_name") in ("TFOpLambda", "TensorFlowOpLayer"):
            called = str(entry["config"].get("function", entry["config"].get("node_def")))
            if REACHES_FILES.search(called):
                raise ValueError(f"a layer calls {called[:200]}, which runs code or reaches files")


def refuse_other_meanings(version: str, config: Any) -> None:
    """ValueError for what Keras 2.0 to 2.3 (not tf.keras) computed otherwise than tf_keras computes it."""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers >= (2, 4) or version.endswith("-tf"):
        return
    for entry in dictionaries(config):
        if entry.get("class_name") == "UpSampling2D" and entry["config"].get("interpolation") == "bilinear":
            raise ValueError(
                f'layer "{entry["config"].get("name")}": Keras {version} places the points of a bilinear UpSampling2D '
                'otherwise than tf_keras; the option "package" = "tf_keras" takes the new places'
            )


class Model:
    """A model of either package, run eagerly in inference mode."""

    def __init__(self, model: Any) -> None:
        if not model.inputs:
            raise ValueError("the model does not say the shape of its input")
        self.model = model
        self.dtypes = {layer_of(t._keras_history).name: t.dtype for t in model.inputs}
        self.inputs = list(self.dtypes)
        self.outputs = numbered([layer_of(t._keras_history).name for t in model.outputs])
        self.wanted: set[str] = set()
        self.found: dict[str, numpy.ndarray] = {}
        self.times_called: Counter[str] = Counter()
        self.calls, paths = Counter(), {}
        count_calls(model, "", 1, self.calls, paths)
        self.taps = []
        for layer, path in paths.items():
            self.taps += [tap for call in range(self.calls[layer]) for tap in self.names(layer, path, call)]
            self.record(layer, path)
        self.taps = [name for name in self.taps if name not in set(self.outputs)]

    def names(self, layer: Any, path: str, call: int, several: int | None = None) -> list[str]:
        """The taps of one call of a layer; ``several`` is the number of its outputs, looked up where not given."""
        name = path if self.calls[layer] == 1 else f"{path}#{call}"
        count = number_of_outputs(layer) if several is None else several
        return [name] if count == 1 else [f"{name}:{place}" for place in range(count)]

    def record(self, layer: Any, path: str) -> None:
        """Has ``layer`` keep what it makes, where that is wanted."""
        call: Callable[..., Any] = layer.call

        def call_and_keep(*arguments: Any, **keywords: Any) -> Any:
            made = call(*arguments, **keywords)
            tensors = tensorflow.nest.flatten(made)
            names = self.names(layer, path, self.times_called[path], len(tensors))
            self.times_called[path] += 1
            self.found.update((name, t) for name, t in zip(names, tensors, strict=True) if name in self.wanted)
            return made

        layer.call = call_and_keep

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        self.wanted = set(names)
        self.found.clear()
        self.times_called.clear()
        given = [tensorflow.cast(inputs[name], dtype) for name, dtype in self.dtypes.items()]
        made = self.model(given if len(given) > 1 else given[0], training=False)
        values = {**self.found, **dict(zip(self.outputs, tensorflow.nest.flatten(made), strict=True))}
        return {name: values[name].numpy() for name in names if name in values or not lenient}


def count_calls(model: Any, prefix: str, times: int, calls: Counter, paths: dict[Any, str]) -> None:
    """Counts how often one run of ``model`` calls each layer, and gives each its path, those of nested models too."""
    if times > MOST_CALLS:
        raise ValueError(f"{prefix.strip('/')} is called more than {MOST_CALLS} times")
    graph = getattr(model, "_functional", None) or model
    nodes = [node for depth in sorted(graph._nodes_by_depth, reverse=True) for node in graph._nodes_by_depth[depth]]
    here = Counter(layer_of(node) for node in nodes if not node.is_input)
    for layer, count in here.items():
        paths.setdefault(layer, prefix + layer.name)
        calls[layer] += times * count
        if hasattr(getattr(layer, "_functional", None) or layer, "_nodes_by_depth"):
            count_calls(layer, f"{prefix}{layer.name}/", times * count, calls, paths)


def layer_of(made_by: Any) -> Any:
    """The layer of a node, or of a tensor's history; Keras 3 calls it "operation", for it need not be a layer."""
    return made_by.operation if hasattr(made_by, "operation") else made_by.layer


def number_of_outputs(layer: Any) -> int:
    return len(tensorflow.nest.flatten(layer._inbound_nodes[-1].output_tensors))


def numbered(names: list[str]) -> list[str]:
    """``names`` with "_1", "_2" behind what was there before."""
    result: dict[str, None] = {}
    for name in names:
        candidates = (f"{name}_{number}" if number else name for number in itertools.count())
        result[next(candidate for candidate in candidates if candidate not in result)] = None
    return list(result)
