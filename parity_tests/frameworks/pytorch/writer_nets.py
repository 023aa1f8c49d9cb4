"""Hub graphs of nets with repeated parts, named as the public Caffe files name them, small enough to run at once."""

from __future__ import annotations

import numpy as np

from converter.graph.builder import GraphBuilder
from converter.graph.model import Model, Origin


class Net:
    """Layers by their Caffe types on top of a GraphBuilder; weights are random and keep activations near one."""

    def __init__(self, name, shape, seed=0):
        self.builder = GraphBuilder(name)
        self.random = np.random.default_rng(seed)
        self.data = self.builder.input("data", shape)

    def layer(self, name, kind):
        return self.builder.layer(Origin(name, kind, "deploy.prototxt", 1))

    def parameter(self, name, *shape, scale=None, shift=0.0):
        scale = (2 / max(1, np.prod(shape[1:]))) ** 0.5 if scale is None else scale
        array = self.random.standard_normal(shape) * scale + shift
        return self.builder.initializer(name, array.astype(np.float32))

    def conv(self, name, x, filters, kernel=1, stride=1, group=1, bias=True):
        operands = [x, self.parameter(f"{name}.weight", filters, x.shape[1] // group, kernel, kernel)]
        if bias:
            operands.append(self.parameter(f"{name}.bias", filters, scale=0.1))
        with self.layer(name, "Convolution"):
            pad = kernel // 2
            return self.builder.op("Conv", operands, name, strides=[stride] * 2, pads=[pad] * 4, group=group)

    def norm(self, name, scale, x):
        """BatchNorm and, if ``scale`` names it, Scale, as Caffe has them."""
        channels = x.shape[1]
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        with self.layer(name, "BatchNorm"):
            operands = [
                x, self.builder.initializer(f"{name}.weight", ones), self.builder.initializer(f"{name}.bias", zeros),
                self.parameter(f"{name}.running_mean", channels, scale=0.1),
                self.builder.initializer(f"{name}.running_var", self.random.uniform(0.5, 1.5, channels).astype("f4")),
            ]  # fmt: skip
            x = self.builder.op("BatchNormalization", operands, name)
        if scale:
            with self.layer(scale, "Scale"):
                x = self.builder.op("Mul", [x, self.parameter(f"{scale}.weight", channels, 1, 1, scale=0.1, shift=1)])
                x = self.builder.op("Add", [x, self.parameter(f"{scale}.bias", channels, 1, 1, scale=0.1)], scale)
        return x

    def op(self, name, kind, operands, op, **attributes):
        with self.layer(name, kind):
            return self.builder.op(op, operands, name, **attributes)

    def relu(self, name, x):
        return self.op(name, "ReLU", [x], "Relu")

    def add(self, name, a, b):
        return self.op(name, "Eltwise", [a, b], "Add")

    def concat(self, name, *parts):
        return self.op(name, "Concat", list(parts), "Concat", axis=1)

    def pool(self, name, x):
        return self.op(name, "Pooling", [x], "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)

    def classifier(self, name, x, classes=4):
        x = self.op("pool_last", "Pooling", [x], "GlobalAveragePool")
        with self.layer(name, "InnerProduct"):
            x = self.builder.op("Flatten", [x])
            weight = self.parameter(f"{name}.weight", classes, x.shape[1])
            x = self.builder.op("Gemm", [x, weight, self.parameter(f"{name}.bias", classes)], name, transB=1)
        return self.op("prob", "Softmax", [x], "Softmax", axis=1)

    def build(self, *outputs) -> Model:
        return Model(self.builder.build(list(outputs)), "caffe")


def smile():
    """Two convolutions and a classifier: the example of what is written (model_smile.py)."""
    net = Net("smile", (1, 3, 20, 20))
    x = net.data
    for number in (1, 2):
        x = net.conv(f"conv{number}", x, 4 * number, 3)
        x = net.norm(f"bn{number}", f"scale{number}", x)
        x = net.pool(f"pool{number}", net.relu(f"relu{number}", x))
    x = net.op("drop", "Dropout", [x], "Dropout")
    return net.build(net.classifier("fc", x))


def resnet():
    """Names of ResNet-50's published prototxt."""
    net = Net("ResNet-50", (1, 3, 32, 32))
    x = net.relu("conv1_relu", net.norm("bn_conv1", "scale_conv1", net.conv("conv1", net.data, 8, 3, 2)))
    for stage, channels in (("2", 4), ("3", 8)):
        for block in "abc":
            name, entry = f"{stage}{block}", x
            stride = 2 if (stage, block) == ("3", "a") else 1
            if block == "a":
                entry = net.conv(f"res{name}_branch1", x, 4 * channels, 1, stride, bias=False)
                entry = net.norm(f"bn{name}_branch1", f"scale{name}_branch1", entry)
            for part, (filters, kernel) in zip("abc", ((channels, 1), (channels, 3), (4 * channels, 1)), strict=True):
                layer = f"{name}_branch2{part}"
                x = net.conv(f"res{layer}", x, filters, kernel, stride if part == "a" else 1, bias=False)
                x = net.norm(f"bn{layer}", f"scale{layer}", x)
                if part != "c":
                    x = net.relu(f"res{layer}_relu", x)
            x = net.relu(f"res{name}_relu", net.add(f"res{name}", entry, x))
    return net.build(net.classifier("fc1000", x))


def googlenet():
    """Names of GoogLeNet's published prototxt."""
    net = Net("GoogleNet", (1, 3, 24, 24))
    x = net.relu("conv1/relu_7x7", net.conv("conv1/7x7_s2", net.data, 8, 7, 2))
    for name, sizes in (("3a", (4, 3, 6, 2, 4, 4)), ("3b", (8, 4, 8, 2, 4, 4)), ("4a", (8, 4, 8, 2, 6, 4))):
        i = f"inception_{name}"
        branches = [net.relu(f"{i}/relu_1x1", net.conv(f"{i}/1x1", x, sizes[0]))]
        for kernel, reduced, filters in (("3x3", sizes[1], sizes[2]), ("5x5", sizes[3], sizes[4])):
            y = net.relu(f"{i}/relu_{kernel}_reduce", net.conv(f"{i}/{kernel}_reduce", x, reduced))
            branches.append(net.relu(f"{i}/relu_{kernel}", net.conv(f"{i}/{kernel}", y, filters, int(kernel[0]))))
        y = net.op(f"{i}/pool", "Pooling", [x], "MaxPool", kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
        branches.append(net.relu(f"{i}/relu_pool_proj", net.conv(f"{i}/pool_proj", y, sizes[5])))
        x = net.concat(f"{i}/output", *branches)
        if name == "3b":
            x = net.pool("pool3/3x3_s2", x)
    return net.build(net.classifier("loss3/classifier", x))


def mobilenet():
    """Names of MobileNet's published prototxt."""
    net = Net("MOBILENET", (1, 3, 32, 32))
    x = net.relu("relu1", net.norm("conv1/bn", "conv1/scale", net.conv("conv1", net.data, 8, 3, 2, bias=False)))
    for name, filters, stride in (("2_1", 8, 1), ("2_2", 12, 2), ("3_1", 12, 1), ("3_2", 16, 2), ("4_1", 16, 1)):
        for kind, size, kernel in (("dw", x.shape[1], 3), ("sep", filters, 1)):
            layer, group = f"conv{name}/{kind}", size if kind == "dw" else 1
            x = net.conv(layer, x, size, kernel, stride if kind == "dw" else 1, group, bias=False)
            x = net.relu(f"relu{name}/{kind}", net.norm(f"{layer}/bn", f"{layer}/scale", x))
    return net.build(net.classifier("fc7", x))


def densenet():
    """Names of DenseNet-121's published prototxt."""
    net = Net("DenseNet", (1, 3, 16, 16))
    x = net.conv("conv1", net.data, 8, 3)
    for name in ("2_1", "2_2", "2_3", "3_1", "3_2"):
        y = net.relu(f"relu{name}/x1", net.norm(f"conv{name}/x1/bn", f"conv{name}/x1/scale", x))
        y = net.conv(f"conv{name}/x1", y, 8, bias=False)
        y = net.relu(f"relu{name}/x2", net.norm(f"conv{name}/x2/bn", f"conv{name}/x2/scale", y))
        x = net.concat(f"concat_{name}", x, net.conv(f"conv{name}/x2", y, 4, 3, bias=False))
        if name == "2_3":
            x = net.pool("pool2", net.conv("conv2_blk", x, 10))
    return net.build(net.classifier("fc6", x))


def squeezenet():
    """Names of SqueezeNet's published prototxt."""
    net = Net("SqueezeNet", (1, 3, 24, 24))
    x = net.relu("relu_conv1", net.conv("conv1", net.data, 8, 3, 2))
    for number, (squeeze, expand) in enumerate(((2, 4), (2, 4), (3, 6)), 2):
        f = f"fire{number}"
        x = net.relu(f"{f}/relu_squeeze1x1", net.conv(f"{f}/squeeze1x1", x, squeeze))
        branches = [net.relu(f"{f}/relu_expand{k}x{k}", net.conv(f"{f}/expand{k}x{k}", x, expand, k)) for k in (1, 3)]
        x = net.concat(f"{f}/concat", *branches)
    return net.build(net.classifier("conv10", x))
