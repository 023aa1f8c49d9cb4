"""Runs an ONNX model on ONNX Runtime, CPU. The protocol: converter/environments/worker_protocol.py."""

from __future__ import annotations

import os

import numpy
import onnx
import onnxruntime

onnxruntime.disable_telemetry_events()

LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
FLOATS = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


def versions() -> dict[str, str]:
    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Model:
    """``files``: "model". ``options``: "optimisation" ("none", "basic" or, by default, "all"), "threads"."""
    return Model(files["model"], options)


class Model:
    """A model as it is, for its outputs alone, and a copy in memory with every tensor as an output.

    Exposing a tensor keeps ONNX Runtime from fusing across it, which changes the last digits of everything after it. So
    what is asked for together comes from one run of one of them: a layer is judged by the inputs that it really had.
    """

    def __init__(self, path: str, options: dict) -> None:
        self.path, self.options = path, options
        self.session = self.open(path)
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]
        graph = onnx.load(path, load_external_data=False).graph
        known = set(self.outputs)
        self.taps = [name for node in graph.node for name in node.output if name and name not in known]
        self.tapped = None

    def open(self, model: str | bytes, data_folder: str | None = None) -> onnxruntime.InferenceSession:
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = LEVELS[self.options.get("optimisation", "all")]
        settings.log_severity_level = 3
        if "threads" in self.options:
            settings.intra_op_num_threads = int(self.options["threads"])
        if data_folder is not None:
            settings.add_session_config_entry("session.model_external_initializers_file_folder_path", data_folder)
        return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        types = {value.name: value.type for value in self.session.get_inputs()}
        feeds = {name: as_float(array, FLOATS.get(types[name])) for name, array in inputs.items()}
        session = self.session
        if not set(names) <= set(self.outputs):
            if self.tapped is None:
                self.tapped = self.open(self.model_with_taps(), os.path.dirname(self.path))
            session = self.tapped
        arrays = dict(zip(names, session.run(names, feeds), strict=True)) if names else {}
        return {name: value for name, value in arrays.items() if not lenient or isinstance(value, numpy.ndarray)}

    def model_with_taps(self) -> bytes:
        """The bytes of the model with every tap as an output; ONNX Runtime infers their types.

        Protobuf merges messages that follow each other, so the file's bytes are taken as they are.
        """
        more = onnx.ModelProto()
        more.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.taps)
        with open(self.path, "rb") as file:
            return file.read() + more.SerializeToString()


def as_float(array: numpy.ndarray, dtype: str | None) -> numpy.ndarray:
    """``array`` in the float type that the model takes; anything but floats is left as it is."""
    return array.astype(dtype, copy=False) if dtype and array.dtype.kind == "f" else array
