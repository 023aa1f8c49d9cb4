"""Each pass changes what it says and nothing of what the graph computes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.graph import passes
from converter.graph.builder import GraphBuilder
from converter.graph.evaluate import evaluate
from converter.graph.model import Model, Origin
from converter.graph.passes.eliminate_identity import EliminateIdentity
from converter.graph.passes.fold_constants import FoldConstants
from converter.graph.passes.fuse_batchnorm_affine import FuseBatchNormAffine
from converter.graph.passes.remove_unused import RemoveUnused

EVERY = (FuseBatchNormAffine, EliminateIdentity, FoldConstants, RemoveUnused)


def values(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 2, shape).astype(np.float32)


class Graph(GraphBuilder):
    """A builder whose layers are one line each."""

    def __init__(self, *shape):
        super().__init__("net")
        self.x = self.input("data", shape or (2, 3, 4, 4))

    def add(self, op, operands, name=None, layer=None, type=None, **attributes):
        with self.layer(Origin(layer or name or op, type or op, "net.txt", 5)):
            return self.op(op, operands, name, **attributes)

    def norm(self, x, name="bn", scale=1.0, bias=0.0):
        channels = x.shape[1]
        constants = [
            self.initializer(f"{name}.{part}", array)
            for part, array in (
                ("weight", np.full(channels, scale, np.float32)),
                ("bias", np.full(channels, bias, np.float32)),
                ("running_mean", values(channels, seed=1)),
                ("running_var", values(channels, seed=2)),
            )
        ]
        return self.add("BatchNormalization", [x, *constants], name, type="BatchNorm")

    def model(self, *outputs):
        return Model(self.build(list(outputs)), "caffe")


def kinds(model):
    return [node.op_type for node in model.graph]


def assert_same(before: Model, after: Model, exactly=True):
    """Outputs and every value that survived are what they were."""
    inputs = {name: values(*shape, seed=9) for name, shape in before.input_shapes().items()}
    old, new = evaluate(before, inputs, "all"), evaluate(after, inputs, "all")
    assert [value.name for value in before.graph.outputs] == [value.name for value in after.graph.outputs]
    for name in set(old) & set(new):
        if exactly:
            np.testing.assert_array_equal(new[name], old[name], name)
        else:
            np.testing.assert_allclose(new[name], old[name], rtol=1e-6)


def caffe_norm(scale_shape=(3, 1, 1), both=True):
    graph = Graph()
    x = graph.norm(graph.x)
    with graph.layer(Origin("scale", "Scale", "net.txt", 9)):
        x = graph.op("Mul", [x, graph.initializer("scale.weight", values(*scale_shape))], None if both else "scale")
        if both:
            x = graph.op("Add", [graph.initializer("scale.bias", values(*scale_shape, seed=3)), x], "scale")
    return graph.model(graph.add("Relu", [x], "relu"))


@pytest.mark.parametrize("both", [True, False], ids=["scale-and-bias", "scale"])
def test_batch_norm_takes_in_its_scale(both):
    model = caffe_norm(both=both)
    fused = passes.run(model, [FuseBatchNormAffine])
    assert kinds(fused) == ["BatchNormalization", "Relu"]
    node = fused.graph[0]
    assert node.outputs[0].name == "scale", "the last value's name survives"
    assert node.metadata_props["converter.layer"] == "bn + scale" and Origin.of(node).line == 5
    assert Origin.of(node).type == "BatchNorm + Scale"
    assert sorted(fused.graph.initializers) == ["bn.bias", "bn.running_mean", "bn.running_var", "bn.weight"]
    assert_same(model, fused, exactly=False)


def test_weights_are_shared_with_the_original_graph():
    model = caffe_norm()
    fused = passes.run(model, [FuseBatchNormAffine])
    assert kinds(model) == ["BatchNormalization", "Mul", "Add", "Relu"], "the original stays as it was"
    mean = "bn.running_mean"
    assert fused.graph.initializers[mean].const_value is model.graph.initializers[mean].const_value
    scale, original = fused.graph.initializers["bn.weight"], model.graph.initializers["scale.weight"]
    assert np.shares_memory(scale.const_value.numpy(), original.const_value.numpy())


@pytest.mark.parametrize("shape", [(1,), (4, 4), (1, 4), (2, 3, 1, 1)], ids=str)
def test_a_scale_that_is_not_per_channel_stays(shape):
    model = caffe_norm(shape)
    assert kinds(passes.run(model, [FuseBatchNormAffine])) == kinds(model)


def test_a_batch_norm_with_a_scale_of_its_own_stays():
    graph = Graph()
    x = graph.norm(graph.x, scale=2.0)
    model = graph.model(graph.add("Mul", [x, graph.initializer("w", values(3, 1, 1))], "out"))
    assert kinds(passes.run(model, [FuseBatchNormAffine])) == ["BatchNormalization", "Mul"]


def test_a_normalised_value_that_others_need_stays():
    graph = Graph()
    normal = graph.norm(graph.x)
    scaled = graph.add("Mul", [normal, graph.initializer("w", values(3, 1, 1))], "scaled")
    used_twice = graph.model(graph.add("Add", [scaled, normal], "sum"))
    assert kinds(passes.run(used_twice, [FuseBatchNormAffine])) == ["BatchNormalization", "Mul", "Add"]
    graph = Graph()
    normal = graph.norm(graph.x)
    output = graph.model(graph.add("Mul", [normal, graph.initializer("w", values(3, 1, 1))], "scaled"), normal)
    assert kinds(passes.run(output, [FuseBatchNormAffine])) == ["BatchNormalization", "Mul"]


def test_constants_shared_by_two_norms_are_kept_for_both():
    graph = Graph()
    ones, zeros = graph.initializer("ones", np.ones(3, "f4")), graph.initializer("zeros", np.zeros(3, "f4"))
    scale = graph.initializer("scale", values(3, 1, 1))
    x = graph.x
    for name in "ab":
        stats = [graph.initializer(f"{name}.{part}", values(3, seed=ord(name))) for part in ("mean", "var")]
        x = graph.add("BatchNormalization", [x, ones, zeros, *stats], f"{name}.bn")
        x = graph.add("Mul", [x, scale], f"{name}.scale")
    model = graph.model(x)
    fused = passes.run(model, [FuseBatchNormAffine, RemoveUnused])
    assert kinds(fused) == ["BatchNormalization"] * 2
    assert_same(model, fused, exactly=False)


def test_identities_and_idle_reshapes_go():
    graph = Graph(2, 12)
    x = graph.add("Identity", [graph.x], "split_0")
    x = graph.add("Flatten", [x], "flat")
    x = graph.add("Relu", [x], "relu")
    model = graph.model(graph.add("Tanh", [graph.add("Reshape", [x, graph.constant([0, -1])], "same")], "tanh"))
    after = passes.run(model, [EliminateIdentity])
    assert kinds(after) == ["Relu", "Tanh"]
    assert after.graph[0].outputs[0].name == "relu"
    assert_same(model, after)


def test_a_private_value_takes_the_name_of_its_copy():
    graph = Graph()
    hidden = graph.add("Relu", [graph.x], None, layer="act")
    model = graph.model(graph.add("Identity", [hidden], "out"))
    after = passes.run(model, [EliminateIdentity])
    assert kinds(after) == ["Relu"]
    value = after.graph.outputs[0]
    assert value.name == "out" and "converter.private" not in value.metadata_props
    assert_same(model, after)


def test_an_output_that_is_a_copy_of_a_named_value_keeps_both_names():
    graph = Graph()
    relu = graph.add("Relu", [graph.x], "relu")
    model = graph.model(graph.add("Identity", [relu], "out"), graph.add("Identity", [graph.x], "input_again"))
    after = passes.run(model, [EliminateIdentity])
    assert kinds(after) == ["Relu", "Identity", "Identity"]
    assert_same(model, after)


def test_constants_are_computed_once_in_double_precision():
    graph = Graph()
    third = graph.add("Div", [graph.constant(1.0, "float32"), graph.constant([3.0] * 4, "float32")], "third")
    shape = graph.add("Concat", [graph.constant([0]), graph.constant([-1])], "shape", axis=0)
    model = graph.model(graph.add("Mul", [graph.x, third], "out"), graph.add("Identity", [third], "constant_output"))
    after = passes.run(model, [FoldConstants])
    assert kinds(after) == ["Mul", "Identity"]
    folded = after.graph.initializers["third"].const_value.numpy()
    assert folded.dtype == np.float32 and folded[0] == np.float32(1 / 3)
    assert shape.name not in [value.name for node in after.graph for value in node.outputs]
    assert_same(model, after, exactly=False)


def test_large_constants_stay_computed():
    graph = Graph()
    big = graph.add("Tile", [graph.constant([[1.0]], "float32"), graph.constant([1 << 11, 1 << 10])], "big")
    model = graph.model(graph.add("ReduceSum", [big], "sum"), graph.add("Relu", [graph.x], "relu"))
    assert "Tile" in kinds(passes.run(model, [FoldConstants]))


def test_whatever_no_output_needs_goes():
    graph = Graph()
    relu = graph.add("Relu", [graph.x], "relu")
    graph.add("Tanh", [graph.add("Mul", [relu, graph.initializer("unused", values(3, 1, 1))], "mul")], "tanh")
    model = graph.model(relu)
    after = passes.run(model, [RemoveUnused])
    assert kinds(after) == ["Relu"] and not after.graph.initializers
    assert_same(model, after)


def test_preconditions_are_checked():
    node = ir.node("Relu", [ir.Value(name="x")], outputs=[ir.Value(name="y")])
    graph = ir.Graph(node.inputs, node.outputs, nodes=[node], opset_imports={"": 21}, name="shapeless")
    with pytest.raises(ir.passes.PreconditionError, match="y has no static shape"):
        passes.run(Model(ir.Model(graph, ir_version=10), "caffe"), [FoldConstants])


@st.composite
def graphs(draw):
    """Graphs full of what the passes look for, in any order and wiring."""
    graph = Graph(2, 3, 2, 2)
    made = [graph.x]
    for number in range(draw(st.integers(1, 12))):
        x = made[-1 - draw(st.integers(0, min(2, len(made) - 1)))]
        name = draw(st.sampled_from([None, f"value{number}"]))
        op = draw(st.sampled_from(["norm", "Mul", "Add", "Identity", "Reshape", "Relu", "constant", "both"]))
        if op == "norm":
            x = graph.norm(x, f"bn{number}", draw(st.sampled_from([1.0, 2.0])))
        elif op in ("Mul", "Add"):
            constant = graph.initializer(f"w{number}", values(*draw(st.sampled_from([(3, 1, 1), (1,), (2, 2)]))))
            x = graph.add(op, draw(st.permutations([x, constant])), name, layer=f"layer{number}")
        elif op == "Reshape":
            x = graph.add(op, [x, graph.constant([0, 0, 2, 2])], name, layer=f"layer{number}")
        elif op == "constant":
            first = graph.constant(draw(st.sampled_from([0.5, 2.0])), "float32")
            x = graph.add("Mul", [x, graph.add("Add", [first, first], None)], name, layer=f"layer{number}")
        elif op == "both":
            x = graph.add("Add", [x, made[-1]], name, layer=f"layer{number}")
        else:
            x = graph.add(op, [x], name, layer=f"layer{number}")
        made.append(x)
    outputs = [made[-1]] + [x for x in made[1:-1] if draw(st.integers(0, 4)) == 0]
    return graph.model(*{id(x): x for x in outputs}.values())


@settings(deadline=None)
@given(graphs(), st.permutations(EVERY))
def test_any_graph_in_any_order(model, order):
    after = passes.run(model, order)
    assert_same(model, after, exactly=False)
    for kind in order:
        again = passes.run(after, [kind])
        assert kinds(again) == kinds(passes.run(again, [kind]))
