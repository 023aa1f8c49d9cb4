"""Every way that people type a pair of frameworks."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.errors import UsageError
from converter.frameworks import ALIASES
from converter.pair import looks_like_pair, parse_pair, undo_redirect


@pytest.mark.parametrize(
    "text", ["caffe->pytorch", "caffe:pytorch", "caffe-to-pytorch", "Caffe -> Torch", "caffe→pytorch"]
)
def test_the_same_pair_in_every_spelling(text):
    assert looks_like_pair(text)
    assert parse_pair(text) == ("caffe", "pytorch")


@given(st.sampled_from(sorted(ALIASES)), st.sampled_from(sorted(ALIASES)), st.sampled_from(["->", ":", "-to-"]))
def test_every_pair_of_two_frameworks_is_understood(source, target, arrow):
    if source == target:
        with pytest.raises(UsageError, match="two different"):
            parse_pair(source + arrow + target)
    else:
        assert parse_pair(source + arrow + target) == (source, target)


def test_aliases():
    assert parse_pair("dl4j->theano") == ("deeplearning4j", "lasagne")


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(UsageError, match='unknown framework "cafe"; did you mean caffe?'):
        parse_pair("cafe->pytorch")


def test_no_pair_at_all():
    with pytest.raises(UsageError, match="not a pair"):
        parse_pair("caffe->")


def test_the_shell_s_redirect_is_recognised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("pytorch", "w") as redirected:
        assert undo_redirect("caffe-", redirected.fileno()) == "pytorch"
    with open("notes.txt", "w") as other:
        assert undo_redirect("caffe-", other.fileno()) is None


def test_a_closed_standard_output_is_no_redirect(tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    os.close(handle)
    assert undo_redirect("caffe-", handle) is None
