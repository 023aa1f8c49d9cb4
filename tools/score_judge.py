"""How good is the judge? Random nets, faults planted in them, and right conversions that must not be refused.

    python tools/score_judge.py [--nets 24]

A net is run by two independent float32 runtimes: numpy (``graph.evaluate`` in float32) and, for right conversions, ONNX
Runtime, optimised and not. A fault is planted by changing one node of a copy, which numpy then runs as the target. Half
of the nets have calibrated statistics; the other half are ill-conditioned: values near 1e4 and a saturated softmax.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from converter.graph.builder import GraphBuilder
from converter.graph.evaluate import evaluate
from converter.graph.model import Model, Origin, constant_of
from converter.parity.judge import judge
from converter.parity.side import Arrays, Side
from converter.parity.verdict import Verdict


def net(seed: int, calibrated: bool = True) -> Model:
    """A small CNN with every layer that the faults need; input (4, 3, 18, 15). Not calibrated: badly conditioned."""
    random = np.random.default_rng(seed)
    builder = GraphBuilder(f"net{seed}")
    data = builder.input("data", (4, 3, 18, 15))
    spread = 1.0 if calibrated else 12.0

    def weight(name: str, *shape: int) -> ir.Value:
        scale = spread * np.sqrt(2 / np.prod(shape[1:]))
        return builder.initializer(f"{name}.weight", (scale * random.standard_normal(shape)).astype(np.float32))

    def vector(name: str, size: int, low: float = -0.5, high: float = 0.5) -> ir.Value:
        return builder.initializer(name, random.uniform(low, high, size).astype(np.float32))

    def layer(name: str, op: str, inputs: list, **attributes: object) -> ir.Value:
        with builder.layer(Origin(name, op)):
            return builder.op(op, inputs, name, **attributes)

    def conv(name: str, x: ir.Value, channels: int, group: int = 1, **attributes: object) -> ir.Value:
        shape = (channels, x.shape[1] // group, 3, 3)
        operands = [x, weight(name, *shape), vector(f"{name}.bias", channels)]
        return layer(name, "Conv", operands, group=group, **attributes)

    def norm(name: str, x: ir.Value) -> ir.Value:
        size = x.shape[1]
        operands = [vector(f"{name}.weight", size, 0.5, 1.5), vector(f"{name}.bias", size),
                    vector(f"{name}.running_mean", size), vector(f"{name}.running_var", size, 0.5, 2)]  # fmt: skip
        return layer(name, "BatchNormalization", [x, *operands], epsilon=1e-5)

    x = layer("relu1", "Relu", [norm("bn1", conv("conv1", data, 8, pads=(1, 1, 1, 1)))])
    x = layer("lrn", "LRN", [x], size=5, alpha=0.5, beta=0.75, bias=2.0)
    x = layer("leaky", "LeakyRelu", [norm("bn2", conv("conv2", x, 8, 2, pads=(1, 1, 1, 1), strides=(2, 2)))], alpha=0.1)
    pooled = layer("pool", "MaxPool", [x], kernel_shape=(2, 2), strides=(2, 2), ceil_mode=1)
    one = layer("global", "GlobalAveragePool", [norm("bn3", conv("conv3", pooled, 8, pads=(1, 1, 1, 1)))])
    average = layer(
        "average", "AveragePool", [x], kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), count_include_pad=1
    )
    flat = [layer("flat1", "Flatten", [one]), layer("flat2", "Flatten", [average])]
    fc1 = [flat[1], weight("fc1", 16, flat[1].shape[1]), vector("fc1.bias", 16)]
    both = layer("concat", "Concat", [flat[0], layer("fc1", "Gemm", fc1, transB=1)], axis=1)
    logits = layer("fc2", "Gemm", [both, weight("fc2", 10, 24), vector("fc2.bias", 10)], transB=1)
    model = Model(builder.build([layer("prob", "Softmax", [logits], axis=1)]), "hub")
    if calibrated:
        _calibrate(model)
    return model


def _calibrate(model: Model) -> None:
    """Give every batch norm the mean and variance of what really reaches it."""
    for node in model.graph:
        if node.op_type == "BatchNormalization":
            x = evaluate(model, samples(model, 99), [node.inputs[0].name])[node.inputs[0].name]
            for position, statistic in ((3, x.mean((0, 2, 3))), (4, x.var((0, 2, 3)))):
                _set(node, position, statistic.astype(np.float32))


def samples(model: Model, seed: int) -> Arrays:
    """Inputs that are deterministic and have no symmetry."""
    random = np.random.default_rng(seed)
    return {
        name: random.uniform(-1, 1, shape).astype(np.float32) + np.linspace(0, 1, shape[-1], dtype=np.float32)
        for name, shape in model.input_shapes().items()
    }


# -- faults -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A mistake: in which layer, how it is planted into that layer's node, and what the judge should say of it."""

    name: str
    layer: str
    plant: Callable[[ir.Node], None]
    cause: str


def _set(node: ir.Node, position: int, array: np.ndarray) -> None:
    node.inputs[position].const_value = ir.Tensor(np.ascontiguousarray(array), name=node.inputs[position].name)


def _weights(position: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ir.Node], None]:
    return lambda node: _set(node, position, change(constant_of(node.inputs[position])))


def _attributes(**attributes: object) -> Callable[[ir.Node], None]:
    def plant(node: ir.Node) -> None:
        for name, value in attributes.items():
            node.attributes[name] = ir.convenience.convert_attribute(name, value)

    return plant


def _swap(node: ir.Node) -> None:
    bias, mean = constant_of(node.inputs[2]), constant_of(node.inputs[3])
    _set(node, 2, mean)
    _set(node, 3, bias)


def _channels_last(weight: np.ndarray) -> np.ndarray:
    """Columns of fc1 as if its input had been flattened in the order height, width, channel."""
    order = np.arange(weight.shape[1]).reshape(8, 5, -1).transpose(1, 2, 0).ravel()
    return weight[:, order]


FAULTS = (
    Fault("batch norm epsilon 1e-3", "bn1", _attributes(epsilon=1e-3), "epsilon 0.001"),
    Fault("batch norm epsilon 2e-5", "bn2", _attributes(epsilon=2e-5), "epsilon 2e-05"),
    Fault("mean and beta swapped", "bn1", _swap, "swapped"),
    Fault("gamma 0.1 % off", "bn3", _weights(1, lambda w: w * np.float32(1.001)), "factor|multiplied|constant"),
    Fault("variance as standard deviation", "bn2", _weights(4, np.square), "standard deviation"),
    Fault("bias dropped", "conv1", _weights(2, np.zeros_like), "bias is dropped"),
    Fault("one bias dropped, dense", "fc1", _weights(2, np.zeros_like), "bias is dropped"),
    Fault("one bias of many", "conv2", _weights(2, lambda b: b * (np.arange(8) != 3)), "constant of each channel"),
    Fault("SAME padding on the other side", "conv2", _attributes(pads=(0, 0, 2, 2)), "padding"),
    Fault("kernels flipped", "conv3", _weights(1, lambda w: w[..., ::-1, ::-1]), "flipped"),
    Fault("RGB as BGR", "conv1", _weights(1, lambda w: w[:, ::-1]), "reverse order"),
    Fault("float16 weights", "conv2", _weights(1, lambda w: w.astype(np.float16).astype(np.float32)), "float16"),
    Fault("leaky .01 for .1", "leaky", _attributes(alpha=0.01), "slope 0.01"),
    Fault("LRN alpha divided once more", "lrn", _attributes(alpha=0.1), "alpha is divided"),
    Fault("LRN bias 1", "lrn", _attributes(bias=1.0), "k is taken as 1"),
    Fault("average without the padding", "average", _attributes(count_include_pad=0), "leaves out the padding"),
    Fault("floor for ceil", "pool", _attributes(ceil_mode=0), "rounded down"),
    Fault("flatten in NHWC order", "fc1", _weights(1, _channels_last), "height, width, channel"),
    Fault("classes permuted", "fc2", lambda node: (_permute(node, 1), _permute(node, 2)), "another order"),
    Fault("output scaled", "fc2", lambda node: _set_all(node, np.float32(1.0001)), "multiplied|factor"),
)


def _permute(node: ir.Node, position: int) -> None:
    array = constant_of(node.inputs[position])
    _set(node, position, array[np.roll(np.arange(len(array)), 3)])


def _set_all(node: ir.Node, factor: np.float32) -> None:
    for position in (1, 2):
        _set(node, position, constant_of(node.inputs[position]) * factor)


def planted(fault: Fault, seed: int, calibrated: bool) -> Model:
    """The net of ``seed`` with ``fault`` in it."""
    model = net(seed, calibrated)
    fault.plant(next(node for node in model.graph if Origin.of(node).layer == fault.layer))
    return model


# -- runtimes ---------------------------------------------------------------------------------------------------------


def numpy_side(model: Model, name: str = "numpy", taps: frozenset[str] | None = None) -> Side:
    """Numpy in float32, one operator at a time; ``taps`` limits what can be asked for."""
    known = frozenset(value.name for node in model.graph for value in node.outputs)

    def run(inputs: Arrays, names: list[str]) -> Arrays:
        return evaluate(model, inputs, names, dtype=np.float32)

    return Side(name, f"{name} float32", run, known if taps is None else taps)


def onnxruntime_side(model: Model, optimised: bool) -> Side:
    """ONNX Runtime; optimised it fuses layers, so only the graph's outputs are asked of it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.serde.serialize_model(model.ir)
    every = [value.name for node in model.graph for value in node.outputs]
    if not optimised:
        present = {output.name for output in proto.graph.output}
        proto.graph.output.extend(value for value in proto.graph.value_info if value.name not in present)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    taps = frozenset(names) & frozenset(every)
    return Side("onnx", "ONNX Runtime", lambda x, wanted: dict(zip(wanted, session.run(wanted, x), strict=True)), taps)


# -- score ------------------------------------------------------------------------------------------------------------


def judge_fault(fault: Fault, seed: int, calibrated: bool, outputs_only: bool = False) -> tuple[Verdict, float]:
    """The verdict on a planted fault, and its strength in units of the noise of its own layer."""
    right, wrong = net(seed, calibrated), planted(fault, seed, calibrated)
    inputs = samples(right, seed)
    taps = frozenset(value.name for value in right.graph.outputs) if outputs_only else None
    verdict = judge(right, numpy_side(right, "source"), numpy_side(wrong, "target", taps), inputs)
    return verdict, strength(right, wrong, inputs, fault.layer)


def strength(right: Model, wrong: Model, inputs: Arrays, name: str) -> float:
    """Root mean square of the fault, in float64, over the float32 noise of its layer."""
    from converter.graph.evaluate import local

    known = evaluate(right, inputs, "all")
    value, noise = local(right, known | inputs, [name])[name]
    changed = evaluate(wrong, inputs, [name])[name]
    if changed.shape != value.shape:
        return float("inf")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(changed == value, 0.0, np.abs(changed - value) / np.maximum(noise, 2.0**-126))
    return float(np.sqrt(np.square(ratio).mean()))


def right_conversions(seed: int, calibrated: bool) -> Iterator[tuple[str, Verdict]]:
    """Verdicts that must be right."""
    model = net(seed, calibrated)
    inputs = samples(model, seed)
    for optimised in (False, True):
        other = onnxruntime_side(model, optimised)
        yield f"ONNX Runtime, optimised: {optimised}", judge(model, numpy_side(model), other, inputs)


def named(verdict: Verdict, fault: Fault) -> bool:
    """Whether the verdict names the layer, the side and the cause of ``fault``."""
    bad = verdict.bad_layer
    return (
        bad is not None
        and bad.origin.layer == fault.layer
        and verdict.side == "target"
        and verdict.cause is not None
        and re.search(fault.cause, verdict.cause.text) is not None
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", type=int, default=24)
    nets = parser.parse_args().nets
    print(f"{'fault':<34}{'caught':>9}{'layer, side, cause named':>27}{'weakest, x the noise':>23}{'outputs only':>15}")
    total = caught_total = named_total = outputs_total = 0
    for fault in FAULTS:
        caught = right_names = by_outputs = 0
        weakest = np.inf
        for seed in range(nets):
            verdict, k = judge_fault(fault, seed, calibrated=seed % 2 == 0)
            caught += not verdict.right
            right_names += named(verdict, fault)
            weakest = min(weakest, k)
            by_outputs += not judge_fault(fault, seed, seed % 2 == 0, outputs_only=True)[0].right
        print(
            f"{fault.name:<34}{caught:>5}/{nets:<3}{right_names:>23}/{nets:<3}{weakest:>23.3g}{by_outputs:>11}/{nets}"
        )
        total, caught_total = total + nets, caught_total + caught
        named_total, outputs_total = named_total + right_names, outputs_total + by_outputs
    refused = [label for seed in range(nets) for label, v in right_conversions(seed, seed % 2 == 0) if not v.right]
    print(f"caught {caught_total} of {total}, named {named_total}, by outputs alone {outputs_total}")
    print(f"right conversions refused: {len(refused)} of {2 * nets}")


if __name__ == "__main__":
    main()
