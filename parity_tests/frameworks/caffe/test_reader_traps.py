"""Small nets of one trap each: the hub graph gives what real Caffe gave, or the refusal names what it must."""

import pytest

from converter.errors import ConverterError
from converter.graph.model import Origin
from parity_tests.frameworks.caffe.reading import assert_golden, read
from parity_tests.traps import traps


@pytest.mark.parametrize("trap", traps("caffe"))
def test_trap(trap):
    try:
        model = read(trap.files)
    except ConverterError as refusal:
        assert trap.expects in ("refused", "right-or-refused"), refusal
        missing = [word for word in trap.must_mention if word not in str(refusal)]
        assert not missing, refusal
        return
    assert trap.expects != "refused"
    golden = trap.golden()
    outputs = {output.name for output in model.graph.outputs}
    assert outputs == set(golden["output"]) - (set(trap.optional_outputs) - outputs)
    middle = {value_of_layer(model, layer): array for layer, array in golden["mid"].items()}
    assert_golden(model, golden["input"], golden["output"] | middle)


def value_of_layer(model, layer):
    """The name of the layer's (last) top: recorded intermediates go by layer."""
    return [node.outputs[0].name for node in model.graph if Origin.of(node).layer == layer][-1]
