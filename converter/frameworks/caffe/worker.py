"""Runs a net on real Caffe. The protocol: converter/environments/worker_protocol.py.

A check of Caffe's that fails aborts the process: bad prototxt, unknown layer, shapes that do not fit.
"""

from __future__ import annotations

import os
import tempfile

import caffe
import numpy


def versions() -> dict[str, str]:
    return {"caffe": caffe.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Net:
    """``files``: "prototxt", and "caffemodel" or "hdf5" for the weights (without, what the fillers make).

    ``options``: none.
    """
    return Net(files)


class Net:
    """A net in the phase TEST. ``taps`` are all its blobs; one that is written in place has its last value."""

    def __init__(self, files: dict[str, str]) -> None:
        self.net = caffe.Net(files["prototxt"], caffe.TEST)
        if "caffemodel" in files:
            self.net.copy_from(files["caffemodel"])
        if "hdf5" in files:
            self.net.copy_from(named_as_hdf5(files["hdf5"]))
        self.inputs = list(self.net.inputs)
        self.outputs = list(self.net.outputs)
        inserted = {blob for blob in self.net.blobs if self.is_inserted_split(blob)}
        self.taps = [blob for blob in self.net.blobs if blob not in inserted]

    def is_inserted_split(self, blob: str) -> bool:
        """Whether Caffe itself made this blob, where a blob has several consumers: "<blob>_<layer>_<top>_split_<n>"."""
        layer, _, number = blob.rpartition("_")
        return layer.endswith("_split") and number.isdigit() and layer in self.net.layer_dict

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        for name, array in inputs.items():
            self.net.blobs[name].reshape(*array.shape)
        self.net.reshape()
        for name, array in inputs.items():
            self.net.blobs[name].data[...] = array
        self.net.forward()
        return {name: self.net.blobs[name].data for name in names}


def named_as_hdf5(path: str) -> str:
    """Caffe tells HDF5 weights by the file's ending: a link with it in the worker's own folder."""
    if path.endswith(".h5"):
        return path
    link = os.path.join(tempfile.mkdtemp(dir=os.getcwd()), "weights.h5")
    os.symlink(path, link)
    return link
