"""A result is there whole, or not at all."""

import os

import pytest

from converter.errors import WriteError
from converter.storage import CARD, new_directory


def test_a_result_appears_when_the_block_ends(tmp_path):
    with new_directory(tmp_path / "a" / "out") as folder:
        (folder / "model.py").write_text("x")
        assert not (tmp_path / "a" / "out").exists()
    assert (tmp_path / "a" / "out" / "model.py").read_text() == "x"
    assert os.listdir(tmp_path / "a") == ["out"]


def test_nothing_is_left_when_the_block_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_directory(tmp_path / "out") as folder:
        (folder / "half").write_text("")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_an_earlier_result_is_replaced_whole(tmp_path):
    for text in ("first", "second"):
        with new_directory(tmp_path / "out") as folder:
            (folder / CARD).write_text("{}")
            (folder / f"{text}.txt").write_text(text)
    assert sorted(os.listdir(tmp_path / "out")) == [CARD, "second.txt"]
    assert os.listdir(tmp_path) == ["out"]


def test_an_earlier_result_survives_a_failure(tmp_path):
    with new_directory(tmp_path / "out") as folder:
        (folder / CARD).write_text("{}")
    with pytest.raises(RuntimeError), new_directory(tmp_path / "out"):
        raise RuntimeError
    assert os.listdir(tmp_path / "out") == [CARD]


def test_somebody_else_s_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(WriteError, match="not empty"), new_directory(tmp_path):
        pass
    assert (tmp_path / "thesis.tex").exists()


def test_force_replaces_it(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("")
    with new_directory(out, force=True) as folder:
        (folder / "new").write_text("")
    assert os.listdir(out) == ["new"]


def test_a_file_is_no_destination(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(WriteError, match="is no folder"), new_directory(tmp_path / "out"):
        pass


def test_leftovers_of_a_killed_process_go_those_of_a_living_one_stay(tmp_path):
    dead = tmp_path / ".out.partial-4194303-00000000"
    alive = tmp_path / f".out.partial-{os.getpid()}-00000000"
    dead.mkdir()
    alive.mkdir()
    with new_directory(tmp_path / "out"):
        pass
    assert not dead.exists()
    assert alive.exists()
