"""Activations are modules, so that they carry their layer's name and hooks reach them."""

from __future__ import annotations

import numpy as np

from converter.frameworks.pytorch.emit.code import Code, Module, Node, Weight, call, emits
from converter.frameworks.pytorch.emit.normalisation import short
from converter.graph.ops.activation import SELU_ALPHA, SELU_GAMMA

_PLAIN = {
    "Relu": "nn.ReLU",
    "Sigmoid": "nn.Sigmoid",
    "Tanh": "nn.Tanh",
    "Softplus": "nn.Softplus",
    "Softsign": "nn.Softsign",
    "HardSwish": "nn.Hardswish",
}


@emits(*_PLAIN)
def plain(node: Node) -> Code:
    """nn.Softplus is linear above 20, where the rest is below the rounding of float32."""
    return call(Module(_PLAIN[node.op]))


@emits("LeakyRelu")
def leaky_relu(node: Node) -> Code:
    return call(Module("nn.LeakyReLU", {"negative_slope": short(node.get("alpha", 0.01))}))


@emits("Elu")
def elu(node: Node) -> Code:
    alpha = short(node.get("alpha", 1.0))
    return call(Module("nn.ELU", {} if alpha == 1.0 else {"alpha": alpha}))


@emits("Selu")
def selu(node: Node) -> Code:
    alpha, gamma = node.get("alpha", SELU_ALPHA), node.get("gamma", SELU_GAMMA)
    if (np.float32(alpha), np.float32(gamma)) == (np.float32(SELU_ALPHA), np.float32(SELU_GAMMA)):
        return call(Module("nn.SELU"))
    return Code(f"{short(gamma)!r} * F.elu({{0}}, {short(alpha)!r})")


@emits("HardSigmoid")
def hard_sigmoid(node: Node) -> Code:
    """nn.Hardsigmoid has the slope 1/6; the default of ONNX is 0.2."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if np.float32(alpha) == np.float32(1 / 6) and beta == 0.5:
        return call(Module("nn.Hardsigmoid"))
    return Code(f"({{0}} * {short(alpha)!r} + {short(beta)!r}).clamp(0, 1)")


@emits("Gelu")
def gelu(node: Node) -> Code:
    approximate = node.get("approximate", "none")
    return call(Module("nn.GELU", {}, {} if approximate == "none" else {"approximate": str(approximate)}))


@emits("PRelu")
def prelu(node: Node) -> Code:
    """nn.PReLU has one slope or one per channel; any other is written out."""
    shape, rank = node.shape(1), node.rank()
    slope = (1,) * (rank - len(shape)) + shape
    per_channel = rank >= 2 and all(size == 1 for axis, size in enumerate(slope) if axis != 1)
    if not node.is_constant(1) or not (per_channel or set(slope) <= {1}):
        return Code("torch.where({0} >= 0, {0}, {0} * {1})")
    count = slope[1] if per_channel else 1
    arguments = {} if count == 1 else {"num_parameters": count}
    return call(Module("nn.PReLU", arguments, {}, {"weight": Weight.of(node.inputs[1], (count,))}))


@emits("Clip")
def clip(node: Node) -> Code:
    low, high = (node.number(i, "a bound") if node.is_number(i) or not node.has(i) else "" for i in (1, 2))
    if (low, high) == (0, 6):
        return call(Module("nn.ReLU6"))
    bounds = [f"min={low!r}" if low != "" else "min={1}"] if low is not None else []
    bounds += [f"max={high!r}" if high != "" else "max={2}"] if high is not None else []
    return Code(f"{{0}}.clamp({', '.join(bounds)})" if bounds else "{0}")


@emits("Softmax", "LogSoftmax")
def softmax(node: Node) -> Code:
    return call(Module(f"nn.{node.op}", {}, {"dim": node.get("axis", -1)}))


@emits("Dropout")
def dropout(node: Node) -> Code:
    ratio = node.number(1, "the dropout ratio")
    arguments = {} if ratio in (None, 0.5) else {"p": ratio}
    return call(Module("nn.Dropout", arguments))
