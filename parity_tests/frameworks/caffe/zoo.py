"""Twelve well-known nets, written from their papers, with random but well-conditioned weights.

    prototxt, caffemodel = write("resnet50", folder, scale=0.25, size=64)

``scale`` multiplies the number of maps of every layer, ``size`` is the side of the input image; the defaults are the
papers'. Weights are drawn by He's rule (variance 2 / fan-in), which keeps activations of order 1 behind ReLU; batch
statistics are near (0, 1), as such layers have them, and the last scale of a residual branch is small. The arrays
are drawn one layer at a time, so that VGG-16 (553 MB) is written in little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from converter.frameworks.caffe.format import write_caffemodel

LAYER = """layer {{
  name: "{name}"
  type: "{kind}"
  {wires}
  {body}
}}"""
Draw = Callable[[np.random.Generator], list[np.ndarray]]


class Net:
    """Text and weights of a net under construction; ``shapes`` knows (channels, height, width) of every blob."""

    def __init__(self, name: str, size: int, scale: float) -> None:
        self.scale = scale
        dims = f"dim: 1 dim: 3 dim: {size} dim: {size}"
        self.text = [f'name: "{name}"']
        self.text.append(
            LAYER.format(name="data", kind="Input", wires='top: "data"', body=f"input_param {{ shape {{ {dims} }} }}")
        )
        self.weights: list[tuple[str, str, Draw]] = []
        self.shapes = {"data": (3, size, size)}

    def maps(self, count: int) -> int:
        """``count`` maps, scaled, a multiple of 4."""
        return max(4, round(count * self.scale / 4) * 4)

    def layer(
        self, kind: str, name: str, bottoms: str | list[str], shape: tuple[int, int, int], body: str = "", top: str = ""
    ) -> str:
        names = [bottoms] if isinstance(bottoms, str) else bottoms
        top = top or name
        wires = " ".join([*(f'bottom: "{blob}"' for blob in names), f'top: "{top}"'])
        self.text.append(LAYER.format(name=name, kind=kind, wires=wires, body=body))
        self.shapes[top] = shape
        return top

    def conv(self, name: str, x: str, maps: int, kernel: int = 1, stride: int = 1, pad: int = 0, group: int = 1,
             dilation: int = 1, relu: bool = False, bias: bool = True, exact: bool = False) -> str:  # fmt: skip
        """A convolution; ``exact`` keeps the number of maps (classes, boxes) from being scaled."""
        channels, height, width = self.shapes[x]
        count = maps if exact else self.maps(maps)
        out = ((side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for side in (height, width))
        fan = channels // group * kernel * kernel

        def draw(random: np.random.Generator) -> list[np.ndarray]:
            weight = random.standard_normal((count, channels // group, kernel, kernel), np.float32) * np.float32(
                (2 / fan) ** 0.5
            )
            return [weight, random.standard_normal(count, np.float32) * np.float32(0.1)][: 1 + bias]

        self.weights.append((name, "Convolution", draw))
        body = (
            f"num_output: {count} kernel_size: {kernel} stride: {stride} pad: {pad} group: {group} dilation: {dilation}"
        )
        flag = "" if bias else " bias_term: false"
        top = self.layer("Convolution", name, x, (count, *out), f"convolution_param {{ {body}{flag} }}")
        return self.relu(top) if relu else top

    def deconv(self, name: str, x: str, maps: int, kernel: int, stride: int, pad: int = 0, exact: bool = False) -> str:
        channels, height, width = self.shapes[x]
        count = maps if exact else self.maps(maps)
        deviation = np.float32((stride * stride / (channels * kernel * kernel)) ** 0.5)

        def draw(random: np.random.Generator) -> list[np.ndarray]:
            return [random.standard_normal((channels, count, kernel, kernel), np.float32) * deviation]

        self.weights.append((name, "Deconvolution", draw))
        out = (stride * (side - 1) + kernel - 2 * pad for side in (height, width))
        body = f"num_output: {count} kernel_size: {kernel} stride: {stride} pad: {pad} bias_term: false"
        return self.layer("Deconvolution", name, x, (count, *out), f"convolution_param {{ {body} }}")

    def dense(self, name: str, x: str, outputs: int, relu: bool = False, exact: bool = False) -> str:
        inputs, count = int(np.prod(self.shapes[x])), outputs if exact else self.maps(outputs)

        def draw(random: np.random.Generator) -> list[np.ndarray]:
            weight = random.standard_normal((count, inputs), np.float32) * np.float32((2 / inputs) ** 0.5)
            return [weight, random.standard_normal(count, np.float32) * np.float32(0.1)]

        self.weights.append((name, "InnerProduct", draw))
        top = self.layer("InnerProduct", name, x, (count, 1, 1), f"inner_product_param {{ num_output: {count} }}")
        return self.relu(top) if relu else top

    def norm(self, x: str, name: str = "", gain: float = 1.0, relu: bool = False, top: str = "") -> str:
        """BatchNorm and Scale, in place unless a ``top`` is named."""
        count, name, top = self.shapes[x][0], name or x, top or x

        def statistics(random: np.random.Generator) -> list[np.ndarray]:
            mean, variance = random.normal(0, 0.1, count), random.uniform(0.8, 1.25, count)
            return [(values * 999.982).astype(np.float32) for values in (mean, variance)] + [np.float32([999.982])]

        def affine(random: np.random.Generator) -> list[np.ndarray]:
            gamma, beta = gain * random.uniform(0.8, 1.2, count), random.normal(0, 0.1, count)
            return [gamma.astype(np.float32), beta.astype(np.float32)]

        self.weights += [(f"{name}/bn", "BatchNorm", statistics), (f"{name}/scale", "Scale", affine)]
        self.layer("BatchNorm", f"{name}/bn", x, self.shapes[x], top=top)
        self.layer("Scale", f"{name}/scale", top, self.shapes[x], "scale_param { bias_term: true }", top)
        return self.relu(top) if relu else top

    def relu(self, x: str) -> str:
        return self.layer("ReLU", f"relu_{x}", x, self.shapes[x], top=x)

    def pool(self, name: str, x: str, kernel: int, stride: int = 2, pad: int = 0, method: str = "MAX") -> str:
        channels, *sides = self.shapes[x]
        out = [-(-(side + 2 * pad - kernel) // stride) + 1 for side in sides]
        out = [n - 1 if pad and (n - 1) * stride >= side + pad else n for n, side in zip(out, sides, strict=True)]
        body = f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }}"
        return self.layer("Pooling", name, x, (channels, *out), body)

    def average(self, name: str, x: str) -> str:
        return self.layer(
            "Pooling", name, x, (self.shapes[x][0], 1, 1), "pooling_param { pool: AVE global_pooling: true }"
        )

    def lrn(self, name: str, x: str, body: str = "local_size: 5 alpha: 0.0001 beta: 0.75") -> str:
        return self.layer("LRN", name, x, self.shapes[x], f"lrn_param {{ {body} }}")

    def dropout(self, x: str, ratio: float = 0.5) -> str:
        return self.layer("Dropout", f"drop_{x}", x, self.shapes[x], f"dropout_param {{ dropout_ratio: {ratio} }}", x)

    def concat(self, name: str, parts: list[str]) -> str:
        return self.layer(
            "Concat", name, parts, (sum(self.shapes[part][0] for part in parts), *self.shapes[parts[0]][1:])
        )

    def add(self, name: str, a: str, b: str, relu: bool = False) -> str:
        top = self.layer("Eltwise", name, [a, b], self.shapes[a])
        return self.relu(top) if relu else top

    def crop(self, name: str, x: str, like: str, offset: int = 0) -> str:
        shape = (self.shapes[x][0], *self.shapes[like][1:])
        return self.layer("Crop", name, [x, like], shape, f"crop_param {{ axis: 2 offset: {offset} }}")

    def softmax(self, x: str, top: str = "prob") -> str:
        return self.layer("Softmax", top, x, self.shapes[x])

    def classifier(self, x: str) -> None:
        """The fully connected head of AlexNet and its heirs."""
        for name in ("fc6", "fc7"):
            x = self.dropout(self.dense(name, x, 4096, relu=True))
        self.softmax(self.dense("fc8", x, 1000, exact=True))


def alexnet(net: Net) -> None:
    """Krizhevsky et al. 2012: two groups, LRN before pooling."""
    x = net.pool("pool1", net.lrn("norm1", net.conv("conv1", "data", 96, 11, 4, relu=True)), 3)
    x = net.pool("pool2", net.lrn("norm2", net.conv("conv2", x, 256, 5, 1, 2, group=2, relu=True)), 3)
    x = net.conv("conv3", x, 384, 3, 1, 1, relu=True)
    x = net.conv("conv4", x, 384, 3, 1, 1, group=2, relu=True)
    x = net.conv("conv5", x, 256, 3, 1, 1, group=2, relu=True)
    net.classifier(net.pool("pool5", x, 3))


def zfnet(net: Net) -> None:
    """Zeiler and Fergus 2013: pooling before LRN."""
    x = net.lrn(
        "norm1", net.pool("pool1", net.conv("conv1", "data", 96, 7, 2, 1, relu=True), 3), "local_size: 3 alpha: 0.00005"
    )
    x = net.lrn(
        "norm2", net.pool("pool2", net.conv("conv2", x, 256, 5, 2, relu=True), 3), "local_size: 3 alpha: 0.00005"
    )
    for name, maps in (("conv3", 384), ("conv4", 384), ("conv5", 256)):
        x = net.conv(name, x, maps, 3, 1, 1, relu=True)
    net.classifier(net.pool("pool5", x, 3))


def _vgg_stages(net: Net, first_pad: int = 1) -> dict[str, str]:
    """The thirteen convolutions; blobs by stage before pooling ("conv3") and after ("pool3"), but for the last pool."""
    x, found = "data", {}
    for stage, (maps, count) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for index in range(1, count + 1):
            pad = first_pad if stage == index == 1 else 1
            x = net.conv(f"conv{stage}_{index}", x, maps, 3, 1, pad, relu=True)
        found[f"conv{stage}"] = x
        if stage < 5:
            found[f"pool{stage}"] = x = net.pool(f"pool{stage}", x, 2)
    return found


def vgg16(net: Net) -> None:
    """Simonyan and Zisserman 2014, configuration D."""
    net.classifier(net.pool("pool5", _vgg_stages(net)["conv5"], 2))


def nin(net: Net) -> None:
    """Lin et al. 2013: 1x1 convolutions, average pooling instead of dense layers."""
    x = "data"
    for stage, (maps, kernel, stride, pad) in enumerate(
        [(96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1), (1024, 3, 1, 1)], 1
    ):
        x = net.conv(f"conv{stage}", x, maps, kernel, stride, pad, relu=True)
        x = net.conv(f"cccp{2 * stage - 1}", x, maps, relu=True)
        x = net.conv(f"cccp{2 * stage}", x, 1000 if stage == 4 else maps, relu=True, exact=stage == 4)
        if stage < 4:
            x = net.pool(f"pool{stage}", x, 3)
    net.softmax(net.average("pool4", net.dropout(x)))


def googlenet(net: Net) -> None:
    """Szegedy et al. 2014."""

    def inception(name: str, x: str, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> str:
        prefix = f"inception_{name}"
        a = net.conv(f"{prefix}/1x1", x, one, relu=True)
        b = net.conv(
            f"{prefix}/3x3", net.conv(f"{prefix}/3x3_reduce", x, three[0], relu=True), three[1], 3, 1, 1, relu=True
        )
        c = net.conv(
            f"{prefix}/5x5", net.conv(f"{prefix}/5x5_reduce", x, five[0], relu=True), five[1], 5, 1, 2, relu=True
        )
        d = net.conv(f"{prefix}/pool_proj", net.pool(f"{prefix}/pool", x, 3, 1, 1), pooled, relu=True)
        return net.concat(f"{prefix}/output", [a, b, c, d])

    x = net.lrn("pool1/norm1", net.pool("pool1/3x3_s2", net.conv("conv1/7x7_s2", "data", 64, 7, 2, 3, relu=True), 3))
    x = net.conv("conv2/3x3", net.conv("conv2/3x3_reduce", x, 64, relu=True), 192, 3, 1, 1, relu=True)
    x = net.pool("pool2/3x3_s2", net.lrn("conv2/norm2", x), 3)
    x = inception("3a", x, 64, (96, 128), (16, 32), 32)
    x = net.pool("pool3/3x3_s2", inception("3b", x, 128, (128, 192), (32, 96), 64), 3)
    x = inception("4a", x, 192, (96, 208), (16, 48), 64)
    x = inception("4b", x, 160, (112, 224), (24, 64), 64)
    x = inception("4c", x, 128, (128, 256), (24, 64), 64)
    x = inception("4d", x, 112, (144, 288), (32, 64), 64)
    x = net.pool("pool4/3x3_s2", inception("4e", x, 256, (160, 320), (32, 128), 128), 3)
    x = inception("5a", x, 256, (160, 320), (32, 128), 128)
    x = net.average("pool5/7x7_s1", inception("5b", x, 384, (192, 384), (48, 128), 128))
    net.softmax(net.dense("loss3/classifier", net.dropout(x, 0.4), 1000, exact=True))


def resnet50(net: Net) -> None:
    """He et al. 2015."""
    x = net.pool("pool1", net.norm(net.conv("conv1", "data", 64, 7, 2, 3), relu=True), 3)
    for stage, (maps, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], 2):
        for block in range(blocks):
            name, stride = f"res{stage}{'abcdef'[block]}", 2 if stage > 2 and block == 0 else 1
            shortcut = x
            if block == 0:
                shortcut = net.norm(net.conv(f"{name}_branch1", x, 4 * maps, 1, stride, bias=False))
            y = net.norm(net.conv(f"{name}_branch2a", x, maps, 1, stride, bias=False), relu=True)
            y = net.norm(net.conv(f"{name}_branch2b", y, maps, 3, 1, 1, bias=False), relu=True)
            y = net.norm(net.conv(f"{name}_branch2c", y, 4 * maps, bias=False), gain=0.3)
            x = net.add(name, shortcut, y, relu=True)
    net.softmax(net.dense("fc1000", net.average("pool5", x), 1000, exact=True))


def densenet121(net: Net) -> None:
    """Huang et al. 2016: growth 32, blocks of 6, 12, 24 and 16."""
    x = net.pool("pool1", net.norm(net.conv("conv1", "data", 64, 7, 2, 3, bias=False), relu=True), 3, pad=1)
    for block, count in enumerate([6, 12, 24, 16], 2):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            y = net.norm(x, f"{name}/x1", relu=True, top=f"{name}/x1/bn")
            y = net.norm(net.conv(f"{name}/x1", y, 128, bias=False), f"{name}/x2", relu=True, top=f"{name}/x2/bn")
            x = net.concat(f"concat_{block}_{index}", [x, net.conv(f"{name}/x2", y, 32, 3, 1, 1, bias=False)])
        x = net.norm(x, f"conv{block}_blk", relu=True, top=f"conv{block}_blk/bn")
        if block < 5:
            x = net.conv(f"conv{block}_blk", x, net.shapes[x][0] // 2, bias=False, exact=True)
            x = net.pool(f"pool{block}", x, 2, method="AVE")
    net.softmax(net.conv("fc6", net.average("pool5", x), 1000, exact=True))


def squeezenet(net: Net) -> None:
    """Iandola et al. 2016, version 1.1."""
    x = net.pool("pool1", net.conv("conv1", "data", 64, 3, 2, relu=True), 3)
    for index, (squeeze, expand) in enumerate(
        [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)], 2
    ):
        name = f"fire{index}"
        s = net.conv(f"{name}/squeeze1x1", x, squeeze, relu=True)
        parts = [
            net.conv(f"{name}/expand1x1", s, expand, relu=True),
            net.conv(f"{name}/expand3x3", s, expand, 3, 1, 1, relu=True),
        ]
        x = net.concat(f"{name}/concat", parts)
        if index in (3, 5):
            x = net.pool(f"pool{index}", x, 3)
    net.softmax(net.average("pool10", net.conv("conv10", net.dropout(x), 1000, relu=True, exact=True)))


def mobilenet_v1(net: Net) -> None:
    """Howard et al. 2017: depthwise and pointwise convolutions."""
    x = net.norm(net.conv("conv1", "data", 32, 3, 2, 1, bias=False), relu=True)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for index, (maps, stride) in enumerate(plan, 2):
        channels = net.shapes[x][0]
        x = net.conv(f"conv{index}/dw", x, channels, 3, stride, 1, group=channels, bias=False, exact=True)
        x = net.norm(net.conv(f"conv{index}/sep", net.norm(x, relu=True), maps, bias=False), relu=True)
    net.softmax(net.conv("fc7", net.average("pool6", x), 1000, exact=True))


def fcn8s(net: Net) -> None:
    """Long et al. 2014: VGG-16 made convolutional, a pad of 100, three scores summed on the way up."""
    stages = _vgg_stages(net, first_pad=100)
    x = net.dropout(net.conv("fc6", net.pool("pool5", stages["conv5"], 2), 4096, 7, relu=True))
    x = net.conv("score_fr", net.dropout(net.conv("fc7", x, 4096, relu=True)), 21, exact=True)
    for name, stage, offset in (("pool4", "pool4", 5), ("pool3", "pool3", 9)):
        x = net.deconv(f"upscore_{name}", x, 21, 4, 2, exact=True)
        score = net.crop(f"score_{name}c", net.conv(f"score_{name}", stages[stage], 21, exact=True), x, offset)
        x = net.add(f"fuse_{name}", x, score)
    net.crop("score", net.deconv("upscore8", x, 21, 16, 8, exact=True), "data", 31)


def unet(net: Net) -> None:
    """Ronneberger et al. 2015, with padded convolutions, so that nothing is cropped; sides are multiples of 16."""
    x, skips = "data", []
    for depth, maps in enumerate([64, 128, 256, 512, 1024]):
        for side in "ab":
            x = net.conv(f"down{depth}{side}", x, maps, 3, 1, 1, relu=True)
        if depth < 4:
            skips.append(x)
            x = net.pool(f"pool{depth}", x, 2)
    for depth, maps in zip((3, 2, 1, 0), (512, 256, 128, 64), strict=True):
        up = net.deconv(f"up{depth}", x, maps, 2, 2)
        x = net.concat(f"join{depth}", [skips[depth], up])
        for side in "cd":
            x = net.conv(f"up{depth}{side}", x, maps, 3, 1, 1, relu=True)
    net.softmax(net.conv("score", x, 2, exact=True))


def ssd300(net: Net) -> None:
    """Liu et al. 2016: VGG-16 with dilation, boxes from six maps, detections."""
    stages, classes = _vgg_stages(net), 21
    x = net.conv("fc6", net.pool("pool5", stages["conv5"], 3, 1, 1), 1024, 3, 1, 6, dilation=6, relu=True)
    x = net.conv("fc7", x, 1024, relu=True)
    body = "norm_param { across_spatial: false channel_shared: false scale_filler { type: 'constant' value: 20 } }"
    channels = net.shapes[stages["conv4"]][0]
    net.weights.append(("conv4_3_norm", "Normalize", lambda random: [np.full(channels, 20, np.float32)]))
    sources = [net.layer("Normalize", "conv4_3_norm", stages["conv4"], net.shapes[stages["conv4"]], body), x]
    for index, (reduced, maps, stride, pad) in enumerate(
        [(256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0)], 6
    ):
        x = net.conv(
            f"conv{index}_2", net.conv(f"conv{index}_1", x, reduced, relu=True), maps, 3, stride, pad, relu=True
        )
        sources.append(x)
    edges, flat = [0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05], {"loc": [], "conf": [], "priorbox": []}
    size = net.shapes["data"][1]
    for index, x in enumerate(sources):
        ratios = [2] if index in (0, 4, 5) else [2, 3]
        for kind, values in (("loc", 4), ("conf", classes)):
            y = net.conv(f"{x}_mbox_{kind}", x, (2 + 2 * len(ratios)) * values, 3, 1, 1, exact=True)
            shape = net.shapes[y]
            y = net.layer("Permute", f"{y}_perm", y, shape, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
            flat[kind].append(net.layer("Flatten", f"{y}_flat", y, (int(np.prod(shape)), 1, 1)))
        aspects = " ".join(f"aspect_ratio: {ratio}" for ratio in ratios)
        sizes = f"min_size: {edges[index] * size} max_size: {edges[index + 1] * size}"
        variance = "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2"
        body = f"prior_box_param {{ {sizes} {aspects} flip: true clip: false {variance} }}"
        flat["priorbox"].append(net.layer("PriorBox", f"{x}_mbox_priorbox", [x, "data"], (2, 1, 1), body))
    location, confidence = (net.concat(f"mbox_{kind}", flat[kind]) for kind in ("loc", "conf"))
    priors = net.layer("Concat", "mbox_priorbox", flat["priorbox"], (2, 1, 1), "concat_param { axis: 2 }")
    count = net.shapes[confidence][0]
    y = net.layer(
        "Reshape",
        "mbox_conf_reshape",
        confidence,
        (count, 1, 1),
        f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }}",
    )
    y = net.layer("Softmax", "mbox_conf_softmax", y, (count, 1, 1), "softmax_param { axis: 2 }")
    y = net.layer("Flatten", "mbox_conf_flatten", y, (count, 1, 1))
    nms = (
        "nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 200 confidence_threshold: 0.01"
    )
    net.layer(
        "DetectionOutput",
        "detection_out",
        [location, y, priors],
        (1, 1, 7),
        f"detection_output_param {{ num_classes: {classes} {nms} }}",
    )


#: Builder and side of the input image of every net.
ZOO: dict[str, tuple[Callable[[Net], None], int]] = {
    "alexnet": (alexnet, 227), "zfnet": (zfnet, 224), "vgg16": (vgg16, 224), "nin": (nin, 227),
    "googlenet": (googlenet, 224), "resnet50": (resnet50, 224), "densenet121": (densenet121, 224),
    "squeezenet": (squeezenet, 227), "mobilenet_v1": (mobilenet_v1, 224), "fcn8s": (fcn8s, 500), "unet": (unet, 576),
    "ssd300": (ssd300, 300),
}  # fmt: skip


def write(name: str, directory: Path, scale: float = 1.0, size: int | None = None, seed: int = 0) -> tuple[Path, Path]:
    """Write ``<name>.prototxt`` and ``<name>.caffemodel``; returns both paths."""
    build, side = ZOO[name]
    net = Net(name, size or side, scale)
    build(net)
    prototxt, caffemodel = directory / f"{name}.prototxt", directory / f"{name}.caffemodel"
    prototxt.write_text("\n".join(net.text) + "\n", encoding="utf-8")
    random = np.random.default_rng(seed)

    def layers() -> Iterator[tuple[str, str, list[np.ndarray]]]:
        for layer, kind, draw in net.weights:
            yield layer, kind, draw(random)

    write_caffemodel(caffemodel, layers(), name)
    return prototxt, caffemodel
