"""The float64 reference of a hub graph, and what float32 can mean for it: Monte Carlo arithmetic.

One walk over the nodes carries, for every live value, its float64 array and a few *samples*: the same value in runs
where every operator's output was disturbed by a Gaussian with the standard deviation of that operator's own float32
rounding (``Op.rounding``, taken at the float64 values). The spread of the samples is the end-to-end noise of float32,
per element, amplification by an ill-conditioned net included (Parker, Monte Carlo Arithmetic, 1997).

Estimator of the noise of a value. With m samples d_i away from the float64 value, s**2 = mean(d_i**2) of one element
is right on average but, with few samples, now and then far too small. So it is averaged with its mean over
neighbours, p**2: the spatial axes of the same sample and channel, or the whole sample where those hold fewer than
``NEIGHBOURS`` elements. noise = max(sqrt((s**2 + p**2) / 2), the operator's own rounding). It is inf where a sample
has another shape (a detection comes or goes): there float32 decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from converter.graph import ops
from converter.graph.model import Model, Origin, attributes_of, constant_of
from converter.graph.shapes import infer_shapes

#: Spatial elements from which a channel's own mean deviation is taken as well known.
NEIGHBOURS = 16

Arrays = dict[str, np.ndarray]


@dataclass
class Reference:
    """Per fetched name the float64 value and, of the same shape, the standard deviation of its float32 noise."""

    values: Arrays = field(default_factory=dict)
    noise: Arrays = field(default_factory=dict)


def evaluate(
    model: Model,
    inputs: Mapping[str, np.ndarray],
    fetch: Iterable[str] | str = "outputs",
    dtype: type = np.float64,
) -> Arrays:
    """Values by name: the graph's outputs, every node's ("all"), or those named.

    ``inputs`` may have other shapes than declared. Raises ValueError where they do not fit or a name is unknown.
    """
    known = _checked_inputs(model, inputs, dtype)
    targets = _targets(model, fetch)
    values = {result.name: result.value for result in _walk(model, known, targets, 0, 0, dtype)}
    return {name: values[name] if name in values else _given(model, known, name, dtype) for name in targets}


def reference(
    model: Model,
    inputs: Mapping[str, np.ndarray],
    fetch: Iterable[str] | str = "outputs",
    samples: int = 4,
    seed: int = 0,
) -> Reference:
    """Like :func:`evaluate`, with the float32 noise of every fetched value (see the module's text).

    Inputs are rounded to float32 first, and exact from there on.
    """
    known = _checked_inputs(model, inputs, np.float32)
    targets, result = _targets(model, fetch), Reference()
    computed = {item.name: item for item in _walk(model, known, targets, samples, seed, np.float64)}
    for name in targets:
        item = computed.get(name)
        result.values[name] = _given(model, known, name, np.float64) if item is None else item.value
        result.noise[name] = np.zeros(result.values[name].shape) if item is None else item.noise
    return result


def local(
    model: Model, known: Mapping[str, np.ndarray], targets: Iterable[str], samples: int = 4, seed: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each target's (float64 value, float32 noise) computed from the nearest ``known`` values, taken as exact.

    ``known`` holds what a runtime really computed: judged this way, a layer answers for its own error alone. A target's
    own known value is not used for itself, only for what follows it. One operator in between: the noise is its
    rounding; several: Monte Carlo over them. Every node between is evaluated once. Graph inputs must be known.
    """
    results = _walk(model, known, list(targets), samples, seed, np.float64)
    return {result.name: (result.value, result.noise) for result in results}


class _Result(NamedTuple):
    name: str
    value: np.ndarray
    noise: np.ndarray


class _Live(NamedTuple):
    """A computed value and its disturbed samples; no samples where all of them equal the value."""

    value: np.ndarray
    samples: list[np.ndarray]

    def sample(self, number: int) -> np.ndarray:
        return self.samples[number] if self.samples else self.value


def _walk(
    model: Model, known: Mapping[str, np.ndarray], targets: list[str], samples: int, seed: int, dtype: type
) -> Iterator[_Result]:
    """Evaluate what the targets need beyond ``known``, node by node, and yield the targets that nodes compute.

    A value is dropped after its last use; a weight is read for its node and not kept.
    """
    nodes = _needed(model, known, set(targets))
    uses = Counter(value.name for node in nodes for value in node.inputs if value is not None)
    live: dict[str, _Live] = {}
    random = np.random.default_rng(seed)
    wanted = set(targets)

    def operand(value: ir.Value | None) -> _Live | None:
        if value is None:
            return None
        if value.name in live:
            return live[value.name]
        array = known[value.name] if value.name in known else constant_of(value)
        if array is None:
            raise ValueError(f"the value of {value.name} is not given")
        return _Live(_in_precision(array, dtype), [])

    for node in nodes:
        operands = [operand(value) for value in node.inputs]
        passed_on = [uses[value.name] > 0 and value.name not in known for value in node.outputs]
        try:
            results, noises = _node(node, operands, passed_on, samples, random, dtype)
        except (ValueError, IndexError) as error:
            raise ValueError(f"{Origin.of(node)}: {error}") from error
        for value, result, noise, keep in zip(node.outputs, results, noises, passed_on, strict=True):
            if value.name in wanted:
                yield _Result(value.name, result.value, noise)
            if keep:
                live[value.name] = result
        for value in node.inputs:
            if value is not None:
                uses[value.name] -= 1
                if not uses[value.name]:
                    live.pop(value.name, None)


def _node(
    node: ir.Node,
    operands: list[_Live | None],
    passed_on: list[bool],
    samples: int,
    random: np.random.Generator,
    dtype: type,
) -> tuple[list[_Live], list[np.ndarray]]:
    """The outputs of one node and their noise: exactly evaluated, and disturbed where somebody will read that."""
    operator, attributes = ops.find(node.op_type, node.domain), attributes_of(node)
    exact = [None if operand is None else operand.value for operand in operands]

    def run(arrays: list[np.ndarray | None]) -> list[np.ndarray]:
        return [_in_precision(array, dtype) for array in operator.evaluate(attributes, arrays)[: len(node.outputs)]]

    values = run(exact)
    if not samples:
        return [_Live(value, []) for value in values], values
    # An overflow to infinity has no rounding; nor has what came of it.
    own = [np.nan_to_num(error, nan=0.0, posinf=0.0) for error in operator.rounding(attributes, exact, values)]
    disturbed = any(operand is not None and operand.samples for operand in operands)
    spread: list[list[np.ndarray]] = [[] for _ in values]
    if disturbed or any(np.any(error) and keep for error, keep in zip(own, passed_on, strict=False)):
        for number in range(samples):
            arrays = [None if operand is None else operand.sample(number) for operand in operands]
            for index, array in enumerate(run(arrays) if disturbed else values):
                spread[index].append(_disturbed(array, own[index], random))
    noises = [
        _noise(value, several, error) if disturbed else np.broadcast_to(np.asarray(error, np.float64), value.shape)
        for value, several, error in zip(values, spread, own, strict=False)
    ]
    return [_Live(value, several) for value, several in zip(values, spread, strict=True)], noises


def _disturbed(array: np.ndarray, error: np.ndarray | float, random: np.random.Generator) -> np.ndarray:
    """``array`` plus Gaussian noise; a sample of another shape than the float64 value keeps its values."""
    if not np.any(error) or np.shape(error) not in ((), array.shape):
        return array
    return array + random.standard_normal(array.shape, np.float32) * error


def _noise(value: np.ndarray, samples: list[np.ndarray], own: np.ndarray | float) -> np.ndarray:
    """The estimator of the module's text."""
    if any(sample.shape != value.shape for sample in samples):
        return np.full(value.shape, np.inf)
    variance = np.zeros(value.shape)
    for sample in samples:
        # Equal infinities, and NaN in both, are no deviation.
        same = (sample == value) | ((sample != sample) & (value != value))
        variance += np.square(np.subtract(sample, value, out=np.zeros(value.shape), where=~same, dtype=np.float64))
    variance /= len(samples)
    if np.issubdtype(value.dtype, np.floating) and value.ndim:
        spatial = prod(value.shape[2:]) >= NEIGHBOURS
        axes = tuple(range(2 if spatial else min(1, value.ndim - 1), value.ndim))
        variance = (variance + variance.mean(axis=axes, keepdims=True)) / 2
    return np.maximum(np.sqrt(variance), own)


def _needed(model: Model, known: Mapping[str, np.ndarray], targets: set[str]) -> list[ir.Node]:
    """The nodes that compute the targets, back to known values; in the graph's order, which is one of execution."""
    wanted, nodes = set(targets), []
    for node in reversed(model.graph):
        if any(value.name in wanted for value in node.outputs):
            nodes.append(node)
            wanted.update(value.name for value in node.inputs if value is not None and value.name not in known)
    return nodes[::-1]


def _targets(model: Model, fetch: Iterable[str] | str) -> list[str]:
    computed = [value.name for node in model.graph for value in node.outputs]
    if fetch == "all":
        return computed
    if fetch == "outputs":
        return [value.name for value in model.graph.outputs]
    names = list(fetch)
    there = {*computed, *model.graph.initializers, *(value.name for value in model.graph.inputs)}
    if unknown := sorted(set(names) - there):
        raise ValueError(f"the model computes no value named {', '.join(unknown)}")
    return names


def _checked_inputs(model: Model, inputs: Mapping[str, np.ndarray], dtype: type) -> Arrays:
    arrays = {name: _in_precision(np.asarray(array), dtype) for name, array in inputs.items()}
    declared = model.input_shapes()
    if missing := sorted(set(declared) - set(arrays)):
        raise ValueError(f"input {', '.join(missing)} is not given")
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != declared:
        infer_shapes(model, shapes)
    return arrays


def _given(model: Model, known: Mapping[str, np.ndarray], name: str, dtype: type) -> np.ndarray:
    """A fetched value that no node computes: a graph input or an initializer."""
    return _in_precision(known[name] if name in known else constant_of(model.graph.initializers[name]), dtype)


def _in_precision(array: np.ndarray, dtype: type) -> np.ndarray:
    """Floating arrays in the precision of the evaluation, others as they are."""
    return array.astype(dtype, copy=False) if np.issubdtype(array.dtype, np.floating) else array
