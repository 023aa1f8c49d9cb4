"""Environments are found, made whole or not at all, mended and removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from converter import environments
from converter.environments import lifecycle, locations
from converter.errors import EnvironmentMissing, UsageError


def silent(line: str) -> None:
    pass


def left_behind(home: Path) -> list[str]:
    """What an installation that failed must not leave: environments, builds, and half of either."""
    return [entry.name for folder in ("environments", "builds") for entry in (home / folder).glob("*")]


def test_a_missing_runtime_names_the_command(toy_to_build):
    assert environments.status("toy").state == "missing"
    with pytest.raises(EnvironmentMissing) as caught:
        environments.open_runtime("toy")
    assert str(caught.value) == (
        "toy is not installed (missing: never installed here); install it with: python -m converter env install toy"
    )


def test_an_unknown_runtime_names_the_known(toy):
    for ask in (environments.status, environments.install_command, environments.open_runtime, environments.remove):
        with pytest.raises(UsageError, match="no runtime is called 'chess'; there are: toy"):
            ask("chess")


def test_the_interpreter_of_the_converter_is_used_where_it_fits(toy):
    found = environments.install("toy", silent)
    assert (found.state, found.python, found.location) == ("installed", Path(sys.executable), None)
    assert found.versions.keys() == {"python", "numpy"}


def test_a_folder_of_the_user_is_not_taken_for_the_framework(toy_to_build, tmp_path, monkeypatch):
    (tmp_path / "toy_module").mkdir()
    (tmp_path / "toy_module" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend("")
    assert environments.status("toy").state == "missing"


def test_is_installed_once_and_proven(toy_to_build):
    lines = []
    found = environments.install("toy", lines.append)
    assert found.state == "installed" and found.versions["toy_module"] == "1.5"
    assert found.location.parent == locations.environments() and found.python.is_relative_to(found.location)
    assert "building the toy" in lines
    assert environments.status("toy") == found
    lines.clear()
    assert environments.install("toy", lines.append).location == found.location
    assert lines == []

    environments.remove("toy")
    assert environments.status("toy").state == "missing"
    assert left_behind(locations.home()) == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "environment.json").unlink(), "environment.json is gone or damaged"),
        (lambda folder: (folder / "environment.json").write_text("[]"), "environment.json is gone or damaged"),
        (lambda folder: (folder / "bin/python").unlink(), "Python .* is gone"),
        (lambda folder: next(folder.glob("lib/*/site-packages/toy_module.py")).unlink(), "toy_module.py is gone"),
    ],
    ids=["no record", "damaged record", "no Python", "no module"],
)
def test_a_broken_one_is_found_and_mended(toy_to_build, damage, reason):
    damage(environments.install("toy", silent).location)
    assert environments.status("toy").state == "broken"
    with pytest.raises(EnvironmentMissing, match=f"broken: .*{reason}"):
        environments.open_runtime("toy")
    lines = []
    assert environments.install("toy", lines.append).state == "installed"
    assert "building the toy" not in lines, "the earlier build is taken from the cache"


def test_a_module_that_no_longer_imports_is_found_and_mended(toy_to_build):
    found = environments.install("toy", silent)
    next(found.location.glob("lib/*/site-packages/toy_module.py")).write_text("raise ImportError('libtoy.so is gone')")
    assert lifecycle.check("toy").detail == "ImportError: libtoy.so is gone"
    lines = []
    assert environments.install("toy", lines.append).state == "installed"
    assert "toy is broken (ImportError: libtoy.so is gone): making it anew" in lines
    assert lifecycle.check("toy").state == "installed"


def test_another_lock_is_another_environment(toy_to_build):
    first = environments.install("toy", silent).location
    (toy_to_build / "toy.lock").write_text("# another\n")
    found = environments.status("toy")
    assert found.state == "missing" and found.detail == f"{first.name} is of another version"
    assert environments.install("toy", silent).location != first
    environments.remove("toy")
    assert left_behind(locations.home()) == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("print('error: no compiler'); raise SystemExit(1)", r"error: no compiler \(log: .*toy.log\)"),
        ("", "No module named 'toy_module'"),
        ("import pathlib, sys; pathlib.Path(sys.argv[1], 'toy_module.py').write_text('1 / 0')", "ZeroDivisionError"),
    ],
    ids=["build fails", "build makes nothing", "module does not import"],
)
def test_a_failed_installation_says_why_and_leaves_nothing(toy_to_build, script, reason):
    (toy_to_build / "build.py").write_text(script)
    with pytest.raises(EnvironmentMissing, match=reason):
        environments.install("toy", silent)
    assert left_behind(locations.home()) == []


def test_a_lock_without_hashes_is_refused(toy_to_build):
    (toy_to_build / "toy.lock").write_text("six==1.17.0\n")
    with pytest.raises(EnvironmentMissing, match="--require-hashes"):
        environments.install("toy", silent)


def test_what_a_killed_installation_left_is_not_built_upon(toy_to_build):
    final = environments.install("toy", silent).location
    partial = final.with_name(f".{final.name}.partial")
    final.rename(partial)
    assert environments.status("toy").state == "missing"
    assert environments.install("toy", silent).state == "installed"
    assert not partial.exists()


def test_an_interrupted_installation_leaves_nothing(toy_to_build):
    def interrupt(line: str) -> None:
        if line == "building the toy":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.install("toy", interrupt)
    assert left_behind(locations.home()) == []


def test_two_installations_at_a_time_make_one(toy_to_build, tmp_path):
    script = f"""
import pathlib
from converter import environments
from converter.environments import description
description.FRAMEWORKS = pathlib.Path({str(toy_to_build.parent)!r})
print(environments.install("toy", print).state)
"""
    (toy_to_build / "build.py").write_text((toy_to_build / "build.py").read_text() + "\nimport time; time.sleep(1)")
    environment = {**os.environ, "PYTHONPATH": str(Path(environments.__file__).parents[2])}
    both = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0].splitlines() for process in both]
    assert [lines[-1] for lines in printed] == ["installed", "installed"]
    assert sum("building the toy" in lines for lines in printed) == 1
    assert sum("waiting: another process is installing or removing toy" in lines for lines in printed) == 1


def test_too_little_disk_is_told_before_the_download(toy_to_build):
    table = (toy_to_build / "environment.toml").read_text()
    (toy_to_build / "environment.toml").write_text(
        table.replace("disk_megabytes = 1", "disk_megabytes = 10_000_000_000")
    )
    with pytest.raises(EnvironmentMissing, match="10000000000 MB are needed in"):
        environments.install("toy", silent)


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="a system without dpkg")
def test_only_root_installs_system_packages_and_others_get_the_command(toy_to_build, monkeypatch):
    with (toy_to_build / "environment.toml").open("a") as file:
        file.write('[system_packages]\nrun = ["libc6", "libtoy-of-no-distribution"]\n')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EnvironmentMissing) as caught:
        environments.install("toy", silent)
    assert caught.value.command == (
        "sudo apt-get install --yes --no-install-recommends libtoy-of-no-distribution"
        " && python -m converter env install toy"
    )


@pytest.mark.parametrize(
    ("variables", "home"),
    [
        ({"CONVERTER_HOME": "/far/away"}, "/far/away"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/converter"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/me"}, "/me/.cache/converter"),
        ({"HOME": "/me"}, "/me/.cache/converter"),
    ],
)
def test_one_setting_says_where_environments_live(monkeypatch, variables, home):
    for name in ("CONVERTER_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert locations.home() == Path(home)
