"""A protocol buffer encoder of the tests' own, so that the reader is not judged by its own counterpart."""

import struct

import numpy as np


def varint(value):
    value &= (1 << 64) - 1
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def integer(number, value):
    return varint(number << 3) + varint(value)


def chunk(number, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(data)) + data


def unpacked(number, values, layout="<f"):
    key = varint(number << 3 | (5 if layout == "<f" else 1))
    return b"".join(key + struct.pack(layout, value) for value in values)


def shape(dims):
    return chunk(7, chunk(1, b"".join(map(varint, dims))))


def legacy_shape(dims):
    return b"".join(integer(number, size) for number, size in enumerate(dims, 1))


def packed(array, number=5, dtype="<f4"):
    return chunk(number, np.asarray(array).astype(dtype).tobytes())


def blob_v2(array):
    return shape(array.shape) + packed(array)


def layer_v2(name, type, blobs):
    return chunk(100, chunk(1, name) + chunk(2, type) + b"".join(chunk(7, blob) for blob in blobs))


def layer_v1(name, type_number, blobs):
    return chunk(2, chunk(4, name) + integer(5, type_number) + b"".join(chunk(6, blob) for blob in blobs))


def layer_v0(name, type, blobs):
    old = chunk(1, name) + chunk(2, type) + b"".join(chunk(50, blob) for blob in blobs)
    return chunk(2, chunk(2, "data") + chunk(3, "out") + chunk(1, old))
