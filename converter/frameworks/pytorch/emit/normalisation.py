"""Normalisations."""

from __future__ import annotations

import numpy as np

from converter.frameworks.pytorch.emit.code import CannotEmit, Code, Module, Node, Weight, call, emits
from converter.frameworks.pytorch.emit.convolution import spatial_rank


@emits("BatchNormalization")
def batch_norm(node: Node) -> Code:
    """Without scale and bias where they are 1 and 0. Momentum: PyTorch weighs the new value, ONNX the old one."""
    rank = node.rank()
    if not 2 <= rank <= 5:
        raise CannotEmit(f"PyTorch normalises batches of 2 to 5 axes, the input has shape {node.shape()}")
    if not all(node.is_constant(index) for index in range(1, 5)):
        raise CannotEmit("scale, bias, mean and variance must be constants")
    options = _epsilon(node)
    momentum = round(1 - node.get("momentum", 0.9), 6)
    if momentum != 0.1:
        options["momentum"] = momentum
    tensors = {}
    if np.all(node.array(1, "scale") == 1) and not np.any(node.array(2, "bias")):
        options["affine"] = False
    else:
        tensors = {"weight": Weight.of(node.inputs[1]), "bias": Weight.of(node.inputs[2])}
    tensors["running_mean"] = Weight(node.inputs[3], node.shape(3))
    tensors["running_var"] = Weight(node.inputs[4], node.shape(4))
    tensors["num_batches_tracked"] = Weight(np.array(0, np.int64), ())
    kind = f"nn.BatchNorm{max(1, rank - 2)}d"
    return call(Module(kind, {"num_features": node.shape()[1]}, options, tensors))


@emits("LRN")
def local_response_norm(node: Node) -> Code:
    size = node.attributes["size"]
    options = {"alpha": short(node.get("alpha", 1e-4)), "beta": short(node.get("beta", 0.75))}
    if node.get("bias", 1.0) != 1.0:
        options["k"] = short(node.get("bias", 1.0))
    module = Module("nn.LocalResponseNorm", {"size": size}, options)
    # Of an even window ONNX has the odd one out behind the channel, PyTorch before it.
    return call(module, "{module}({0})" if size % 2 else "{module}({0}.flip(1)).flip(1)")


@emits("InstanceNormalization")
def instance_norm(node: Node) -> Code:
    _constants(node, 1, 2)
    options = _epsilon(node) | {"affine": True}
    tensors = {"weight": Weight.of(node.inputs[1]), "bias": Weight.of(node.inputs[2])}
    return call(Module(f"nn.InstanceNorm{spatial_rank(node)}d", {"num_features": node.shape()[1]}, options, tensors))


@emits("GroupNormalization")
def group_norm(node: Node) -> Code:
    _constants(node, 1, 2)
    arguments = {"num_groups": node.attributes["num_groups"], "num_channels": node.shape()[1]}
    tensors = {"weight": Weight.of(node.inputs[1]), "bias": Weight.of(node.inputs[2])}
    return call(Module("nn.GroupNorm", arguments, _epsilon(node), tensors))


@emits("LayerNormalization")
def layer_norm(node: Node) -> Code:
    if sum(bool(output.name) for output in node.ir.outputs) > 1:
        raise CannotEmit("the mean and deviation as further outputs")
    _constants(node, 1, *((2,) if node.has(2) else ()))
    axis = node.get("axis", -1)
    inner = node.shape()[axis if axis >= 0 else axis + node.rank() :]
    for index in (1, 2):
        if node.has(index) and node.shape(index) != inner:
            raise CannotEmit(f"scale and bias must have the shape {inner} of the normalised axes")
    tensors = {"weight": Weight.of(node.inputs[1])}
    options = _epsilon(node)
    if node.has(2):
        tensors["bias"] = Weight.of(node.inputs[2])
    else:
        options["bias"] = False
    shape = inner[0] if len(inner) == 1 else inner
    return call(Module("nn.LayerNorm", {"normalized_shape": shape}, options, tensors))


@emits("MeanVarianceNormalization")
def mean_variance_norm(node: Node) -> Code:
    """1e-9 is added to the deviation by the function body in the ONNX specification."""
    axes = tuple(node.get("axes", (0, 2, 3)))
    return Code(f"mean_variance_norm({{0}}, {axes})", piece="mean_variance_norm")


def _constants(node: Node, *indices: int) -> None:
    if not all(node.is_constant(index) for index in indices):
        raise CannotEmit("scale and bias must be constants")


def _epsilon(node: Node) -> dict[str, float]:
    """eps, unless it is the default of both sides (1e-5, which an attribute holds as float32)."""
    epsilon = short(node.get("epsilon", 1e-5))
    return {} if epsilon == 1e-5 else {"eps": epsilon}


def short(value: float) -> float:
    """The number with the fewest digits that is the same float32."""
    return float(str(np.float32(value)))
