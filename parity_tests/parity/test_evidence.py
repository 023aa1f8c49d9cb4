"""The certificate can be checked later, the report is one page without network, inputs are legal for the net."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import score_judge  # noqa: E402
from PIL import Image  # noqa: E402

from converter.errors import ReadError  # noqa: E402
from converter.graph.builder import GraphBuilder  # noqa: E402
from converter.graph.model import Model, Origin, Preprocessing  # noqa: E402
from converter.parity import certificate, report  # noqa: E402
from converter.parity.inputs import inputs_for  # noqa: E402
from converter.parity.judge import judge  # noqa: E402
from converter.parity.side import Side  # noqa: E402


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A wrong verdict with everything that evidence is written from: folder, verdict, model, sides, inputs."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "model.py").write_text("class Net:\n    def forward(self, x):\n        x = self.leaky(x)\n")
    fault = next(fault for fault in score_judge.FAULTS if fault.layer == "leaky")
    right, wrong = score_judge.net(0), score_judge.planted(fault, 0, True)
    sides = tuple(
        Side(side.name, side.label, side.run, side.taps, {side.name: "1.0"}, {"source": folder / "model.py"})
        for side in (score_judge.numpy_side(right, "caffe"), score_judge.numpy_side(wrong, "pytorch"))
    )
    inputs = score_judge.samples(right, 0)
    return folder, judge(right, *sides, inputs), right, sides, inputs


def test_the_certificate_names_hashes_versions_and_the_verdict(judged):
    folder, verdict, _, sides, inputs = judged
    certificate.write(folder / "parity.json", verdict, sides, inputs)
    written = certificate.read(folder / "parity.json")
    assert written["right"] is False
    assert written["first_bad_layer"] == "leaky"
    assert written["cause"] == "negative slope 0.01 instead of 0.1"
    assert written["target"]["files"]["source"]["sha256"] == certificate.hash_file(folder / "model.py")
    assert written["target"]["versions"] == {"pytorch": "1.0"}
    assert len(written["layers"]) == len(verdict.layers)
    assert str(folder) not in (folder / "parity.json").read_text()


def test_the_same_verdict_gives_the_same_certificate(judged):
    folder, verdict, _, sides, inputs = judged
    for name in ("one.json", "two.json"):
        certificate.write(folder / name, verdict, sides, inputs)
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()


def test_a_changed_file_is_told(judged, tmp_path):
    _, verdict, _, sides, inputs = judged
    model = tmp_path / "model.py"
    model.write_text("first")
    mine = tuple(Side(side.name, side.label, side.run, side.taps, {}, {"source": model}) for side in sides)
    certificate.write(tmp_path / "parity.json", verdict, mine, inputs)
    assert certificate.changed_files(tmp_path / "parity.json") == []
    model.write_text("second")
    assert "model.py is another file" in certificate.changed_files(tmp_path / "parity.json")
    model.unlink()
    assert "model.py is gone" in certificate.changed_files(tmp_path / "parity.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"certificate": 99}', "not json"])
def test_what_is_no_certificate_is_refused(tmp_path, text):
    (tmp_path / "parity.json").write_text(text)
    with pytest.raises(ReadError):
        certificate.read(tmp_path / "parity.json")


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


def test_images_come_first_and_probes_after_them(tmp_path):
    for number in range(3):
        Image.new("RGB", (20, 20), (number * 40, 10, 200)).save(tmp_path / f"{number}.png")
    builder = GraphBuilder("net")
    x = builder.input("data", (1, 3, 8, 8))
    model = Model(builder.build([builder.op("Relu", [x], "y")]), "hub")
    inputs = inputs_for(model, tmp_path, Preprocessing("bgr", mean=(1, 2, 3)), limit=2)
    assert inputs["data"].shape == (2 + 4, 3, 8, 8)
    assert np.array_equal(inputs["data"][0, :, 0, 0], [199, 8, -3])
    again = inputs_for(model, tmp_path, Preprocessing("bgr", mean=(1, 2, 3)), limit=2)
    assert np.array_equal(inputs["data"], again["data"])


def test_no_probe_has_a_symmetry_that_hides_a_flip_or_a_transposition():
    builder = GraphBuilder("net")
    x = builder.input("data", (1, 4, 6, 6))
    model = Model(builder.build([builder.op("Relu", [x], "y")]), "hub")
    probes = inputs_for(model, None, None, limit=1)["data"]
    for changed in (probes[:, ::-1], probes[:, :, ::-1], probes[..., ::-1], probes.swapaxes(2, 3)):
        assert all(not np.array_equal(one, other) for one, other in zip(probes, changed, strict=True))


def test_switches_and_indices_get_legal_values():
    builder = GraphBuilder("net")
    table = builder.initializer("table", np.arange(10, dtype=np.float32).reshape(5, 2))
    index = builder.input("index", (7,))
    rows = builder.op("Gather", [table, builder.op("Cast", [index], to=7)], "rows")
    keep = builder.input("keep", (7,))
    kept = builder.op("Compress", [rows, builder.op("Cast", [keep], to=9)], "kept", axis=0)
    inputs = inputs_for(Model(builder.build([kept]), "hub"), None, None, limit=1)
    assert set(np.unique(inputs["index"])) <= set(range(5))
    assert set(np.unique(inputs["keep"])) <= {0, 1}
    assert len(inputs["index"]) == len(inputs["keep"])


def test_every_input_has_as_many_batches():
    builder = GraphBuilder("net")
    a, b = builder.input("a", (2, 3)), builder.input("b", (2, 3))
    inputs = inputs_for(Model(builder.build([builder.op("Add", [a, b], "sum")]), "hub"), None, None, limit=1)
    assert len(inputs["a"]) == len(inputs["b"])
    assert json.dumps(len(inputs["a"]) % 2) == "0"
