"""The report is one page without network that says what is wrong; names are text, whatever they hold."""

from __future__ import annotations

import re

import numpy as np
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
