"""Real PyTorch, in a process of its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from runtimes import needs_runtime
from safetensors.numpy import save_file

from converter import environments
from converter.errors import WorkerFailed

pytestmark = needs_runtime("pytorch")

SOURCE = '''
"""A net as a person writes it."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.scale(x)
        y = torch.relu_(y)  # Writes into the value of the statement before.
        return y + x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, data: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One statement a layer."""
        hidden = self.blocks(
            data,
        )
        count = data.shape[0]
        first, (second, third) = hidden[:, 0], (hidden[:, 1], hidden[:, 2])
        chosen: torch.Tensor = first[
            index
        ]
        chosen += count
        return chosen, torch.stack(
            [first, second, third]
        )
'''


@pytest.fixture(scope="module")
def pytorch():
    with environments.open_runtime("pytorch") as runtime:
        yield runtime


@pytest.fixture
def model(tmp_path):
    """Makes a model of a source and its weights."""

    def make(source: str = SOURCE, weights: dict | None = None, **options) -> SimpleNamespace:
        files = {"source": tmp_path / "model.py", "weights": tmp_path / "model.safetensors"}
        files["source"].write_text(source)
        default = {
            f"blocks.{block}.scale.{part}": value
            for block in (0, 1)
            for part, value in (("weight", np.eye(3, dtype="f4")), ("bias", np.full(3, -1, "f4")))
        }
        save_file(default if weights is None else weights, files["weights"])
        return SimpleNamespace(
            framework="pytorch", files=files, options={"class": "Net", "outputs": ["chosen", "parts"], **options}
        )

    return make


INPUTS = {"data": np.array([[0, 1, 3], [2, 0, 0]]), "index": np.array([1])}
INPUTS["data"] = INPUTS["data"].astype(np.float64)


def test_taps_are_what_the_statements_assign(pytorch, model):
    with pytorch.open(model()) as session:
        assert session.names.inputs == ("data", "index")
        assert session.names.outputs == ("chosen", "parts")
        # The root has no tap ":2": that statement unpacks.
        assert set(session.names.taps) == {
            *(":0", ":1", ":2.0", ":2.1.0", ":2.1.1", ":3", ":4"),
            *("blocks.0:0", "blocks.0:1", "blocks.1:0", "blocks.1:1"),
        }
        found = session.run(INPUTS, "all")
    assert found["blocks.0:0"].tolist() == [[-1, 0, 2], [1, -1, -1]], "the value before a later statement wrote into it"
    assert found["blocks.0:1"].tolist() == [[0, 0, 2], [1, 0, 0]]
    assert found["blocks.1:0"].tolist() == [[-1, 0, 4], [2, -1, -1]]
    assert found[":0"].tolist() == [[0, 1, 9], [5, 0, 0]]
    assert found[":2.1.1"].tolist() == [9, 0]
    assert found[":3"].tolist() == [5] and found[":4"].tolist() == found["chosen"].tolist() == [7]
    assert found["parts"].tolist() == [[0, 5], [1, 0], [9, 0]]
    assert found["parts"].dtype == np.float32
    assert ":1" not in found, "a number is no tensor"


def test_only_what_is_asked_for_is_fetched(pytorch, model):
    with pytorch.open(model()) as session:
        assert session.run(INPUTS).keys() == {"chosen", "parts"}
        assert session.run(INPUTS, ["blocks.1:1"]).keys() == {"blocks.1:1"}
        with pytest.raises(WorkerFailed, match=":1 is no tensor: int"):
            session.run(INPUTS, [":1"])


def test_a_dictionary_is_returned_by_its_keys(pytorch, model):
    source = SOURCE.replace("return chosen, torch.stack(", "return dict(other=first, chosen=chosen, parts=torch.stack(")
    with pytorch.open(model(source.replace("third]\n        )", "third]\n        ))"))) as session:
        assert session.run(INPUTS)["chosen"].tolist() == [7]


def test_a_tap_that_has_two_values_is_refused(pytorch, model):
    with pytorch.open(model(SOURCE.replace("Sequential(Block(), Block())", "Sequential(*[Block()] * 2)"))) as session:
        assert session.run(INPUTS)["chosen"].tolist() == [7]
        with pytest.raises(WorkerFailed, match="blocks.0:1 has no single value: its module is called more than once"):
            session.run(INPUTS, ["blocks.0:1"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"outputs": ["one"]}, "forward returns 2 values, 1 are named"), ({"class": "Other"}, "no attribute 'Other'")],
)
def test_what_does_not_fit_is_told(pytorch, model, options, reason):
    with pytest.raises(WorkerFailed, match=reason):
        pytorch.open(model(**options)).run(INPUTS)


def test_missing_and_surplus_weights_are_told(pytorch, model):
    with pytest.raises(WorkerFailed, match="Missing key.*blocks.0.scale.weight.*Unexpected key.*other"):
        pytorch.open(model(weights={"other": np.ones(1, "f4")}))


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: b"\xff" * 8 + data, lambda data: data[:20]])
def test_damaged_weights_are_an_error_and_the_runtime_goes_on(pytorch, model, damage):
    broken = model()
    broken.files["weights"].write_bytes(damage(broken.files["weights"].read_bytes()))
    with pytest.raises(WorkerFailed):
        pytorch.open(broken)
    assert pytorch.open(model()).run(INPUTS)["chosen"].tolist() == [7]


def test_it_writes_nothing_beside_the_model(pytorch, model, tmp_path):
    pytorch.open(model()).run(INPUTS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.py", "model.safetensors"]
