"""Repeated parts of a net become classes of their own.

A net is cut wherever a single tensor connects what is before with what is behind. Between two cuts lies a segment: a
lone layer, or everything from where branches part to where they meet again. Segments of equal structure are instances
of one class; what differs (numbers of channels, strides) becomes an argument of its constructor.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from converter.frameworks.pytorch.emit.classes import RenderedClass, render_class
from converter.frameworks.pytorch.emit.code import Module, call, constant_of, is_initializer, plain_number
from converter.frameworks.pytorch.emit.names import Names, identifier
from converter.frameworks.pytorch.emit.naming import block_name, inner_names, layer_run, shorten, stem
from converter.frameworks.pytorch.emit.step import Name, Step

#: A block has at least so many steps ...
FEWEST_STEPS = 5
#: ... and, where it is a plain chain of layers, repeats at least so often.
CHAIN_REPEATS = 4
#: A chain is searched for periods up to this.
LONGEST_CHAIN = 12
#: Layers that always follow a block (the activation after a sum) join it, up to so many.
LONGEST_TAIL = 3

#: What may differ between instances. Every other argument must be equal.
VARYING = frozenset(
    ["in_channels", "out_channels", "num_features", "num_channels", "in_features", "out_features", "num_parameters"]
)
_CONVOLUTIONS = ("nn.Conv1d", "nn.Conv2d", "nn.Conv3d")


@dataclass(frozen=True)
class Segment:
    """Steps first..last - 1, and the one value that enters and leaves them (None where that is not one value)."""

    first: int
    last: int
    entry: ir.Value | None
    exit: ir.Value | None


def split_blocks(
    steps: Sequence[Step], inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], reserved: Sequence[str]
) -> tuple[list[Step], list[RenderedClass]]:
    """The steps of the net with each block as one step, and the classes of the blocks. ``reserved`` names are taken."""
    segments = _segments(steps, inputs, outputs)
    prints = _fingerprints(steps, inputs)
    keys = [_key(segment, steps, prints) for segment in segments]
    groups = _branched(segments, keys)
    taken = {index for spans in groups for first, last in spans for index in range(first, last)}
    groups += _chains(segments, keys, steps, taken)
    classes, calls, names = [], {}, Names(reserved)
    for spans in sorted(groups):
        instances = [
            Instance(
                steps[segments[first].first : segments[last - 1].last], segments[first].entry, segments[last - 1].exit
            )
            for first, last in spans
        ]
        rendered, made = _as_class(instances, names)
        classes.append(rendered)
        calls |= {segments[first].first: step for (first, _), step in zip(spans, made, strict=True)}
    return _with_calls(steps, calls), classes


def _with_calls(steps: Sequence[Step], calls: dict[int, Step]) -> list[Step]:
    result, index = [], 0
    while index < len(steps):
        step = calls.get(index, steps[index])
        result.append(step)
        index += len(step.steps) or 1
    return result


def _segments(steps: Sequence[Step], inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> list[Segment]:
    """Cut where exactly one value is alive."""
    values = [*inputs, *(value for step in steps for value in step.outputs)]
    numbers = {id(value): number for number, value in enumerate(values)}
    born = {id(value): 0 for value in inputs}
    born |= {id(value): index + 1 for index, step in enumerate(steps) for value in step.outputs}
    last_use: dict[int, int] = {}
    for index, step in enumerate(steps):
        last_use |= {id(value): index for value in step.inputs if id(value) in numbers}
    last_use |= {id(value): len(steps) for value in outputs}
    changes = [[0, 0] for _ in range(len(steps) + 2)]
    for value, end in last_use.items():
        for position, sign in ((born[value], 1), (end + 1, -1)):
            changes[position][0] += sign
            changes[position][1] += sign * numbers[value]
    # Where one value is alive, the sum of the numbers of those alive is its own.
    count = total = 0
    cuts: list[tuple[int, ir.Value | None]] = []
    for position in range(len(steps) + 1):
        count, total = count + changes[position][0], total + changes[position][1]
        if count == 1 or position in (0, len(steps)):
            cuts.append((position, values[total] if count == 1 else None))
    return [Segment(a, b, entry, leaving) for (a, entry), (b, leaving) in zip(cuts, cuts[1:], strict=False)]


def _fingerprints(steps: Sequence[Step], inputs: Sequence[ir.Value]) -> list[Any]:
    """For each step something that is equal for steps that the same line of code could be; operands by distance."""
    owners = Counter(weight.identity for step in steps for weight in _weights(step))
    made = {id(value): (-1, 0) for value in inputs}
    prints: list[Any] = []
    for index, step in enumerate(steps):
        operands = []
        for placeholder, value in step.operands():
            if id(value) in made:
                source, position = made[id(value)]
                operands.append((placeholder, index - source, position))
            elif is_initializer(value) and step.number(value):
                operands.append((placeholder, plain_number(constant_of(value).reshape(()))))
        shared = any(owners[weight.identity] > 1 for weight in _weights(step))
        tensors = tuple((name, weight.shape, weight.dtype) for name, weight in step.tensors().items())
        private = tuple(bool(value.metadata_props.get("converter.private")) for value in step.outputs)
        module = _module_print(step.code.module) if step.code.module else None
        unique = index if shared else None
        prints.append((step.code.expression, step.code.results, tuple(operands), tensors, private, module, unique))
        made |= {id(value): (index, position) for position, value in enumerate(step.outputs)}
    return prints


def _weights(step: Step) -> Iterator[Any]:
    yield from step.tensors().values()
    if step.code.module is not None:
        yield from step.code.module.tensors.values()


def _module_print(module: Module) -> Any:
    arguments = {name: value for name, value in module.arguments.items() if name not in VARYING}
    options = dict(module.options)
    if module.kind in _CONVOLUTIONS:
        options.pop("stride", None)
        if options.get("groups", 1) == module.arguments["in_channels"]:
            options["groups"] = "depthwise"
    return module.kind, tuple(arguments.items()), tuple(sorted(options.items())), tuple(module.tensors)


def _key(segment: Segment, steps: Sequence[Step], prints: Sequence[Any]) -> Any:
    """Equal for two segments that one class can stand for: operands from outside are one and the same there."""
    own = prints[segment.first : segment.last]
    inside = tuple(
        (*p[:2], tuple(o if len(o) < 3 or o[1] <= at else (o[0], "entry") for o in p[2]), *p[3:])
        for at, p in enumerate(own)
    )
    results = [id(value) for step in steps[segment.first : segment.last] for value in step.outputs]
    if segment.entry is None or segment.exit is None or id(segment.exit) not in results:
        return inside, segment.first
    return inside, results.index(id(segment.exit)) - len(results)


#: Segments first..last - 1 that make up one instance.
Span = tuple[int, int]


def _branched(segments: Sequence[Segment], keys: Sequence[Any]) -> list[list[Span]]:
    """The segments with branches that occur twice or more, each with the layers that always follow."""
    places = defaultdict(list)
    for index, segment in enumerate(segments):
        if segment.last - segment.first > 1:
            places[keys[index]].append(index)
    starts = {index for found in places.values() for index in found}
    groups = []
    for found in places.values():
        tail = 0
        while tail < LONGEST_TAIL:
            following = [index + tail + 1 for index in found]
            if any(index >= len(segments) or index in starts for index in following):
                break
            if len({keys[index] for index in following}) > 1:
                break
            tail += 1
        length = segments[found[0]].last - segments[found[0]].first + tail
        if len(found) > 1 and length >= FEWEST_STEPS:
            groups.append([(index, index + tail + 1) for index in found])
    return groups


def _chains(
    segments: Sequence[Segment], keys: Sequence[Any], steps: Sequence[Step], taken: set[int]
) -> list[list[Span]]:
    """Runs of lone layers with a period, where the layers' names show the same rhythm."""
    lone = [s.last - s.first == 1 and i not in taken for i, s in enumerate(segments)]
    groups, index = [], 0
    while index < len(segments):
        spans = max(
            (_rhythm(index, p, segments, keys, steps, lone) for p in range(FEWEST_STEPS, LONGEST_CHAIN)), key=len
        )
        if spans:
            groups.append(spans)
        index = spans[-1][1] if spans else index + 1
    return groups


def _rhythm(
    start: int,
    period: int,
    segments: Sequence[Segment],
    keys: Sequence[Any],
    steps: Sequence[Step],
    lone: Sequence[bool],
) -> list[Span]:
    """Spans of a run that begins at ``start``, each with a name of its own; none where there are too few."""
    end = start
    while end + period < len(segments) and lone[end] and lone[end + period] and keys[end] == keys[end + period]:
        end += 1
    repeats = (end - start) // period + 1
    spans = [(start + n * period, start + (n + 1) * period) for n in range(repeats)]
    if repeats < CHAIN_REPEATS:
        return []
    stems = [_stem(steps[segments[first].first : segments[last - 1].last]) for first, last in spans]
    return spans if all(stems) and len(set(stems)) == repeats else []


def _stem(steps: Sequence[Step]) -> str:
    return stem([step.layer for step in steps if step.code.module or step.tensors()])


@dataclass(frozen=True)
class Instance:
    """The steps of one occurrence of a block, the value that enters and the one that leaves."""

    steps: Sequence[Step]
    entry: ir.Value
    exit: ir.Value


def _as_class(instances: Sequence[Instance], names: Names) -> tuple[RenderedClass, list[Step]]:
    """The class of ``instances``, and for each the step that calls it."""
    stems = [_stem(instance.steps) for instance in instances]
    distinct = len(set(stems)) == len(stems) and all(stems)
    first = instances[0]
    run = layer_run(first.steps) if distinct else ()
    layers = inner_names(first.steps, run)
    arguments = _arguments([instance.steps for instance in instances], layers)
    parametrised = [_with_parameters(step, index, arguments) for index, step in enumerate(first.steps)]
    name = names.take(block_name(first.steps, first.entry, stems[0] if distinct else ""))
    rendered = render_class(
        name,
        parametrised,
        [first.entry],
        [first.exit],
        layers=layers,
        parameters=[argument.declaration for argument in arguments],
        input_names=["x"],
        local_name=lambda name: shorten(name, run, "branch"),
    )
    calls = []
    for number, instance in enumerate(instances):
        given = {a.name: a.values[number] for a in arguments if a.default is None}
        options = {a.name: a.values[number] for a in arguments if a.default not in (None, a.values[number])}
        layer = stems[number] if distinct else f"{identifier(name).lower()}{number + 1}"
        code = call(Module(name, given, options))
        calls.append(Step(code, [instance.entry], [instance.exit], layer, rendered, list(instance.steps)))
    return rendered, calls


@dataclass
class Argument:
    """A parameter of a block's constructor: its value in each instance, and where it is used (step, argument)."""

    name: str
    values: tuple[Any, ...]
    places: list[tuple[int, str]]
    default: Any = None

    @property
    def declaration(self) -> str:
        return self.name if self.default is None else f"{self.name}={self.default!r}"


def _arguments(instances: Sequence[Sequence[Step]], layers: Sequence[str]) -> list[Argument]:
    """One parameter for each combination of values that occurs; equal combinations are the same parameter."""
    found: dict[tuple[Any, ...], list[tuple[int, str]]] = {}
    strides: dict[tuple[Any, ...], list[tuple[int, str]]] = {}
    for index, step in enumerate(instances[0]):
        modules = [steps[index].code.module for steps in instances]
        if step.code.module is None:
            continue
        for name in [*step.code.module.arguments, "groups"]:
            values = tuple({**m.arguments, **m.options}.get(name) for m in modules)
            if len(set(values)) > 1:
                found.setdefault(values, []).append((index, name))
        values = tuple(module.options.get("stride", 1) for module in modules)
        if step.code.module.kind in _CONVOLUTIONS and len(set(values)) > 1:
            strides.setdefault(values, []).append((index, "stride"))
    arguments, names = [], Names()
    last = _last_producer(instances, found)
    others = [values for values, places in found.items() if _makes(places) and values != last]
    for values, places in found.items():
        index, argument = next((place for place in places if place[1].startswith("out_")), places[0])
        if places[0][1].startswith("in_"):
            called = places[0][1]
        elif values == last:
            called = "out_channels"
        elif others == [values]:
            called = "channels"
        else:
            called = f"{identifier(layers[index])}_{argument.removeprefix('out_')}"
        arguments.append(Argument(names.take(called), values, places))
    arguments.sort(key=lambda a: (not a.name.startswith("in_"), a.name == "out_channels"))
    for values, places in strides.items():
        called = "stride" if len(strides) == 1 else f"{identifier(layers[places[0][0]])}_stride"
        arguments.append(Argument(names.take(called), values, places, default=1))
    return arguments


def _makes(places: Sequence[tuple[int, str]]) -> bool:
    return any(argument.startswith("out_") for _, argument in places)


def _last_producer(
    instances: Sequence[Sequence[Step]], found: dict[tuple[Any, ...], list[tuple[int, str]]]
) -> tuple[Any, ...] | None:
    """The numbers of channels that leave the block; None where it ends by joining branches side by side."""
    if any(step.code.expression.startswith("torch.cat(") for step in instances[0]):
        return None
    made = {index: values for values, places in found.items() for index, name in places if name.startswith("out_")}
    return made[max(made)] if made else None


def _with_parameters(step: Step, index: int, arguments: Sequence[Argument]) -> Step:
    """``step`` with the constructor's parameters in place of the values that differ."""
    module = step.code.module
    own = {place[1]: Name(a.name) for a in arguments for place in a.places if place[0] == index}
    if not own:
        return step
    positional = {name: own.get(name, value) for name, value in module.arguments.items()}
    options = {name: own[name] for name in ("stride", "groups") if name in own and name not in module.options}
    options |= {name: own.get(name, value) for name, value in module.options.items()}
    return replace(step, code=replace(step.code, module=replace(module, arguments=positional, options=options)))
