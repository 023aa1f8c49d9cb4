"""What the README says is what happens: its tables are generated, its commands exist, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted(path for path in ROOT.rglob("README.md") if not {".venv", ".git"} & set(path.parts))


def converter(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "converter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_table_of_frameworks_is_what_the_registries_say():
    assert converter("frameworks", "--markdown").stdout in README


def test_the_two_commands_come_first_and_each_is_one_line():
    blocks = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert blocks[0].endswith(".venv/bin/python -m converter 'caffe->pytorch'\n")
    assert blocks[1].endswith(".venv/bin/python -m pytest\n")
    assert all(block.count("\n") == 1 for block in blocks[:2])


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"python -m converter (\w+)", README)) - {"caffe"}))
def test_every_verb_that_it_names_exists(verb):
    assert converter(verb, "--help").returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
