"""Measure how far real float32 arithmetic is from float64, in units of what ``Op.rounding`` predicts.

    python tools/measure_noise.py

prints a Markdown table (the one of converter/graph/README.md): a row for each operator and size, and for each runtime
(ONNX Runtime where it is installed, and the hub's own evaluation with numpy in float32) the root mean square and the
99.9 % quantile of (float32 - float64) / rounding over the elements that round at all. A good model has an RMS between
0.1 and 4: below, the noise is overstated, above, a right conversion could be refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from converter.graph import ops  # noqa: E402
from converter.graph.builder import GraphBuilder  # noqa: E402

Arrays = Sequence[np.ndarray | None]


class Case(NamedTuple):
    """One operator on the arrays that ``inputs(normal)`` makes; ``normal(*shape)`` draws standard normal numbers."""

    label: str
    op: str
    inputs: Callable[[Callable[..., np.ndarray]], list[Any]]
    attributes: dict[str, Any] = {}  # noqa: RUF012


def _conv(channels: int, size: int, kernel: int, group: int = 1) -> Callable[..., list[Any]]:
    """Rectified input, as it is behind a ReLU, and weights that keep its variance."""

    def inputs(normal: Callable[..., np.ndarray]) -> list[Any]:
        weight = normal(channels, channels // group, kernel, kernel) / np.sqrt(channels // group * kernel**2)
        return [np.maximum(normal(1, channels, size, size), 0), weight, normal(channels)]

    return inputs


def _channels(normal: Callable[..., np.ndarray], level: float) -> list[Any]:
    """Input, scale, bias, mean, variance of a BatchNormalization over 32 channels at a mean of ``level``."""
    x = normal(2, 32, 28, 28) + level
    return [x, normal(32), normal(32), normal(32) + level, np.abs(normal(32)) + 0.1]


CASES = [
    Case("Conv 3x3, 16 channels", "Conv", _conv(16, 28, 3), {"pads": [1, 1, 1, 1]}),
    Case("Conv 3x3, 256 channels", "Conv", _conv(256, 14, 3), {"pads": [1, 1, 1, 1]}),
    Case("Conv 1x1, 512 channels", "Conv", _conv(512, 14, 1)),
    Case("Conv 3x3 depthwise", "Conv", _conv(64, 28, 3, 64), {"group": 64, "pads": [1, 1, 1, 1]}),
    Case("ConvTranspose 4x4 stride 2", "ConvTranspose", _conv(32, 14, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("Gemm 64", "Gemm", lambda n: [n(16, 64), n(100, 64), n(100)], {"transB": 1}),
    Case("Gemm 9216", "Gemm", lambda n: [np.maximum(n(4, 9216), 0), n(256, 9216) / 96, n(256)], {"transB": 1}),
    Case("MatMul 256", "MatMul", lambda n: [n(2, 32, 256), n(256, 64)]),
    Case("AveragePool 3x3", "AveragePool", lambda n: [n(1, 64, 28, 28)], {"kernel_shape": [3, 3]}),
    Case("GlobalAveragePool 7x7", "GlobalAveragePool", lambda n: [np.maximum(n(1, 2048, 7, 7), 0)]),
    Case("GlobalAveragePool 56x56", "GlobalAveragePool", lambda n: [n(4, 256, 56, 56)]),
    Case("LRN 5", "LRN", lambda n: [10 * n(1, 64, 27, 27)], {"size": 5, "alpha": 1e-2, "beta": 0.75, "bias": 1.0}),
    Case("BatchNormalization", "BatchNormalization", lambda n: _channels(n, 0.0)),
    Case("BatchNormalization, mean 100", "BatchNormalization", lambda n: _channels(n, 100.0)),
    Case("InstanceNormalization", "InstanceNormalization", lambda n: [n(2, 32, 28, 28), n(32), n(32)]),
    Case("InstanceNormalization, mean 10", "InstanceNormalization", lambda n: [n(2, 32, 28, 28) + 10, n(32), n(32)]),
    Case("LayerNormalization 256", "LayerNormalization", lambda n: [n(8, 32, 256), n(256), n(256)]),
    Case("LayerNormalization 256, mean 10", "LayerNormalization", lambda n: [n(8, 32, 256) + 10, n(256), n(256)]),
    Case("GroupNormalization", "GroupNormalization", lambda n: [n(2, 32, 28, 28), n(32), n(32)], {"num_groups": 8}),
    Case("MeanVarianceNormalization", "MeanVarianceNormalization", lambda n: [n(2, 32, 28, 28)], {"axes": [2, 3]}),
    Case("Add", "Add", lambda n: [n(64, 256), n(64, 256)]),
    Case("Mul", "Mul", lambda n: [n(64, 256), n(256)]),
    Case("Div", "Div", lambda n: [n(64, 256), n(64, 256)]),
    Case("Pow", "Pow", lambda n: [np.abs(n(64, 256)) * 10, n(64, 256) * 3]),
    Case("Sum of 5", "Sum", lambda n: [n(64, 256) for _ in range(5)]),
    Case("Exp", "Exp", lambda n: [10 * n(64, 256)]),
    Case("Log", "Log", lambda n: [np.abs(n(64, 256))]),
    Case("Sqrt", "Sqrt", lambda n: [np.abs(n(64, 256))]),
    Case("Reciprocal", "Reciprocal", lambda n: [n(64, 256)]),
    Case("LeakyRelu", "LeakyRelu", lambda n: [n(64, 256)], {"alpha": 0.1}),
    Case("PRelu", "PRelu", lambda n: [n(2, 64, 16, 16), n(64, 1, 1)]),
    Case("Elu", "Elu", lambda n: [n(64, 256)]),
    Case("Selu", "Selu", lambda n: [n(64, 256)]),
    Case("Sigmoid", "Sigmoid", lambda n: [5 * n(64, 256)]),
    Case("Tanh", "Tanh", lambda n: [2 * n(64, 256)]),
    Case("HardSigmoid", "HardSigmoid", lambda n: [n(64, 256)]),
    Case("HardSwish", "HardSwish", lambda n: [n(64, 256)]),
    Case("Softplus", "Softplus", lambda n: [5 * n(64, 256)]),
    Case("Softsign", "Softsign", lambda n: [n(64, 256)]),
    Case("Gelu", "Gelu", lambda n: [2 * n(64, 256)]),
    Case("Gelu, tanh", "Gelu", lambda n: [2 * n(64, 256)], {"approximate": "tanh"}),
    Case("Erf", "Erf", lambda n: [n(64, 256)]),
    Case("Softmax 10", "Softmax", lambda n: [5 * n(512, 10)]),
    Case("Softmax 1000", "Softmax", lambda n: [5 * n(64, 1000)]),
    Case("LogSoftmax 1000", "LogSoftmax", lambda n: [5 * n(64, 1000)]),
    Case("ReduceSum 784", "ReduceSum", lambda n: [n(512, 784), np.array([1])]),
    Case("ReduceMean 784", "ReduceMean", lambda n: [np.maximum(n(512, 784), 0), np.array([1])]),
    Case("ReduceMean over rows", "ReduceMean", lambda n: [np.maximum(n(2, 784, 512), 0), np.array([1])]),
    Case("ReduceL1 64", "ReduceL1", lambda n: [n(512, 64), np.array([1])]),
    Case("ReduceL2 64", "ReduceL2", lambda n: [n(512, 64), np.array([1])]),
    Case("ReduceSumSquare 64", "ReduceSumSquare", lambda n: [n(512, 64), np.array([1])]),
    Case("ReduceProd 16", "ReduceProd", lambda n: [n(512, 16), np.array([1])]),
    Case(
        "Resize linear, half_pixel",
        "Resize",
        lambda n: [n(1, 16, 30, 30), None, None, np.array([1, 16, 71, 47])],
        {"mode": "linear"},
    ),
    Case(
        "Resize linear, align_corners",
        "Resize",
        lambda n: [n(1, 16, 30, 30), None, None, np.array([1, 16, 71, 47])],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
]


def arrays_of(case: Case, seed: int = 0) -> list[np.ndarray | None]:
    """The inputs of a case, floating ones in float32."""
    random = np.random.default_rng(seed)
    made = case.inputs(lambda *shape: random.standard_normal(shape))
    return [array.astype(np.float32) if array is not None and array.dtype == np.float64 else array for array in made]


def one_node(op: str, arrays: Arrays, attributes: dict[str, Any], outputs: int = 1, domain: str = "") -> ir.Model:
    """A hub graph of one operator: the first array is its input "x", the others initializers; outputs "y0", "y1"."""
    builder = GraphBuilder(op)
    operands = [builder.input("x", arrays[0].shape, arrays[0].dtype.name)]
    operands += [None if a is None else builder.initializer(f"w{i}", a) for i, a in enumerate(arrays[1:])]
    results = builder.op(op, operands, [f"y{index}" for index in range(outputs)], domain=domain, **attributes)
    return builder.build(results)


def run_onnxruntime(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    """All outputs of a graph with the one input "x", by ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


def double(arrays: Arrays) -> list[np.ndarray | None]:
    """Floating arrays in float64, others as they are."""
    return [a.astype(np.float64) if a is not None and a.dtype == np.float32 else a for a in arrays]


def ratios(case: Case, measured: np.ndarray, arrays: Arrays) -> np.ndarray:
    """(measured - float64) / rounding of the elements that round; exact elements that differ count as infinite."""
    operator = ops.find(case.op)
    expected = operator.evaluate(case.attributes, double(arrays))
    error = (measured - expected[0]).ravel()
    rounding = operator.rounding(case.attributes, double(arrays), expected)[0]
    rounding = np.broadcast_to(rounding, expected[0].shape).ravel()
    rounds = rounding > 2 * 2.0**-150
    return np.concatenate(
        [error[rounds] / rounding[rounds], np.inf * error[~rounds][np.abs(error[~rounds]) > 2.0**-149]]
    )


def by_onnxruntime(case: Case, arrays: Arrays) -> np.ndarray:
    return run_onnxruntime(one_node(case.op, arrays, case.attributes), arrays[0])[0]


def by_numpy(case: Case, arrays: Arrays) -> np.ndarray:
    return ops.find(case.op).evaluate(case.attributes, arrays)[0]


def main() -> None:
    print("| operator | ONNX Runtime: RMS | 99.9 % | numpy float32: RMS | 99.9 % |\n|---|---|---|---|---|")
    for case in CASES:
        arrays, cells = arrays_of(case), []
        for run in (by_onnxruntime, by_numpy):
            try:
                ratio = ratios(case, run(case, arrays), arrays)
            except ImportError:
                cells += ["-", "-"]
                continue
            cells += [f"{np.sqrt(np.mean(np.square(ratio))):.2f}", f"{np.quantile(np.abs(ratio), 0.999):.2f}"]
        print(f"| {case.label} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
