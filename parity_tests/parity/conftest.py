"""A verdict with everything that evidence is written from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import score_judge  # noqa: E402

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
