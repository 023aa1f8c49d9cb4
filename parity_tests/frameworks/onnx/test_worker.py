"""Real ONNX Runtime, in a process of its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
from runtimes import needs_runtime

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("onnx")


@pytest.fixture(scope="module")
def onnx():
    with environments.open_runtime("onnx") as runtime:
        yield runtime


@pytest.fixture
def model(tmp_path):
    """Makes the model relu(x * weight) + weight; ``data`` names a file for its weights."""

    def make(data: str | None = None, **options) -> SimpleNamespace:
        x = ir.val("x", ir.DataType.FLOAT, ["N", 1000])
        weight = ir.val("weight", const_value=ir.tensor(np.arange(1000, dtype=np.float32) - 500, name="weight"))
        product = ir.node("Mul", [x, weight])
        product.outputs[0].name = "product"
        positive = ir.node("Relu", product.outputs)
        positive.outputs[0].name = "positive"
        total = ir.node("Add", [positive.outputs[0], weight])
        total.outputs[0].name = "total"
        total.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        graph = ir.Graph(
            [x],
            total.outputs,
            nodes=[product, positive, total],
            initializers=[weight],
            opset_imports={"": 20},
            name="g",
        )
        file = tmp_path / "model.onnx"
        ir.save(ir.Model(graph, ir_version=9), file, external_data=data, size_threshold_bytes=0)
        return SimpleNamespace(framework="onnx", files={"model": file}, options=options)

    return make


WEIGHT = np.arange(1000, dtype=np.float32) - 500
X = np.linspace(-1, 1, 2000).reshape(2, 1000)


@pytest.mark.parametrize("data", [None, "model.onnx.data"], ids=["weights inside", "weights outside"])
@pytest.mark.parametrize("optimisation", ["none", "basic", "all"])
def test_every_value_is_given(onnx, model, data, optimisation, tmp_path):
    with onnx.open(model(data, optimisation=optimisation, threads=1)) as session:
        assert session.names == (("x",), ("total",), ("product", "positive"))
        found = session.run({"x": X}, "all")
        alone = session.run({"x": X[:1]})
    expected = X.astype(np.float32) * WEIGHT
    np.testing.assert_array_equal(found["product"], expected)
    np.testing.assert_array_equal(found["positive"], np.maximum(expected, 0))
    np.testing.assert_array_equal(found["total"], np.maximum(expected, 0) + WEIGHT)
    np.testing.assert_array_equal(alone["total"], found["total"][:1])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(filter(None, ["model.onnx", data]))


def test_a_damaged_model_is_an_error_and_the_runtime_goes_on(onnx, model):
    broken = model()
    broken.files["model"].write_bytes(broken.files["model"].read_bytes()[:300])
    with pytest.raises(WorkerFailed, match="(?i)parsing|protobuf|invalid"):
        onnx.open(broken)
    assert onnx.open(model()).run({"x": X})["total"].shape == (2, 1000)


def test_it_says_its_versions(onnx):
    assert {"onnxruntime", "onnx", "numpy"} <= onnx.versions().keys()
