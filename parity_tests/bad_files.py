"""Bad input for test_bad_input.py: a good Caffe net, and what can be wrong with its files."""

from __future__ import annotations

import gzip
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from converter.frameworks.caffe.format import write_caffemodel

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }\n'
CONV = (
    'layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" '
    "convolution_param { num_output: 3 kernel_size: 3 } }\n"
)
FC = 'layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param { num_output: 4 } }\n'
NET = f'name: "small"\n{INPUT}{CONV}{FC}'


class Files:
    """A good deploy.prototxt and net.caffemodel in ``folder``, until a case spoils them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.net, self.weights = folder, folder / "deploy.prototxt", folder / "net.caffemodel"
        self.net.write_text(NET)
        write_caffemodel(self.weights, stored(), "small")

    @property
    def both(self) -> list[Path]:
        return [self.net, self.weights]


#: Spoils files and returns those to convert.
Spoil = Callable[[Files], list[Path]]


def stored(weight: tuple = (3, 2, 3, 3), names: tuple[str, str] = ("conv1", "fc")) -> list:
    """The layers of NET as write_caffemodel takes them."""
    return [
        (names[0], "Convolution", [np.ones(weight, np.float32), np.zeros(weight[0], np.float32)]),
        (names[1], "InnerProduct", [np.ones((4, 48), np.float32), np.zeros(4, np.float32)]),
    ]


def net(text: str | bytes) -> Spoil:
    """Another net."""

    def spoil(files: Files) -> list[Path]:
        files.net.write_bytes(text.encode() if isinstance(text, str) else text)
        return files.both

    return spoil


def part(old: str, new: str) -> Spoil:
    """``new`` in place of ``old`` in the net."""
    assert NET.count(old) == 1, old
    return net(NET.replace(old, new))


def weights(change: bytes | Callable[[bytes], bytes]) -> Spoil:
    """Another weights file, or the good one changed."""

    def spoil(files: Files) -> list[Path]:
        files.weights.write_bytes(change if isinstance(change, bytes) else change(files.weights.read_bytes()))
        return files.both

    return spoil


def layers(stored: list) -> Spoil:
    """Weights of other layers."""

    def spoil(files: Files) -> list[Path]:
        write_caffemodel(files.weights, stored, "small")
        return files.both

    return spoil


def archive(files: Files) -> list[Path]:
    with zipfile.ZipFile(files.weights, "w") as file:
        file.writestr("data.pkl", "")
    return files.both


def link_to_itself(files: Files) -> list[Path]:
    files.weights.unlink()
    files.weights.symlink_to(files.weights)
    return files.both


def swapped_words(data: bytes) -> bytes:
    """As a file looks that was carried over as 32-bit words of the other byte order."""
    return np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(">u4").tobytes()


class Trigger:
    """Unpickling this makes a folder that the tests would find."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("unpickled",)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 553432081\n"
SECOND_FC = FC.replace('bottom: "conv1" top: "fc"', 'bottom: "fc" top: "fc2"')
TILE = 'layer { name: "%s" type: "Tile" bottom: "%s" top: "%s" tile_param { tiles: 1000 } }\n'
TILES = "".join(TILE % (f"t{i}", f"t{i - 1}" if i else "fc", f"t{i}") for i in range(9))
PYRAMID = 'layer { name: "p" type: "SPP" bottom: "data" top: "p" spp_param { pyramid_height: 60 } }'
SLICES = 'layer { name: "s" type: "Slice" bottom: "data" ' + "".join(f'top: "{i}" ' for i in range(9999)) + "}"

#: Name -> what spoils the files, and the line of the error (a regular expression; paths without their folder).
CASES: dict[str, tuple[Spoil, str]] = {
    # Files that are not what they should be.
    "empty net": (net(""), "deploy.prototxt: "),
    "empty weights": (weights(b""), "net.caffemodel: "),
    "truncated weights": (weights(lambda data: data[:-100]), "net.caffemodel: truncated or damaged"),
    "truncated net": (net(NET[:-20]), "deploy.prototxt:4: expected .* the end of the file"),
    "weights backwards": (weights(lambda data: data[::-1]), "net.caffemodel: "),
    "weights of the other byte order": (weights(swapped_words), "net.caffemodel: "),
    "a git-lfs pointer": (weights(POINTER), "net.caffemodel: is a git-lfs pointer.*git lfs pull"),
    "a pickle": (weights(pickle.dumps(Trigger())), "net.caffemodel: "),
    "an archive": (archive, "net.caffemodel: "),
    "compressed weights": (weights(gzip.compress), "net.caffemodel: "),
    "a web page": (weights(b"<!DOCTYPE html><html>404: Not Found</html>"), "net.caffemodel: "),
    "zeros": (weights(bytes(4096)), "net.caffemodel: "),
    "ones": (weights(b"\xff" * 4096), "net.caffemodel: "),
    "prose": (net("the quick brown fox\n"), "deploy.prototxt: "),
    "text in UTF-16": (net(NET.encode("utf-16")), "deploy.prototxt: "),
    "a name in another encoding": (net(NET.replace("small", "é").encode("latin-1")), "deploy.prototxt:1: "),
    "a solver": (net('net: "a.prototxt"\nbase_lr: 0.1\nmax_iter: 9\n'), "deploy.prototxt: is a solver"),
    # Files that are missing, or too many.
    "no weights": (lambda files: [files.net], r"deploy.prototxt: is the net alone: give the \.caffemodel"),
    "no net": (lambda files: [files.weights], r"net.caffemodel: holds weights alone: give the deploy\.prototxt"),
    "a net twice": (lambda files: [files.net, *files.both], "deploy.prototxt: is a second prototxt"),
    "a folder": (lambda files: [files.net, files.folder], ".*: is a folder, not a file"),
    "no such file": (lambda files: [files.net, files.folder / "no.model"], "no.model: there is no such file"),
    "a link to itself": (link_to_itself, "net.caffemodel: there is no such file"),
    "an unreadable file": (lambda files: [files.net, Path("/proc/self/mem")], "/proc/self/mem: "),
    # Text that Caffe would not take.
    "an unknown field": (
        part("kernel_size", "kernal_size"),
        'deploy.prototxt:3: layer "conv1".*kernal_size.*did you mean kernel_size',
    ),
    "a value twice": (part("num_output: 4", "num_output: 4 num_output: 4"), "deploy.prototxt:4: num_output"),
    "a word for a number": (part("num_output: 4", 'num_output: "four"'), "deploy.prototxt:4: .*num_output"),
    "nested without end": (net("layer {" * 100_000), "deploy.prototxt:1: .*nested"),
    "deeply nested": (net(NET + "x {" * 50_000 + "}" * 50_000), "deploy.prototxt:5: .*nested"),
    # Wiring.
    "a cycle": (part('bottom: "data"', 'bottom: "fc"'), 'deploy.prototxt:3: .*unknown blob "fc"'),
    "a layer that feeds itself": (part('bottom: "data"', 'bottom: "conv1"'), "deploy.prototxt:3: .*unknown blob"),
    "an unknown blob": (
        part('bottom: "conv1"', 'bottom: "conv2"'),
        'deploy.prototxt:4: layer "fc": reads the unknown blob "conv2"',
    ),
    "a blob written twice": (net(NET + FC), 'deploy.prototxt:5: .*"fc", which exists already'),
    "two layers of one name": (net(NET + SECOND_FC), 'deploy.prototxt:5: a second layer is called "fc"'),
    "no layer at all": (net(INPUT), "deploy.prototxt: computes nothing"),
    # Weights that do not belong.
    "weights of another net": (
        layers(stored(names=("a", "b"))),
        'deploy.prototxt:3: no weights for layer "conv1" in net.caffemodel: it holds the weights of another net',
    ),
    "a layer without weights": (
        layers(stored()[:1]),
        'deploy.prototxt:4: no weights for layer "fc" in net.caffemodel',
    ),
    "a weight of another shape": (
        layers(stored((3, 2, 5, 5))),
        r'deploy.prototxt:3: layer "conv1": net.caffemodel holds .*\(3, 2, 5, 5\), deploy.prototxt:3 wants',
    ),
    "a missing bias": (
        layers([(name, type, arrays[:1]) for name, type, arrays in stored()]),
        'deploy.prototxt:3: layer "conv1": net.caffemodel holds 1 blob of it, the net wants 2',
    ),
    # Sizes.
    "a huge input": (part("dim: 6 dim: 6", "dim: 2000000000 dim: 2000000000"), 'deploy.prototxt.*"data".*shape'),
    "a huge batch": (part("dim: 1 dim: 2", "dim: 100000 dim: 2000"), 'deploy.prototxt.*"data".*shape'),
    "an empty input": (part("dim: 6 dim: 6", "dim: 0 dim: 6"), 'deploy.prototxt:2: layer "data".*shape'),
    "a negative input": (part("dim: 6 dim: 6", "dim: -1 dim: 6"), 'deploy.prototxt:2: layer "data".*shape'),
    "a huge layer": (part("num_output: 3", "num_output: 4294967295"), 'deploy.prototxt:3: layer "conv1".*too large'),
    "a large layer": (
        part("num_output: 3", "num_output: 20000000"),
        'deploy.prototxt:3: layer "conv1".*net.caffemodel',
    ),
    "a huge kernel": (part("size: 3", "size: 2000000000"), 'deploy.prototxt:3: layer "conv1".*too large'),
    "huge padding": (part("size: 3", "size: 3 pad: 200000000"), 'deploy.prototxt:3: layer "conv1"'),
    "no stride": (part("size: 3", "size: 3 stride: 0"), 'deploy.prototxt:3: layer "conv1".*stride'),
    "an odd group": (part("size: 3", "size: 3 group: 7"), 'deploy.prototxt:3: layer "conv1": group 7'),
    "tiles of tiles": (net(NET + TILES), r'deploy.prototxt:\d: layer "t\d"'),
    "a pyramid without end": (net(INPUT + PYRAMID), 'deploy.prototxt:2: layer "p"'),
    "more slices than channels": (net(INPUT + SLICES), 'deploy.prototxt:2: layer "s"'),
}
