"""The safetensors writer against the reader of the ``safetensors`` package."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from converter.errors import WriteError
from converter.frameworks.pytorch import format


def tensor(name, array):
    return format.Tensor(name, array.dtype.name, array.shape, lambda: array)


arrays = hnp.arrays(
    st.sampled_from([np.dtype(name) for name in format.DTYPES]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: name != "__metadata__"), arrays, max_size=6))
def test_round_trip(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("st") / "model.safetensors"
    format.write(path, [tensor(name, array) for name, array in tensors.items()])
    read = load_file(path)
    assert set(read) == set(tensors)
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


def test_every_tensor_is_aligned_to_its_items(tmp_path):
    path = tmp_path / "model.safetensors"
    names = ["bool", "int64", "float16", "float32", "uint8", "float64"]
    format.write(path, [tensor(name, np.ones(3, name)) for name in names])
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert (8 + length) % 8 == 0
    header = json.loads(raw[8 : 8 + length])
    for name in names:
        assert header[name]["data_offsets"][0] % np.dtype(name).itemsize == 0


@pytest.mark.parametrize("chunk", [1, 64, 1 << 20])
def test_views_are_laid_out_in_pieces(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(format, "CHUNK", chunk)
    base = np.arange(60, dtype=np.float64).reshape(3, 4, 5)
    views = {"transposed": base.T, "strided": base[:, ::2], "offset": base[1:], "whole": base}
    path = tmp_path / "model.safetensors"
    format.write(path, [tensor(name, view) for name, view in views.items()])
    for name, array in load_file(path).items():
        np.testing.assert_array_equal(array, views[name])


def test_other_dtypes_are_converted(tmp_path):
    path = tmp_path / "model.safetensors"
    source = np.array([[1.5, 2.5], [3.5, 4.5]], ">f8")
    format.write(path, [format.Tensor("w", "float32", (2, 2), lambda: source)])
    np.testing.assert_array_equal(load_file(path)["w"], source.astype(np.float32))


def test_a_memory_map_is_not_copied(tmp_path):
    """A contiguous tensor goes from its map to the file: the peak of what Python allocates stays small."""
    import tracemalloc

    source = np.memmap(tmp_path / "weights.bin", np.float32, "w+", shape=(1 << 23,))
    source[:] = 3
    tracemalloc.start()
    format.write(tmp_path / "model.safetensors", [tensor("w", source)])
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert load_file(tmp_path / "model.safetensors")["w"][-1] == 3


def test_refusals(tmp_path):
    one = np.zeros(1, np.float32)
    with pytest.raises(WriteError, match='two tensors are called "w"'):
        format.write(tmp_path / "a", [tensor("w", one), tensor("w", one)])
    with pytest.raises(WriteError, match=r"\(1,\), \(2,\) was announced"):
        format.write(tmp_path / "b", [format.Tensor("w", "float32", (2,), lambda: one)])
    with pytest.raises(WriteError, match="missing/c: No such file"):
        format.write(tmp_path / "missing" / "c", [])
