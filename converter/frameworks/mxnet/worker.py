"""Runs a symbol with its parameters on real MXNet. The protocol: converter/environments/worker_protocol.py."""

from __future__ import annotations

import json
from collections import Counter

import mxnet
import numpy

# Operators whose second input is the label: only training reads it, but its variable is among the arguments.
LABELLED = {
    *("SoftmaxOutput", "Softmax", "SVMOutput"),
    *("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput"),
}


def versions() -> dict[str, str]:
    return {"mxnet": mxnet.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Model:
    """``files``: "symbol" (``-symbol.json``), "params" (may be absent where the net has none). ``options``: none."""
    return Model(files["symbol"], files.get("params"))


class Model:
    """A symbol with its parameters. ``inputs`` are the arguments that the file of parameters does not hold.

    ``taps`` are the names that ``get_internals`` lists, as "conv0_output"; one that several nodes share is left out.
    """

    def __init__(self, symbol: str, params: str | None) -> None:
        self.symbol = mxnet.sym.load(symbol)
        stored = {} if params is None else read_parameters(params)
        arguments, auxiliary = self.symbol.list_arguments(), self.symbol.list_auxiliary_states()
        self.arguments = {name: stored[name] for name in arguments if name in stored}
        self.auxiliary = {name: stored[name] for name in auxiliary if name in stored}
        if absent := [name for name in auxiliary if name not in stored]:
            raise ValueError(f"the parameters lack {', '.join(absent)}")
        self.labels = labels_of(self.symbol) - stored.keys()
        self.inputs = [name for name in arguments if name not in stored and name not in self.labels]
        # MXNet wants one type throughout, refuses any other, and does not infer that of an input.
        self.dtype = next((array.dtype for array in self.arguments.values()), numpy.float32)
        self.outputs = self.symbol.list_outputs()
        if len(set(self.outputs)) != len(self.outputs):
            raise ValueError(f"several outputs have one name: {', '.join(self.outputs)}")
        internals = self.symbol.get_internals().list_outputs()
        known = {*arguments, *auxiliary, *self.outputs}
        self.taps = [name for name, times in Counter(internals).items() if times == 1 and name not in known]

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        given = {name: mxnet.nd.array(array, dtype=self.dtype) for name, array in inputs.items()}
        given.update(self.arguments)
        # A head is taken by its place: a name may be that of another node as well.
        heads, internals = dict(zip(self.outputs, self.symbol, strict=True)), self.symbol.get_internals()
        fetched = mxnet.sym.Group([heads[name] if name in heads else internals[name] for name in names])
        shapes, _, _ = self.symbol.infer_shape(**{name: array.shape for name, array in given.items()})
        if shapes is None:
            raise ValueError("the shapes of the inputs do not determine all others")
        for name, shape in zip(self.symbol.list_arguments(), shapes, strict=True):
            if name in self.labels:
                given[name] = mxnet.nd.zeros(shape, dtype=self.dtype)
        executor = fetched.bind(
            mxnet.cpu(),
            {name: given[name] for name in fetched.list_arguments()},
            grad_req="null",
            aux_states={name: self.auxiliary[name] for name in fetched.list_auxiliary_states()},
        )
        return {name: array.asnumpy() for name, array in zip(names, executor.forward(is_train=False), strict=True)}


def read_parameters(path: str) -> dict[str, mxnet.nd.NDArray]:
    """The arrays of a ``.params`` file by name, without "arg:" and "aux:"; dense, whatever they are stored as."""
    try:
        stored = mxnet.nd.load(path)
    except mxnet.base.MXNetError:
        # Arrays written under np_shape are of a version that is read only there.
        with mxnet.util.np_shape(True):
            stored = mxnet.nd.load(path)
    if not isinstance(stored, dict):
        raise ValueError(f"{path}: its {len(stored)} arrays have no names")
    plain = {}
    for name, array in stored.items():
        kind, colon, rest = name.partition(":")
        plain[rest if colon and kind in ("arg", "aux") else name] = array.tostype("default")
    return plain


def labels_of(symbol: mxnet.sym.Symbol) -> set[str]:
    """The variables that are nothing but labels."""
    nodes = json.loads(symbol.tojson())["nodes"]
    as_label, otherwise = set(), set()
    for node in nodes:
        for place, (source, *_) in enumerate(node["inputs"]):
            if nodes[source]["op"] == "null":
                (as_label if place == 1 and node["op"] in LABELLED else otherwise).add(nodes[source]["name"])
    return as_label - otherwise
