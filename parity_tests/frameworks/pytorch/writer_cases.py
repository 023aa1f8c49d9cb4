"""Small hub graphs for the tests of the PyTorch writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converter.frameworks.options import WriteOptions
from converter.frameworks.pytorch import writer
from converter.graph import passes
from converter.graph.builder import GraphBuilder
from converter.graph.evaluate import reference
from converter.graph.model import HUB_DOMAIN, Artifact, Model, Origin


class Input:
    """A graph input of a one-node graph: its shape, its dtype, and the values that the test feeds (default: normal)."""

    def __init__(self, *shape, dtype="float32", values=None):
        self.shape, self.dtype, self.values = shape, dtype, values


def weight(*shape, seed=0, scale=0.5):
    """A reproducible float32 array."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def integers(*values):
    return np.array(values, np.int64)


def one_node(op, operands, outputs=1, domain="", **attributes) -> Model:
    """A graph of one node; an operand is an :class:`Input`, an array (an initializer) or None."""
    builder = GraphBuilder("one node")
    with builder.layer(Origin("layer", op, "net.txt", 7)):
        values = []
        for index, operand in enumerate(operands):
            if isinstance(operand, Input):
                operand = builder.input(f"input{index}", operand.shape, operand.dtype)
            elif operand is not None:
                operand = builder.initializer(f"layer.{('weight', 'bias', 'constant')[min(index, 3) - 1]}", operand)
            values.append(operand)
        names = [f"output{index}" for index in range(outputs)]
        results = builder.op(op, values, names, domain=domain, **attributes)
    return Model(builder.build(results), "caffe")


def feeds(operands, seed=1):
    """What to feed a one-node graph."""
    random = np.random.default_rng(seed)
    arrays = {}
    for index, operand in enumerate(operands):
        if isinstance(operand, Input):
            values = operand.values if operand.values is not None else random.standard_normal(operand.shape)
            arrays[f"input{index}"] = np.asarray(values).astype(operand.dtype)
    return arrays


def convert(model: Model, directory: Path, flat: bool = False) -> Artifact:
    """Write ``model`` as the tool does."""
    return writer.write(passes.run(model, writer.PASSES), directory, WriteOptions(flat=flat))


def run(runtime, artifact: Artifact, inputs: dict, names=None) -> dict:
    """Outputs (or the named taps) of the written model by hub name, computed by PyTorch."""
    wanted = {name: artifact.taps[name] for name in (names or artifact.outputs)}
    with_names = {artifact.inputs[name]: array for name, array in inputs.items()}
    found = runtime.open(artifact).run(with_names, list(wanted.values()))
    return {name: found[address] for name, address in wanted.items()}


def assert_close(model: Model, inputs: dict, found: dict, multiple: float = 64) -> None:
    """Every found tensor is the float64 evaluation of the hub graph within float32 noise."""
    expected = reference(model, inputs, list(found), samples=4)
    for name, array in found.items():
        value, noise = expected.values[name], expected.noise[name]
        assert array.shape == value.shape, name
        error = np.abs(array.astype(np.float64) - value)
        assert np.all(error <= multiple * noise + 1e-12), f"{name}: off by {error.max()}, noise {np.max(noise)}"


X = Input(2, 4, 7, 6)
TOKENS = Input(2, 3, dtype="int64", values=[[0, 4, 2], [1, 1, 3]])
MASK = Input(6, dtype="bool", values=[1, 0, 1, 1, 0, 1])
POSITIVE = Input(2, 3, 4, values=np.random.default_rng(5).uniform(0.2, 3, (2, 3, 4)))
LOGICAL = [Input(2, 5, dtype="bool", values=np.arange(10).reshape(2, 5) % k == 0) for k in (2, 3)]
BN = [np.abs(weight(4, seed=1)) + 0.5, weight(4, seed=2), weight(4, seed=3), np.abs(weight(4, seed=4)) + 0.3]
UNIT_BN = [np.ones(4, np.float32), np.zeros(4, np.float32), *BN[2:]]

#: (name, operator, operands, attributes); "outputs" and "domain" among the attributes are the builder's.
CASES = [
    ("conv", "Conv", [X, weight(6, 4, 3, 3), weight(6)], {"pads": [1, 1, 1, 1]}),
    ("conv-uneven", "Conv", [X, weight(6, 4, 3, 2), weight(6)], {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
    ("conv-grouped", "Conv", [X, weight(8, 2, 3, 3)], {"group": 2, "dilations": [2, 1]}),
    ("conv-depthwise", "Conv", [X, weight(4, 1, 3, 3), weight(4)], {"group": 4, "strides": [2, 2]}),
    ("conv1d", "Conv", [Input(2, 3, 9), weight(5, 3, 4), weight(5)], {"pads": [1, 1], "strides": [2]}),
    ("conv3d", "Conv", [Input(1, 2, 5, 6, 4), weight(3, 2, 2, 3, 1)], {"pads": [0, 1, 0, 0, 1, 0]}),
    ("conv-computed-weight", "Conv", [X, Input(6, 4, 3, 3)], {"pads": [1, 1, 1, 1]}),
    ("deconv", "ConvTranspose", [X, weight(4, 3, 4, 4), weight(3)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("deconv-grouped", "ConvTranspose", [X, weight(4, 1, 3, 3)], {"group": 4, "strides": [2, 1], "dilations": [1, 2]}),
    ("deconv-uneven", "ConvTranspose", [X, weight(4, 2, 3, 3)], {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("deconv-extra", "ConvTranspose", [X, weight(4, 2, 3, 3)],
     {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("max-pool", "MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ("max-pool-ceil", "MaxPool", [X], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("max-pool-padded", "MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("max-pool-uneven", "MaxPool", [X], {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [0, 1, 2, 1]}),
    ("max-pool-dilated", "MaxPool", [X], {"kernel_shape": [2, 2], "strides": [1, 1], "dilations": [2, 3]}),
    ("max-pool-positions", "MaxPool", [X], {"kernel_shape": [2, 2], "strides": [2, 2], "outputs": 2}),
    ("average-pool", "AveragePool", [X], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("average-pool-caffe", "AveragePool", [X],
     {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1, "count_include_pad": 1}),
    ("average-pool-exclude", "AveragePool", [X], {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}),
    ("average-pool-uneven", "AveragePool", [X],
     {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [0, 1, 2, 1], "count_include_pad": 1}),
    ("average-pool-ceil", "AveragePool", [Input(1, 2, 7)],
     {"kernel_shape": [4], "strides": [2], "ceil_mode": 1, "count_include_pad": 1}),
    ("global-max", "GlobalMaxPool", [X], {}),
    ("global-average", "GlobalAveragePool", [Input(2, 3, 5)], {}),
    ("gemm", "Gemm", [Input(3, 5), weight(7, 5), weight(7)], {"transB": 1}),
    ("gemm-untransposed", "Gemm", [Input(3, 5), weight(5, 7)], {}),
    ("gemm-scaled", "Gemm", [Input(5, 3), Input(5, 7), Input(3, 7)], {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    ("matmul", "MatMul", [Input(2, 4, 5), weight(5, 3)], {}),
    ("matmul-both", "MatMul", [Input(2, 4, 5), Input(2, 5, 3)], {}),
    ("batch-norm", "BatchNormalization", [X, *BN], {"epsilon": 1e-3}),
    ("batch-norm-plain", "BatchNormalization", [X, *UNIT_BN], {}),
    ("batch-norm-flat", "BatchNormalization", [Input(3, 4), *BN], {"momentum": 0.99}),
    ("lrn", "LRN", [Input(2, 8, 3, 3)], {"size": 5, "alpha": 0.3, "beta": 0.6, "bias": 2.0}),
    ("lrn-even", "LRN", [Input(2, 8, 3, 3)], {"size": 4, "alpha": 0.3}),
    ("instance-norm", "InstanceNormalization", [X, weight(4), weight(4, seed=1)], {}),
    ("layer-norm", "LayerNormalization", [X, weight(7, 6), weight(7, 6, seed=1)], {"axis": 2}),
    ("layer-norm-no-bias", "LayerNormalization", [X, weight(6)], {"epsilon": 1e-3}),
    ("group-norm", "GroupNormalization", [X, weight(4), weight(4, seed=1)], {"num_groups": 2}),
    ("mvn", "MeanVarianceNormalization", [X], {"axes": [0, 2, 3]}),
    ("sub-number", "Sub", [np.float32(2.5), X], {}),
    ("mul-channels", "Mul", [X, weight(4, 1, 1)], {}),
    ("div", "Div", [X, np.float32(0.3)], {}),
    ("add", "Add", [X, Input(4, 1, 1)], {}),
    ("div-integers", "Div", [Input(4, dtype="int64", values=[7, -7, 9, 1]), integers(2)], {}),
    ("sum", "Sum", [X, Input(2, 4, 7, 6), Input(6)], {}),
    ("sum-of-many", "Sum", [Input(2, 3) for _ in range(12)], {}),
    ("min-of-many", "Min", [Input(2, 3) for _ in range(12)], {}),
    ("max", "Max", [X, Input(2, 4, 7, 6), Input(6)], {}),
    ("min-number", "Min", [X, np.float32(0.25)], {}),
    ("pow", "Pow", [POSITIVE, np.float32(-0.75)], {}),
    ("pow-number", "Pow", [np.float32(2.0), X], {}),
    ("fmod", "Mod", [X, np.float32(0.7)], {"fmod": 1}),
    ("mod-integers", "Mod", [Input(4, dtype="int64", values=[7, -7, 9, -1]), integers(4)], {}),
    *[(op.lower(), op, [X], {}) for op in (
        "Relu", "Elu", "Selu", "Sigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Gelu", "Abs", "Neg", "Exp",
        "Floor", "Ceil", "Round", "Sign", "Erf", "Identity", "Softmax", "LogSoftmax", "Dropout", "Transpose",
    )],
    *[(op.lower(), op, [POSITIVE], {}) for op in ("Log", "Sqrt", "Reciprocal")],
    ("leaky-relu", "LeakyRelu", [X], {"alpha": 0.1}),
    ("leaky-relu-negative", "LeakyRelu", [X], {"alpha": -0.3}),
    ("elu-alpha", "Elu", [X], {"alpha": 0.7}),
    ("selu-other", "Selu", [X], {"alpha": 1.5, "gamma": 1.1}),
    ("gelu-tanh", "Gelu", [X], {"approximate": "tanh"}),
    ("hard-sigmoid", "HardSigmoid", [X], {}),
    ("hard-sigmoid-torch", "HardSigmoid", [X], {"alpha": 1 / 6}),
    ("softplus-large", "Softplus", [Input(3, values=[-100, 19.9, 60])], {}),
    ("prelu", "PRelu", [X, weight(4, 1, 1)], {}),
    ("prelu-one", "PRelu", [X, weight(1)], {}),
    ("prelu-elements", "PRelu", [X, weight(4, 7, 6)], {}),
    ("clip", "Clip", [X, np.float32(-0.5), np.float32(0.75)], {}),
    ("clip-relu6", "Clip", [X, np.float32(0), np.float32(6)], {}),
    ("clip-below", "Clip", [X, None, np.float32(0.75)], {}),
    ("softmax-axis", "Softmax", [X], {"axis": 1}),
    ("greater", "Greater", [X, np.float32(0.1)], {}),
    ("less", "Less", [X, Input(6)], {}),
    ("equal", "Equal", [TOKENS, integers(1)], {}),
    ("not", "Not", [LOGICAL[0]], {}),
    ("and", "And", LOGICAL, {}),
    ("or", "Or", LOGICAL, {}),
    ("where", "Where", [LOGICAL[0], Input(2, 5), np.float32(7)], {}),
    ("cast-int", "Cast", [X], {"to": 7}),
    ("cast-float", "Cast", [TOKENS], {"to": 1}),
    ("cast-bool", "Cast", [TOKENS], {"to": 9}),
    ("concat", "Concat", [X, Input(2, 2, 7, 6)], {"axis": 1}),
    ("concat-constant", "Concat", [X, weight(2, 1, 7, 6)], {"axis": 1}),
    ("split", "Split", [X, integers(1, 3)], {"axis": 1, "outputs": 2}),
    ("split-equal", "Split", [X, integers(2, 2)], {"axis": 1, "outputs": 2}),
    ("slice", "Slice", [X, integers(1, 0), integers(3, 9), integers(1, 3)], {}),
    ("slice-steps", "Slice", [X, integers(-6, 5), integers(-1, -100), integers(2, 3), integers(2, -1)], {}),
    ("slice-from-end", "Slice", [X, integers(-3), integers(2**62), integers(-1)], {}),
    ("flatten", "Flatten", [X], {}),
    ("flatten-2", "Flatten", [X], {"axis": 2}),
    ("flatten-0", "Flatten", [X], {"axis": 0}),
    ("flatten-all", "Flatten", [X], {"axis": 4}),
    ("reshape", "Reshape", [X, integers(0, 2, -1, 0)], {}),
    ("reshape-flatten", "Reshape", [X, integers(0, -1)], {}),
    ("reshape-keep", "Reshape", [X, integers(0, 0, -1)], {}),
    ("reshape-fold", "Reshape", [Input(2, 12), integers(0, 3, -1)], {}),
    ("reshape-fixed", "Reshape", [X, integers(8, 42)], {}),
    ("reshape-scalar", "Reshape", [Input(1, 1), np.zeros(0, np.int64)], {}),
    ("transpose", "Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("squeeze", "Squeeze", [Input(2, 1, 3, 1), integers(1, -1)], {}),
    ("squeeze-all", "Squeeze", [Input(2, 1, 3, 1)], {}),
    ("unsqueeze", "Unsqueeze", [Input(2, 3), integers(-1, 1)], {}),
    ("expand", "Expand", [Input(3, 1), integers(2, 1, 4)], {}),
    ("tile", "Tile", [Input(2, 3), integers(2, 3)], {}),
    ("pad", "Pad", [X, integers(0, 1, 0, 2, 0, 0, 1, 3), np.float32(1.5)], {}),
    ("pad-negative", "Pad", [X, integers(0, 0, -1, 2, 0, 0, 1, -2)], {}),
    ("pad-axes", "Pad", [X, integers(1, 2), None, integers(2)], {}),
    ("pad-reflect", "Pad", [X, integers(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "reflect"}),
    ("pad-edge", "Pad", [X, integers(0, 0, 1, 0, 0, 0, 0, 2)], {"mode": "edge"}),
    ("embedding", "Gather", [weight(5, 4), TOKENS], {}),
    ("gather", "Gather", [X, integers(3, -1, 0)], {"axis": 1}),
    ("gather-one", "Gather", [X, np.int64(2)], {"axis": 2}),
    ("gather-one-kept", "Gather", [X, integers(2)], {"axis": 2}),
    ("compress", "Compress", [X, MASK], {"axis": 3}),
    ("compress-flat", "Compress", [Input(2, 3), MASK], {}),
    ("depth-to-space", "DepthToSpace", [Input(2, 8, 3, 2)], {"blocksize": 2}),
    ("depth-to-space-crd", "DepthToSpace", [Input(2, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}),
    ("space-to-depth", "SpaceToDepth", [Input(2, 3, 4, 6)], {"blocksize": 2}),
    *[(f"{op.lower()}-{keep}", op, [Input(2, 3, 4, 5), integers(1, -1)], {"keepdims": keep})
      for keep in (0, 1)
      for op in ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                 "ReduceMax", "ReduceMin", "ReduceProd")],
    ("reduce-all", "ReduceMean", [Input(2, 3)], {"keepdims": 0}),
    ("arg-max", "ArgMax", [X], {"axis": 1, "keepdims": 0}),
    ("arg-min", "ArgMin", [X], {"axis": -1}),
    ("top-k", "TopK", [X, integers(3)], {"axis": 1, "outputs": 2}),
    ("top-k-smallest", "TopK", [X, integers(2)], {"largest": 0, "outputs": 2}),
    ("nearest", "Resize", [X, None, np.array([1, 1, 2, 3], np.float32)],
     {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("nearest-sizes", "Resize", [X, None, None, integers(2, 4, 10, 5)],
     {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("nearest-half-pixel", "Resize", [X, None, None, integers(2, 4, 10, 13)], {"nearest_mode": "round_prefer_ceil"}),
    ("nearest-ceil", "Resize", [X, None, None, integers(2, 4, 10, 13)], {"nearest_mode": "ceil"}),
    ("nearest-aligned", "Resize", [X, None, None, integers(2, 4, 10, 13)],
     {"coordinate_transformation_mode": "align_corners"}),
    *[(f"linear-{mode}", "Resize", [X, None, None, integers(2, 4, 13, 5)],
       {"mode": "linear", "coordinate_transformation_mode": mode})
      for mode in ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel")],
    ("linear-scales", "Resize", [X, None, np.array([1, 1, 2, 1.5], np.float32)], {"mode": "linear"}),
    ("linear-1d", "Resize", [Input(2, 3, 5), None, np.array([1, 1, 2], np.float32)], {"mode": "linear"}),
    ("lstm", "ResettableLSTM",
     [Input(5, 2, 3), Input(5, 2, values=[[0, 0], [1, 1], [1, 0], [1, 1], [0, 1]]), weight(16, 3), weight(16, 4),
      weight(16), Input(2, 16), Input(2, 4), Input(2, 4)], {"domain": HUB_DOMAIN, "outputs": 3}),
    ("lstm-plain", "ResettableLSTM",
     [Input(5, 2, 3), Input(5, 2, values=np.ones((5, 2))), weight(16, 3), weight(16, 4), weight(16)],
     {"domain": HUB_DOMAIN}),
    ("rnn", "ResettableRNN",
     [Input(5, 2, 3), Input(5, 2, values=[[0, 0], [1, 1], [1, 0], [1, 1], [0, 1]]), weight(4, 3), weight(4, 4),
      weight(4), None, Input(2, 4)], {"domain": HUB_DOMAIN, "outputs": 2}),
]  # fmt: skip
