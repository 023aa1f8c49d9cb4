"""Runs a frozen graph or a SavedModel on real TensorFlow. The protocol: converter/environments/worker_protocol.py.

A SavedModel's signature is frozen first, its functions inlined: every tensor between can be fetched then. Both are run
by a session without graph optimisation, which would fuse and so round otherwise depending on what is fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import numpy
import tensorflow
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

v1 = tensorflow.compat.v1
# What runs code or reaches files; a graph may hold it, and running the graph would do it.
REFUSED = re.compile(
    r"(Eager)?PyFunc.*|(Read|Write)File|MatchingFiles|ImmutableConst|PrintV2|Debug.*|Create(Summary|Db).*Writer"
    r"|.*Reader(V2)?|.*Dataset(V\d)?|Rpc.*"
)
# These are in every SavedModel, and the loader alone may run them.
OF_CHECKPOINTS = re.compile(r"Save.*|Restore.*|MergeV2Checkpoints")


def versions() -> dict[str, str]:
    return {"tensorflow": tensorflow.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Model:
    """``files``: "graph" (a frozen GraphDef), or "saved_model" (the ``saved_model.pb`` in its folder).

    ``options`` for a graph: "inputs", "outputs", names of tensors; without, its placeholders, and what nothing reads.
    For a SavedModel: "signature" ("serving_default", or the only one), "tags".
    """
    if "saved_model" in files:
        return frozen_signature(files["saved_model"], options)
    definition = GraphDef()
    with open(files["graph"], "rb") as file:
        definition.ParseFromString(file.read())
    graph = imported(definition)
    operations = graph.get_operations()
    inputs, outputs = options.get("inputs"), options.get("outputs")
    if inputs is None:
        inputs = [operation.outputs[0].name for operation in operations if operation.type == "Placeholder"]
    if outputs is None:
        outputs = [name for name in fetchable(operations, inputs) if not is_read(graph.get_tensor_by_name(name).op)]
    return Model(graph, {name: name for name in inputs}, {name: name for name in outputs})


def frozen_signature(path: str, options: dict) -> Model:
    """The model of a SavedModel's signature; inputs and outputs have the names that the signature gives them."""
    saved = SavedModel()
    with open(path, "rb") as file:
        saved.ParseFromString(file.read())
    for meta_graph in saved.meta_graphs:
        refuse(meta_graph.graph_def, REFUSED)
    # The variables belong to what was loaded: without a name for it they would be gone.
    loaded = tensorflow.saved_model.load(os.path.dirname(path), options.get("tags"))
    signatures = loaded.signatures
    name = options.get("signature", "serving_default" if "serving_default" in signatures else None)
    if name is None and len(signatures) == 1:
        (name,) = signatures
    if name not in signatures:
        raise ValueError(f"the signature {name} is not among: {', '.join(signatures) or 'none'}")
    frozen = convert_variables_to_constants_v2(signatures[name], aggressive_inlining=True)
    # The flat order of a dictionary of tensors is that of its keys.
    outputs = dict(zip(sorted(signatures[name].structured_outputs), (t.name for t in frozen.outputs), strict=True))
    # TensorFlow 1 stored the graph itself, with its own names; in TensorFlow 2 a placeholder has its argument's name.
    stored = {key: info.name for graph in saved.meta_graphs for key, info in graph.signature_def[name].inputs.items()}
    placeholders = {tensor.name for tensor in frozen.inputs}
    given = signatures[name].structured_input_signature[1]
    inputs = {key: stored[key] if stored.get(key) in placeholders else f"{key}:0" for key in given}
    if set(inputs.values()) != placeholders:
        raise ValueError(f"the signature {name} has more inputs than names: {', '.join(placeholders)}")
    return Model(imported(frozen.graph.as_graph_def()), inputs, outputs)


def imported(definition: GraphDef) -> tensorflow.Graph:
    refuse(definition, REFUSED)
    refuse(definition, OF_CHECKPOINTS)
    graph = tensorflow.Graph()
    with graph.as_default():
        tensorflow.graph_util.import_graph_def(definition, name="")
    return graph


def refuse(definition: GraphDef, pattern: re.Pattern) -> None:
    """ValueError where a node of the graph or of its functions is an operation of the ``pattern``."""
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        for node in nodes:
            if pattern.fullmatch(node.op):
                raise ValueError(f'"{node.name}" ({node.op}) runs code or reaches files, which no model may')


class Model:
    """A graph of constants. ``taps`` are its tensors, as "conv/BiasAdd:0"."""

    def __init__(self, graph: tensorflow.Graph, inputs: dict[str, str], outputs: dict[str, str]) -> None:
        self.graph = graph
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.tensors = {**inputs, **outputs}
        settings = v1.ConfigProto(allow_soft_placement=True)
        settings.graph_options.rewrite_options.disable_meta_optimizer = True
        self.session = v1.Session(graph=graph, config=settings)
        known = {*inputs.values(), *outputs.values()}
        self.taps = [name for name in fetchable(graph.get_operations(), inputs.values()) if name not in known]

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        feeds = {}
        for name, array in inputs.items():
            tensor = self.graph.get_tensor_by_name(self.tensors[name])
            feeds[tensor] = array.astype(tensor.dtype.as_numpy_dtype, copy=False)
        return self.session.run({name: self.tensors.get(name, name) for name in names}, feeds)


def fetchable(operations: Iterable[tensorflow.Operation], inputs: Iterable[str]) -> list[str]:
    """The names of the tensors that have a value after a run in which ``inputs`` are given.

    Not those within loops and branches, nor what needs another input; constants are left out too.
    """
    given, without, names = set(inputs), set(), []
    for operation in operations:
        sources = {tensor.op for tensor in operation.inputs if tensor.name not in given}
        # A Merge ends a branch, or is where a loop begins.
        ends = operation.type == "Exit" or (operation.type == "Merge" and all(s.type != "Enter" for s in sources))
        if operation.type in ("Enter", "Switch", "Placeholder") or (sources & without and not ends):
            without.add(operation)
        elif operation.type != "Const" and not operation.name.startswith("Func/"):
            # "Func/" are copies that inlining leaves at the border of a function.
            names += [tensor.name for tensor in operation.outputs if is_numbers(tensor)]
    return names


def is_read(operation: tensorflow.Operation) -> bool:
    return any(tensor.consumers() for tensor in operation.outputs)


def is_numbers(tensor: tensorflow.Tensor) -> bool:
    """Whether NumPy can hold it: no strings, no resources, no bfloat16."""
    return numpy.dtype(tensor.dtype.as_numpy_dtype).kind in "biufc"
