"""Every hub operator, written, loaded and run by the real PyTorch, against the float64 evaluation of the hub graph."""

from __future__ import annotations

import pytest
from frameworks.pytorch.writer_cases import CASES, assert_close, convert, feeds, one_node, run
from runtimes import needs_runtime

from converter import environments
from converter.frameworks.pytorch.emit import emitted
from converter.graph import ops

pytestmark = needs_runtime("pytorch")


@pytest.fixture(scope="module")
def pytorch():
    with environments.open_runtime("pytorch") as runtime:
        yield runtime


@pytest.mark.parametrize(("op", "operands", "attributes"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_operator(pytorch, tmp_path, op, operands, attributes):
    model = one_node(op, operands, **attributes)
    inputs = feeds(operands)
    found = run(pytorch, convert(model, tmp_path), inputs)
    assert_close(model, inputs, found)


def test_every_operator_of_the_hub_has_a_rule_and_a_case():
    assert set(ops.names()) == set(emitted())
    with_domain = {f"{case[3]['domain']}::{case[1]}" if "domain" in case[3] else case[1] for case in CASES}
    assert set(ops.names()) - with_domain == {"converter::DetectionOutput"}  # test_writer_detection.py
