"""Every framework's environment.toml says what is true, and every lock file pins it with hashes."""

from __future__ import annotations

import re

import pytest

from converter import environments
from converter.environments.description import describe
from converter.errors import UsageError

NAMES = environments.names()


def test_there_are_runtimes():
    assert {"caffe", "onnx", "pytorch"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_lock_pins_what_was_asked_for(name):
    described = describe(name)
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", described.lock.read_text(), re.MULTILINE))
    for requirement in described.requirements:
        package, exact, version = requirement.partition("==")
        package = re.match(r"[\w.-]+", package).group().replace("_", "-")
        assert package in pinned
        assert not exact or pinned[package] == version


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_a_lock_has_a_hash_and_no_address(name):
    described = describe(name)
    for lock in filter(None, (described.lock, described.build_sources, described.build_lock)):
        entries = re.split(r"\n(?=\S)", lock.read_text().strip())
        assert all(re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry, re.DOTALL) for entry in entries)
        assert "://" not in lock.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_fatal_line_is_a_regular_expression(name):
    described = describe(name)
    assert described.fatal_line is None or re.compile(described.fatal_line)
    assert described.worker.is_file()


def test_what_source_distributions_are_built_with_makes_another_environment(toy):
    without = describe("toy").digest
    (toy / "build.lock").write_text("setuptools==80.9.0\n")
    table = (toy / "environment.toml").read_text()
    (toy / "environment.toml").write_text('build_lock = "build.lock"\n' + table)
    older = describe("toy").digest
    (toy / "build.lock").write_text("setuptools==80.8.0\n")
    assert len({without, older, describe("toy").digest}) == 3


def test_an_unknown_kind_is_refused(toy):
    table = (toy / "environment.toml").read_text().replace("virtual environment", "punched cards")
    (toy / "environment.toml").write_text(table)
    with pytest.raises(UsageError, match="environment.toml: kind 'punched cards' is none of: virtual environment"):
        environments.status("toy")
