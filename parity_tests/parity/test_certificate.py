"""The certificate says what was judged, names nothing of this machine, and tells later what changed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from converter.errors import ReadError
from converter.parity import certificate
from converter.parity.side import Side


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


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"certificate": 1}',
        '{"certificate": 1, "source": {"files": []}}',
        '{"certificate": 1, "source": {"files": {"a": 3}}, "target": {"files": {}}}',
        '{"certificate": 1, "source": {"files": {"a": {"name": "../a", "beside": 1, "sha256": ""}}},'
        ' "target": {"files": {}}}',
    ],
)
def test_a_hostile_certificate_is_refused(tmp_path, text):
    (tmp_path / "parity.json").write_text(text)
    with pytest.raises(ReadError):
        certificate.changed_files(tmp_path / "parity.json")


def test_a_file_in_a_folder_beside_the_certificate_is_named_from_there_and_another_by_its_name_alone(judged, tmp_path):
    _, verdict, _, sides, inputs = judged
    here, elsewhere = tmp_path / "result", tmp_path / "elsewhere"
    files = {"inner": here / "variables" / "data", "outer": elsewhere / "net.prototxt"}
    for file in files.values():
        file.parent.mkdir(parents=True)
        file.write_text("content")
    certificate.write(here / "parity.json", verdict, (replace(sides[0], files=files), sides[1]), inputs)
    written = certificate.read(here / "parity.json")["source"]["files"]
    assert {role: (file["name"], file["beside"]) for role, file in written.items()} == {
        "inner": ("variables/data", True),
        "outer": ("net.prototxt", False),
    }


def test_no_folder_of_this_machine_is_in_the_words_of_the_verdict(judged, tmp_path):
    _, verdict, _, sides, inputs = judged
    file = "/home/somebody/nets/deploy.prototxt"
    layers = [replace(layer, origin=replace(layer.origin, file=file, line=7)) for layer in verdict.layers]
    moved = replace(verdict, layers=layers, notes=[f"a tie in {layers[0].origin}"])
    certificate.write(tmp_path / "parity.json", moved, sides, inputs)
    text = (tmp_path / "parity.json").read_text()
    assert "somebody" not in text
    assert 'deploy.prototxt:7: layer \\"leaky\\"' in text


def test_an_input_is_known_by_its_bytes_shape_and_type(judged, tmp_path):
    _, verdict, _, sides, _ = judged
    values = np.arange(6, dtype=np.float32)
    inputs = {"rows": values.reshape(2, 3), "columns": values.reshape(3, 2), "scalar": np.float32(3)}
    certificate.write(tmp_path / "parity.json", verdict, sides, inputs)
    written = certificate.read(tmp_path / "parity.json")["inputs"]
    assert written["rows"]["sha256"] == written["columns"]["sha256"]
    assert [entry["shape"] for entry in written.values()] == [[2, 3], [3, 2], []]


def test_infinite_figures_are_words_so_that_any_reader_of_json_takes_it(judged, tmp_path):
    _, verdict, _, sides, inputs = judged
    layers = [replace(layer, difference=float("inf")) for layer in verdict.layers]
    certificate.write(tmp_path / "parity.json", replace(verdict, layers=layers), sides, inputs)

    def refuse(word):
        raise ValueError(word)

    written = json.loads((tmp_path / "parity.json").read_text(), parse_constant=refuse)
    assert written["layers"][0]["difference"] == "inf"
