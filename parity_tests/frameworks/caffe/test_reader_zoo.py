"""The twelve well-known nets, narrow and on small images: every blob is as in the real Caffe, and of order 1."""

import numpy as np
import pytest

from parity_tests.frameworks.caffe.reading import assert_as_real, random_inputs, read
from parity_tests.frameworks.caffe.zoo import ZOO, write
from parity_tests.runtimes import needs_runtime

SIDES = {"alexnet": 99, "zfnet": 95, "nin": 99, "fcn8s": 32, "ssd300": 300, "unet": 48}


@needs_runtime("caffe")
@pytest.mark.parametrize("name", ZOO)
def test_zoo(caffe, tmp_path, name):
    model = read(write(name, tmp_path, scale=0.125, size=SIDES.get(name, 64)))
    real = assert_as_real(caffe, model, random_inputs(model))
    for blob, value in real.items():
        if "prior" not in blob and "detection" not in blob:
            assert np.sqrt(np.mean(value.astype(float) ** 2)) < 30, blob
