"""Runs a Chainer net from its source and its npz. The protocol: converter/environments/worker_protocol.py.

Taps are what links make, by their path as in the npz ("res1/conv1"), and what functions make, by the link that calls
them ("res1/ReLU", at the root "ReLU"). What is called again has "#1", "#2" behind it. A function that makes just what
its link returns has no tap of its own. Of several values ":0" is the first.

Which functions a net calls shows only when it runs: without the option "shapes", only links have taps.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import Any

import chainer
import numpy

MODULE = "converted_model"
SETTINGS = {"train": False, "enable_backprop": False, "dtype": numpy.float32, "use_ideep": "never"}


def versions() -> dict[str, str]:
    return {"chainer": chainer.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Model:
    """``files``: "source", "weights" (``save_npz``).

    ``options``: "object", the class; "arguments" and "keywords" of its constructor; "method" to call instead of the
    net itself; "outputs", names of what that returns; "shapes", one for each input, for the taps of functions.
    """
    make = getattr(module_of(files["source"]), options["object"])
    net = make(*options.get("arguments", ()), **options.get("keywords", {}))
    load_weights(net, files["weights"])
    return Model(net, options)


def module_of(source: str) -> types.ModuleType:
    """Runs the user's source; modules beside it can be imported, and nothing is written there."""
    sys.dont_write_bytecode = True
    sys.path.append(os.path.dirname(source))
    module = types.ModuleType(MODULE)
    module.__file__ = source
    # Classes are looked up there by what describes them.
    sys.modules[MODULE] = module
    with open(source, "rb") as file:
        exec(compile(file.read(), source, "exec"), module.__dict__)
    return module


def load_weights(net: chainer.Link, path: str) -> None:
    """As ``load_npz``, which runs pickles, leaves out what the net does not have, and spreads what is too small."""
    own = chainer.serializers.DictionarySerializer()
    own.save(net)
    with numpy.load(path, allow_pickle=False) as stored:
        keys = set(stored.files)
        if keys != own.target.keys():
            raise ValueError(
                f"weights that the net has not: {', '.join(sorted(keys - own.target.keys())) or 'none'}; "
                f"weights that the file has not: {', '.join(sorted(own.target.keys() - keys)) or 'none'}"
            )
        arrays = {key: stored[key] for key in keys}
    for key, value in own.target.items():
        # What gets its shape only from its first input is None before.
        if numpy.asarray(value).dtype != object and numpy.shape(value) != arrays[key].shape:
            raise ValueError(f"{key} has the shape {arrays[key].shape} where the net has {numpy.shape(value)}")
    chainer.serializers.NpzDeserializer(arrays).load(net)


class Model:
    """A net in test mode, without its memory of the runs before."""

    def __init__(self, net: chainer.Link, options: dict) -> None:
        self.net, self.function = net, getattr(net, options["method"]) if "method" in options else net
        parameters = inspect.signature(called(net) if self.function is net else self.function).parameters.values()
        self.inputs = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
        self.outputs = list(options.get("outputs", ["output"]))
        self.paths = {id(link): path.strip("/") for path, link in reversed(list(net.namedlinks()))}
        self.taps = [path for path in dict.fromkeys(self.paths[id(link)] for link in net.links()) if path]
        if "shapes" in options:
            blanks = {name: numpy.zeros(shape, numpy.float32) for name, shape in options["shapes"].items()}
            recorder = Recorder(self.paths, None)
            self.call(blanks, recorder)
            self.taps = recorder.names()
        self.taps = [name for name in self.taps if name not in self.outputs]

    def call(self, inputs: dict, recorder: Recorder) -> Any:
        for link in self.net.links():
            if hasattr(link, "reset_state"):
                link.reset_state()
        with ExitStack() as settings:
            for name, value in SETTINGS.items():
                settings.enter_context(chainer.using_config(name, value))
            with recorder.recording():
                return self.function(**{name: as_input(array) for name, array in inputs.items()})

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        recorder = Recorder(self.paths, set(names))
        outputs = self.named_outputs(self.call(inputs, recorder))
        values = {**recorder.found, **recorder.of_functions, **outputs}
        return {name: numpy.asarray(as_array(values[name])) for name in names if name in values or not lenient}

    def named_outputs(self, returned: Any) -> dict[str, Any]:
        if isinstance(returned, dict):
            return {name: returned[name] for name in self.outputs}
        several = returned if isinstance(returned, (tuple, list)) else [returned]
        if len(several) != len(self.outputs):
            raise ValueError(f"the net returns {len(several)} values, {len(self.outputs)} are named")
        return dict(zip(self.outputs, several, strict=True))


class Recorder(chainer.LinkHook):
    """Keeps what links and functions make: all of it, or what is ``wanted``."""

    name = "Recorder"

    def __init__(self, paths: dict[int, str], wanted: set[str] | None) -> None:
        self.paths, self.wanted = paths, wanted
        self.found: dict[str, chainer.Variable] = {}
        self.of_functions: dict[str, chainer.Variable] = {}
        self.times_called: Counter[str] = Counter()
        self.within: list[str] = []

    @contextmanager
    def recording(self) -> Any:
        apply = chainer.FunctionNode.apply

        def apply_and_keep(node: chainer.FunctionNode, inputs: Any) -> Any:
            made = apply(node, inputs)
            # A function of the old kind is wrapped.
            kind = type(getattr(node, "_function", None) or node).__name__
            path = self.within[-1] if self.within else ""
            self.keep(f"{path}/{kind}".lstrip("/"), made, self.of_functions)
            return made

        # A hook for functions exists, but does not see what they make.
        chainer.FunctionNode.apply = apply_and_keep
        try:
            with self:
                yield
        finally:
            chainer.FunctionNode.apply = apply

    def forward_preprocess(self, arguments: Any) -> None:
        self.within.append(self.paths.get(id(arguments.link), ""))

    def forward_postprocess(self, arguments: Any) -> None:
        if path := self.within.pop():
            self.keep(path, arguments.out, self.found)

    def keep(self, path: str, made: Any, kept: dict[str, chainer.Variable]) -> None:
        name = f"{path}#{self.times_called[path]}" if self.times_called[path] else path
        self.times_called[path] += 1
        values = made if isinstance(made, (tuple, list)) else [made]
        for place, value in enumerate(values):
            full = name if len(values) == 1 else f"{name}:{place}"
            if isinstance(value, chainer.Variable) and (self.wanted is None or full in self.wanted):
                kept[full] = value

    def names(self) -> list[str]:
        """Of all that was kept."""
        of_links = {id(value) for value in self.found.values()}
        return [*self.found, *(name for name, value in self.of_functions.items() if id(value) not in of_links)]


def called(net: chainer.Link) -> Any:
    """What runs when ``net`` is called: ``forward``, or the ``__call__`` of nets for older Chainer."""
    return net.forward if type(net).__call__ is chainer.Link.__call__ else net.__call__


def as_input(array: numpy.ndarray) -> numpy.ndarray:
    """Floats become float32, integers int32, as Chainer wants indices."""
    return numpy.ascontiguousarray(
        array, {"f": numpy.float32, "i": numpy.int32, "u": numpy.int32}.get(array.dtype.kind)
    )


def as_array(value: Any) -> Any:
    return value.array if isinstance(value, chainer.Variable) else value
