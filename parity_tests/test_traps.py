"""The trap cases, the whole way: converted to PyTorch and proven there, equal to what their own runtime recorded."""

from __future__ import annotations

import numpy as np
import pytest
from runtimes import needs_runtime
from traps import traps

import converter
from converter import environments
from converter.errors import ConverterError
from parity_tests.frameworks.caffe.zoo import ZOO, write


@pytest.fixture(scope="module")
def pytorch():
    with environments.open_runtime("pytorch") as runtime:
        yield runtime


@needs_runtime("pytorch")
@needs_runtime("caffe")
@pytest.mark.parametrize("trap", traps("caffe"))
def test_a_caffe_trap_is_right_or_refused_as_it_asks(trap, tmp_path, pytorch):
    try:
        result = converter.convert("caffe->pytorch", trap.files, tmp_path / "out", limit=1)
    except ConverterError as refusal:
        assert trap.expects != "right", refusal
        assert all(word in str(refusal) for word in trap.must_mention), refusal
        assert list(tmp_path.iterdir()) == []
        return
    assert trap.expects != "refused", "it should have been refused"
    assert result.status == "right", result.headline
    golden = trap.golden()
    artifact = result.artifact
    with pytorch.open(artifact) as session:
        outputs = session.run({artifact.inputs[name]: array for name, array in golden["input"].items()})
    for name, expected in golden["output"].items():
        if name in artifact.outputs:
            actual = outputs[artifact.outputs[name]]
            assert actual.shape == expected.shape
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5 * max(1.0, np.abs(expected).max()))


#: Images this small keep a whole net in a second or two; some nets need more for all their strides.
SIDES = {"alexnet": 99, "zfnet": 95, "nin": 99, "fcn8s": 32, "ssd300": 300, "unet": 48}


@needs_runtime("pytorch")
@needs_runtime("caffe")
@pytest.mark.parametrize("name", ZOO)
def test_a_well_known_net_is_converted_and_proven(name, tmp_path):
    files = write(name, tmp_path, scale=0.125, size=SIDES.get(name, 64))
    result = converter.convert("caffe->pytorch", files, tmp_path / "out", limit=1)
    assert result.exit_code == 0, result.headline
