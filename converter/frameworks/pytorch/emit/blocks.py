"""Repeated parts of a net become classes of their own.

A region is a run of steps that one value enters and one value leaves: everything from where branches part to where
they meet again, or a stretch of a chain of layers. Regions of equal structure are instances of one class; what differs
(numbers of channels, strides) becomes an argument of its constructor. Where nothing repeats, the net stays flat.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from converter.frameworks.pytorch.emit.classes import RenderedClass, render_class
from converter.frameworks.pytorch.emit.code import Module, call, plain_number
from converter.frameworks.pytorch.emit.names import LOCALS, Names, identifier
from converter.frameworks.pytorch.emit.naming import block_name, contains, inner_names, layer_run, shorten, stem
from converter.frameworks.pytorch.emit.step import Name, Step
from converter.graph.model import constant_of
from converter.graph.passes.common import is_initializer

#: A block has at least so many steps ...
FEWEST_STEPS = 5
#: ... and at most so many.
MOST_STEPS = 96
#: A plain chain of layers becomes blocks where it repeats so often, with a period up to this.
CHAIN_REPEATS, LONGEST_CHAIN = 4, 12
#: Layers that always follow a region (the activation after a sum) join it, up to so many.
LONGEST_TAIL = 3

#: What may differ between instances. Every other argument must be equal.
VARYING = frozenset(
    ["in_channels", "out_channels", "num_features", "num_channels", "in_features", "out_features", "num_parameters"]
)
#: Options of a convolution that may differ as well, with PyTorch's defaults.
KEYWORDS = {"stride": 1, "dilation": 1, "padding": 0}
#: The order in which people write them.
ORDER = ("stride", "padding", "dilation", "groups")
_CONVOLUTIONS = ("nn.Conv1d", "nn.Conv2d", "nn.Conv3d")


#: Steps first..last - 1.
Region = tuple[int, int]


def split_blocks(
    steps: Sequence[Step], inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], reserved: Sequence[str]
) -> tuple[list[Step], list[RenderedClass]]:
    """The steps of the net with each block as one step, and the classes of the blocks. ``reserved`` names are taken."""
    wiring = Wiring(steps, inputs, outputs)
    prints = _fingerprints(steps, inputs)
    groups = _branched(wiring, prints)
    groups += _chains(wiring, prints, {index for regions in groups for region in regions for index in range(*region)})
    classes, calls, names = [], {}, Names(reserved)
    for regions in sorted(groups):
        instances = [wiring.instance(region) for region in regions]
        rendered, made = _as_class(instances, names)
        classes.append(rendered)
        calls |= {region[0]: step for region, step in zip(regions, made, strict=True)}
    return _with_calls(steps, calls), classes


def _with_calls(steps: Sequence[Step], calls: dict[int, Step]) -> list[Step]:
    result, index = [], 0
    while index < len(steps):
        step = calls.get(index, steps[index])
        result.append(step)
        index += len(step.steps) or 1
    return result


@dataclass(frozen=True)
class Instance:
    """The steps of one occurrence of a block, the value that enters and the one that leaves."""

    steps: Sequence[Step]
    entry: ir.Value
    exit: ir.Value


class Wiring:
    """Which step makes each value and which one needs it last."""

    def __init__(self, steps: Sequence[Step], inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> None:
        self.steps = steps
        made = {id(value) for value in inputs} | {id(value) for step in steps for value in step.outputs}
        #: For each step the values that it reads, constants left out.
        self.reads = [{id(value): value for _, value in step.operands() if id(value) in made} for step in steps]
        last_use = {value: index for index, read in enumerate(self.reads) for value in read}
        last_use |= {id(value): len(steps) for value in outputs}
        #: For each step the last one that needs a value of it.
        self.needed = [max((last_use.get(id(value), index) for value in step.outputs), default=index)
                       for index, step in enumerate(steps)]  # fmt: skip

    def region_of_join(self, last: int) -> Region | None:
        """The smallest region that ends with step ``last``, which joins several values; None where there is none."""
        entries, latest = dict(self.reads[last]), last
        for first in range(last - 1, max(-1, last - MOST_STEPS), -1):
            latest = max(latest, self.needed[first])
            if latest > last:
                return None
            for value in self.steps[first].outputs:
                entries.pop(id(value), None)
            entries |= self.reads[first]
            if len(entries) == 1:
                return first, last + 1
        return None

    def continues(self, index: int) -> bool:
        """Whether step ``index`` needs the result of the one before and nothing else, and is alone in that."""
        return (
            0 < index < len(self.steps)
            and self.steps[index - 1].code.results == self.steps[index].code.results == 1
            and list(self.reads[index]) == [id(self.steps[index - 1].outputs[0])]
            and self.needed[index - 1] == index
        )

    def instance(self, region: Region) -> Instance:
        steps = self.steps[slice(*region)]
        inside = {id(value) for step in steps for value in step.outputs}
        reads = (value for read in self.reads[slice(*region)] for value in read.values())
        return Instance(steps, next(value for value in reads if id(value) not in inside), steps[-1].outputs[0])


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
        for name in KEYWORDS:
            options.pop(name, None)
        if options.get("groups", 1) == module.arguments["in_channels"]:
            options["groups"] = "depthwise"
    return module.kind, tuple(arguments.items()), tuple(sorted(options.items())), tuple(module.tensors)


def _key(region: Region, prints: Sequence[Any]) -> Any:
    """Equal for two regions that one class can stand for: an operand from outside can only be what enters."""
    return tuple(
        (*p[:2], tuple(o if len(o) < 3 or o[1] <= at else (o[0], "entry") for o in p[2]), *p[3:])
        for at, p in enumerate(prints[slice(*region)])
    )


def _branched(wiring: Wiring, prints: Sequence[Any]) -> list[list[Region]]:
    """Regions with branches that occur twice or more, the largest first, each with the layers that always follow."""
    places = defaultdict(list)
    for index, read in enumerate(wiring.reads):
        if len(read) > 1 and wiring.steps[index].code.results == 1:
            region = wiring.region_of_join(index)
            if region is not None:
                places[_key(region, prints)].append(region)
    groups, taken = [], set()
    for found in sorted(places.values(), key=lambda regions: -(regions[0][1] - regions[0][0])):
        free = [region for region in found if taken.isdisjoint(range(*region))]
        head, tail = _common_head(free, wiring, prints, taken), _common_tail(free, wiring, prints, taken)
        regions = [(first - head, last + tail) for first, last in free]
        if len(regions) > 1 and regions[0][1] - regions[0][0] >= FEWEST_STEPS:
            groups.append(regions)
            taken.update(index for region in regions for index in range(*region))
    return groups


def _common_head(regions: Sequence[Region], wiring: Wiring, prints: Sequence[Any], taken: set[int]) -> int:
    """How many steps stand before every one of ``regions`` in the same way and bear its name (a squeeze layer)."""
    runs = [layer_run(wiring.steps[slice(*region)]) for region in regions]
    for head in range(LONGEST_TAIL):
        before = [first - head - 1 for first, _ in regions]
        free = all(
            index >= 0
            and index not in taken
            and len(wiring.reads[index]) == 1
            and wiring.steps[index].code.results == 1
            and index < wiring.needed[index] < last
            and run
            and contains(wiring.steps[index].layer, run)
            for index, (_, last), run in zip(before, regions, runs, strict=True)
        )
        if not free or len({_key((index, index + 1), prints) for index in before}) > 1:
            return head
    return LONGEST_TAIL


def _common_tail(regions: Sequence[Region], wiring: Wiring, prints: Sequence[Any], taken: set[int]) -> int:
    """How many steps follow every one of ``regions`` in the same way."""
    for tail in range(LONGEST_TAIL):
        following = [last + tail for _, last in regions]
        free = all(wiring.continues(index) and index not in taken for index in following)
        if not free or len({prints[index] for index in following}) > 1:
            return tail
    return LONGEST_TAIL


def _chains(wiring: Wiring, prints: Sequence[Any], taken: set[int]) -> list[list[Region]]:
    """Runs of layers with a period, where the layers' names show the same rhythm."""
    chained = [wiring.continues(index) and index not in taken for index in range(len(wiring.steps))]
    groups, index = [], 0
    while index < len(chained):
        periods = range(FEWEST_STEPS, LONGEST_CHAIN + 1)
        regions = max((_rhythm(index, period, wiring, prints, chained) for period in periods), key=len)
        if regions:
            groups.append(regions)
        index = regions[-1][1] if regions else index + 1
    return groups


def _rhythm(start: int, period: int, wiring: Wiring, prints: Sequence[Any], chained: Sequence[bool]) -> list[Region]:
    """Regions of a run that begins at ``start``, each with a name of its own; none where there are too few."""
    regions: list[Region] = []
    stems = {""}
    while (end := start + period * (len(regions) + 1)) <= len(chained):
        region = (end - period, end)
        same = all(chained[i] and prints[i] == prints[i - end + start + period] for i in range(*region))
        name = _stem(wiring.steps[slice(*region)]) if same else ""
        if name in stems:
            break
        stems.add(name)
        regions.append(region)
    return regions if len(regions) >= CHAIN_REPEATS else []


def _stem(steps: Sequence[Step]) -> str:
    return stem([step.layer for step in steps if step.code.module or step.tensors()])


def _as_class(instances: Sequence[Instance], names: Names) -> tuple[RenderedClass, list[Step]]:
    """The class of ``instances``, and for each the step that calls it."""
    stems = [_stem(instance.steps) for instance in instances]
    distinct = len(set(stems)) == len(stems) and all(stems)
    first = instances[0]
    run = layer_run(first.steps) if distinct else ()
    layers = inner_names(first.steps, run)
    arguments = _arguments([instance.steps for instance in instances], layers)
    parametrised = [_with_parameters(step, index, arguments) for index, step in enumerate(first.steps)]
    name = _class_name(block_name(first.steps, first.entry, stems[0] if distinct else ""), names)
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


def _class_name(name: str, names: Names) -> str:
    """``name``, with a number where it is taken: Bottleneck2."""
    candidate, number = name, 2
    while candidate in names:
        candidate, number = f"{name}{number}", number + 1
    return names.take(candidate)


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
    keywords: dict[tuple[bool, tuple[Any, ...]], list[tuple[int, str]]] = {}
    for index, step in enumerate(instances[0]):
        modules = [steps[index].code.module for steps in instances]
        if step.code.module is None:
            continue
        for name in [*step.code.module.arguments, "groups"]:
            values = tuple({**m.arguments, **m.options}.get(name) for m in modules)
            if len(set(values)) > 1:
                found.setdefault(values, []).append((index, name))
        for name, default in KEYWORDS.items() if step.code.module.kind in _CONVOLUTIONS else ():
            values = tuple(module.options.get(name, default) for module in modules)
            if len(set(values)) > 1:
                # The padding that keeps the size grows with the dilation: one argument for both.
                keywords.setdefault((name == "stride", values), []).append((index, name))
    arguments, names = [], Names(LOCALS)
    last = _last_producer(instances, found)
    others = [values for values, places in found.items() if _makes(places) and values != last]
    for values, places in found.items():
        index, argument = next((place for place in places if place[1].startswith("out_")), places[0])
        if places[0][1].startswith("in_"):
            called = places[0][1]
        elif not arguments and argument == "num_features":
            called = "in_channels"
        elif values == last:
            called = "out_channels"
        elif others == [values]:
            called = "channels"
        else:
            called = f"{identifier(layers[index])}_{argument.removeprefix('out_')}"
        arguments.append(Argument(names.take(called), values, places))
    arguments.sort(key=lambda a: (not a.name.startswith("in_"), a.name == "out_channels"))
    kinds = Counter(places[0][1] for places in keywords.values())
    for (_, values), places in keywords.items():
        index, option = places[0]
        called = option if kinds[option] == 1 else f"{identifier(layers[index])}_{option}"
        default = KEYWORDS[option] if option != "padding" else values[0]
        arguments.append(Argument(names.take(called), values, places, default))
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
    given = module.options | {name: own[name] for name in own if name not in module.arguments}
    options = {name: given.pop(name) for name in ORDER if name in given} | given
    return replace(step, code=replace(step.code, module=replace(module, arguments=positional, options=options)))
