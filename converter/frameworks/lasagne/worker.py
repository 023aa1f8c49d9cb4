"""Runs a Lasagne net from its source and its npz. The protocol: converter/environments/worker_protocol.py.

Taps are the layers' outputs, by their names; a layer without one is called by its class and its place among all layers,
"Conv2DLayer_1". Where a dense or convolution layer applies a nonlinearity, "fc:linear" is what that is applied to.

Theano runs without a compiler and unoptimised, which needs two repairs: see the end of this file.
"""

from __future__ import annotations

import os
import re
import sys
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy
import scipy.signal
import theano
import theano.tensor
from scipy.signal import _signaltools, _sigtools
from theano.tensor.nnet import abstract_conv, conv
from theano.tensor.signal import pool

MODULE = "converted_model"


def versions() -> dict[str, str]:
    return {"theano": theano.__version__, "lasagne": lasagne.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Model:
    """``files``: "source", "weights" (``savez(file, *get_all_param_values(net))``).

    ``options``: "object", the function that returns the output layer, several, or a dictionary of layers in which the
    last is the output; "arguments" and "keywords" for it.
    """
    build = getattr(module_of(files["source"]), options["object"])
    built = build(*options.get("arguments", ()), **options.get("keywords", {}))
    if isinstance(built, dict):
        built = list(built.values())[-1]
    outputs = list(built) if isinstance(built, (tuple, list)) else [built]
    lasagne.layers.set_all_param_values(outputs, read_weights(files["weights"], outputs))
    return Model(outputs)


def module_of(source: str) -> types.ModuleType:
    """Runs the user's source; modules beside it can be imported, and nothing is written there."""
    sys.dont_write_bytecode = True
    sys.path.append(os.path.dirname(source))
    module = types.ModuleType(MODULE)
    module.__file__ = source
    sys.modules[MODULE] = module
    with open(source, "rb") as file:
        exec(compile(file.read(), source, "exec"), module.__dict__)
    return module


def read_weights(path: str, outputs: list) -> list[numpy.ndarray]:
    """The arrays in the order of their numbers, which is not that of the archive, in the types of the parameters."""
    parameters = lasagne.layers.get_all_params(outputs)
    with numpy.load(path, allow_pickle=False) as stored:
        by_number = {int(name[4:]): name for name in stored.files if re.fullmatch(r"arr_\d+", name)}
        if len(by_number) != len(stored.files):
            raise ValueError(f"{path}: the arrays are not called arr_0, arr_1 and so on")
        if sorted(by_number) != list(range(len(parameters))):
            raise ValueError(f"{path} holds {len(by_number)} arrays, the net has {len(parameters)} parameters")
        arrays = [stored[by_number[number]] for number in range(len(parameters))]
    for number, (array, parameter) in enumerate(zip(arrays, parameters, strict=True)):
        if array.shape != (shape := parameter.get_value(borrow=True).shape):
            raise ValueError(f"arr_{number} has the shape {array.shape} where {parameter.name} has {shape}")
    return [array.astype(parameter.dtype) for array, parameter in zip(arrays, parameters, strict=True)]


class Model:
    """A net in deterministic mode."""

    def __init__(self, outputs: list) -> None:
        layers = lasagne.layers.get_all_layers(outputs)
        names = unique([layer.name or f"{type(layer).__name__}_{place}" for place, layer in enumerate(layers)])
        values = lasagne.layers.get_output(layers, deterministic=True)
        self.variables = dict(zip(names, values, strict=True))
        given = {n: layer for n, layer in zip(names, layers, strict=True) if hasattr(layer, "input_var")}
        self.placeholders = {name: layer.input_var for name, layer in given.items()}
        self.inputs = list(given)
        self.outputs = [names[layers.index(layer)] for layer in outputs]
        for name, layer in zip(names, layers, strict=True):
            if isinstance(layer, LINEAR_AND_MORE) and layer.nonlinearity is not lasagne.nonlinearities.identity:
                source = self.variables[names[layers.index(layer.input_layer)]]
                self.variables[f"{name}:linear"] = before_nonlinearity(layer, source)
        self.taps = [name for name in self.variables if name not in self.outputs and name not in self.inputs]
        self.prepared: tuple[list[str], Callable | None] = ([], None)

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        if self.prepared[0] != names:
            made = [self.variables[name] for name in names]
            placeholders = [self.placeholders[name] for name in self.inputs]
            self.prepared = names, theano.function(placeholders, made, on_unused_input="ignore")
        given = [inputs[name].astype(self.placeholders[name].dtype) for name in self.inputs]
        return dict(zip(names, self.prepared[1](*given), strict=True))


def before_nonlinearity(layer: Any, source: Any) -> Any:
    nonlinearity, layer.nonlinearity = layer.nonlinearity, lasagne.nonlinearities.identity
    try:
        return layer.get_output_for(source, deterministic=True)
    finally:
        layer.nonlinearity = nonlinearity


def unique(names: list[str]) -> list[str]:
    """``names`` with "#1", "#2" behind what was there before."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        result.append(f"{name}#{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return result


# -- repairs ---------------------------------------------------------------------------------------------------


def pool_windows(self: pool.Pool, node: Any, arguments: list, results: list, params: Any) -> None:
    """``Pool.perform``: Theano's own indexes with a list of slices, which NumPy takes no more.

    A window that reaches over the border holds what lies inside; only "average_inc_pad" counts the padding as inside.
    """
    x, window, stride, padding = arguments
    axes = tuple(range(-self.ndim, 0))
    shape = self.out_shape(x.shape, window, params.ignore_border, stride, padding, self.ndim)
    results[0][0] = made = numpy.empty(shape, x.dtype)
    if self.mode == "average_inc_pad":
        x = numpy.pad(x, [(0, 0)] * (x.ndim - self.ndim) + [(extent, extent) for extent in padding])
        padding = [0] * self.ndim
    reduce = {"max": numpy.max, "sum": numpy.sum}.get(self.mode, numpy.mean)
    for place in numpy.ndindex(*made.shape[-self.ndim :]):
        begins = [number * step - before for number, step, before in zip(place, stride, padding, strict=True)]
        # A slice ends with the array by itself.
        inside = (slice(max(begin, 0), begin + size) for begin, size in zip(begins, window, strict=True))
        made[(..., *place)] = reduce(x[(..., *inside)], axis=axes)


pool.Pool.perform = pool_windows
# SciPy moved what Theano imports from it.
for module in (conv, abstract_conv):
    module._valfrommode, module._bvalfromboundary = _signaltools._valfrommode, _signaltools._bvalfromboundary
    module._convolve2d = _sigtools._convolve2d
    module.imported_scipy_signal = True
abstract_conv.convolve = scipy.signal.convolve


def max_pool_2d(
    input: Any,
    ds: Any,
    ignore_border: bool = False,
    st: Any = None,
    padding: tuple[int, int] = (0, 0),
    mode: str = "max",
) -> Any:
    """What Lasagne 0.1 imports from a module that Theano has no more."""
    return pool.pool_2d(input, ds, ignore_border=ignore_border, stride=st, pad=padding, mode=mode)


downsample = types.ModuleType("theano.tensor.signal.downsample")
downsample.max_pool_2d = max_pool_2d
sys.modules[downsample.__name__] = theano.tensor.signal.downsample = downsample

import lasagne  # noqa: E402

LINEAR_AND_MORE = (
    lasagne.layers.DenseLayer,
    lasagne.layers.Conv1DLayer,
    lasagne.layers.Conv2DLayer,
    lasagne.layers.NINLayer,
)
