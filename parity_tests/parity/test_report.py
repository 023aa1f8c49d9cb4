"""The report is one page without network that says what is wrong; names are text, whatever they hold."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import score_judge

from converter.graph.builder import GraphBuilder
from converter.graph.model import Model, Origin
from converter.parity import report
from converter.parity.judge import judge


def test_the_report_is_one_page_that_says_what_is_wrong_and_fetches_nothing(judged):
    folder, verdict, model, sides, _ = judged
    report.write(folder / "report.html", verdict, model, sides)
    page = (folder / "report.html").read_text()
    assert "They do not compute the same." in page
    assert "negative slope 0.01 instead of 0.1" in page
    assert '<span class="here"><i>3</i>        x = self.leaky(x)</span>' in page
    assert page.count("<svg") == 1
    links = set(re.findall(r'(?:src|href)\s*=\s*"([^"#][^"]*)"', page))
    assert not [link for link in links if not link.startswith("#")]


def test_hostile_names_stay_text(tmp_path):
    builder = GraphBuilder("<script>alert(1)</script>")
    x = builder.input("x", (1, 2))
    with builder.layer(Origin('"><img src=x>$', "<b>", "a<b.prototxt", 1)):
        model = Model(builder.build([builder.op("Relu", [x], "<i>$y$")]), "hub")
    side = score_judge.numpy_side(model)
    verdict = judge(model, side, side, {"x": np.ones((1, 2), np.float32)})
    report.write(tmp_path / "report.html", verdict, model, (side, side))
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<i>$y" not in page


def test_a_right_verdict_says_so_and_what_ran_with_its_hashes(tmp_path):
    builder = GraphBuilder("net")
    model = Model(builder.build([builder.op("Sigmoid", [builder.input("x", (1, 4))], "y")]), "hub", notes=["a note"])
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"weights")
    side = replace(score_judge.numpy_side(model), versions={"numpy": "2"}, files={"weights": weights})
    verdict = judge(model, side, side, {"x": np.ones((1, 4), np.float32)})
    report.write(tmp_path / "report.html", verdict, model, (side, side))
    page = (tmp_path / "report.html").read_text()
    assert "Both compute the same." in page
    assert hashlib.sha256(b"weights").hexdigest() in page
    assert "7 bytes" in page
    assert "a note" in page
    assert str(tmp_path) not in page


def test_figures_that_no_script_could_order_have_a_place_in_the_order(judged):
    folder, verdict, model, sides, _ = judged
    layers = [
        replace(layer, difference=value)
        for layer, value in zip(verdict.layers, (math.inf, math.nan, None), strict=False)
    ]
    report.write(folder / "odd.html", replace(verdict, layers=layers), model, sides)
    keys = re.findall(r'data-n="([^"]*)"', (folder / "odd.html").read_text())
    assert len(keys) == 3 * 6
    assert all(math.isfinite(float(key)) for key in keys)


def test_a_net_of_a_thousand_layers_stays_a_small_page(judged):
    folder, verdict, model, sides, _ = judged
    many = replace(verdict, layers=(verdict.layers * 1000)[:1000])
    report.write(folder / "many.html", many, model, sides)
    page = (folder / "many.html").read_text()
    assert page.count("<tr") == 1000 + 2
    assert len(page) < 2_000_000


EMITTED = """\
class Block(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.conv(x)


class Net(nn.Module):
    def __init__(self):
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.stage1_block2 = Block()

    def forward(self, x):
        x = self.conv1(x)
        return self.stage1_block2(x)
"""


@pytest.mark.parametrize(
    ("layers", "lines"),
    [
        (["conv1"], ["self.conv1 = nn.Conv2d(3, 4, 3)", "x = self.conv1(x)"]),
        (["scale1", "bn1", "conv1"], ["self.conv1 = nn.Conv2d(3, 4, 3)", "x = self.conv1(x)"]),  # merged into it
        (["stage1/block2/conv"], ["self.stage1_block2 = Block()", "return self.stage1_block2(x)"]),  # within a block
        (["pool5", "relu5", "fc5", "conv1"], []),  # too far from what is named: no line rather than a wrong one
    ],
)
def test_a_layer_is_shown_where_it_is_made_and_where_it_is_called(tmp_path, layers, lines):
    builder = GraphBuilder("net")
    x = builder.input("x", (1, 4))
    for layer in reversed(layers):
        with builder.layer(Origin(layer, "Layer")):
            x = builder.op("Relu", [x], layer)
    model = Model(builder.build([x]), "hub")
    source = tmp_path / "model.py"
    source.write_text(EMITTED)
    side = replace(score_judge.numpy_side(model), taps=frozenset(layers[:1]), files={"source": source})
    verdict = judge(model, side, side, {"x": np.ones((1, 4), np.float32)})
    report.write(tmp_path / "report.html", verdict, model, (side, side))
    page = (tmp_path / "report.html").read_text()
    assert re.findall(r'<span class="here"><i>\d+</i> *(.*?)</span>', page) == lines
