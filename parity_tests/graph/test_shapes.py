"""Shapes for other sizes of the inputs, and whether axis 0 is a batch."""

import numpy as np
import pytest

from converter.graph.builder import GraphBuilder
from converter.graph.model import Model, Origin, shape_of
from converter.graph.shapes import batch_is_free, infer_shapes


def classifier(flatten=(0, -1)):
    """conv, pool, a reshape to ``flatten``, fully connected on 2 x 4 x 4 features."""
    builder = GraphBuilder("classifier")
    x = builder.input("data", (1, 3, 8, 8))
    with builder.layer(Origin("conv1", "Convolution", "deploy.prototxt", 10)):
        y = builder.op(
            "Conv", [x, builder.initializer("conv1.weight", np.ones((2, 3, 3, 3), np.float32))], "conv1", pads=[1] * 4
        )
    y = builder.op("MaxPool", [y], "pool1", kernel_shape=[2, 2], strides=[2, 2])
    with builder.layer(Origin("fc", "InnerProduct", "deploy.prototxt", 20)):
        y = builder.op("Reshape", [y, builder.constant(flatten)], "flat")
        y = builder.op("Gemm", [y, builder.initializer("fc.weight", np.ones((5, 32), np.float32))], "fc", transB=1)
    return Model(builder.build([y]), "caffe")


def test_another_batch():
    model = classifier()
    shapes = infer_shapes(model, {"data": (7, 3, 8, 8)})
    assert shapes == {
        "data": (7, 3, 8, 8),
        "conv1": (7, 2, 8, 8),
        "pool1": (7, 2, 4, 4),
        "flat": (7, 32),
        "fc": (7, 5),
    }
    assert shape_of(model.graph.outputs[0]) == (1, 5)


def test_inputs_left_out_keep_their_declared_shape():
    assert infer_shapes(classifier(), {})["fc"] == (1, 5)


def test_what_does_not_fit_is_named_with_file_and_line():
    with pytest.raises(ValueError, match=r'deploy.prototxt:20: layer "fc" \(InnerProduct\): .*50'):
        infer_shapes(classifier(), {"data": (1, 3, 10, 10)})
    with pytest.raises(ValueError, match=r'deploy.prototxt:10: layer "conv1".*4 channels'):
        infer_shapes(classifier(), {"data": (1, 4, 8, 8)})


def test_an_unknown_input_is_named():
    with pytest.raises(ValueError, match="no input image, only data"):
        infer_shapes(classifier(), {"image": (1, 3, 8, 8)})


def test_a_batch_is_free_unless_something_fixes_it():
    assert batch_is_free(classifier())
    assert not batch_is_free(classifier(flatten=(1, 32)))
    assert not batch_is_free(summed())


def summed():
    """A net that adds up its batch."""
    builder = GraphBuilder("sum")
    x = builder.input("data", (4, 3))
    return Model(builder.build([builder.op("ReduceSum", [x, builder.constant([0])], "sum")]), "caffe")


def test_a_batch_is_not_free_where_an_output_is_a_constant():
    builder = GraphBuilder("priors")
    x = builder.input("data", (1, 3))
    y = builder.op("Relu", [x], "y")
    priors = builder.initializer("priors", np.zeros((1, 2, 8), np.float32))
    assert not batch_is_free(Model(builder.build([y, priors]), "caffe"))
