"""Which mirage is on PATH."""

from __future__ import annotations

import os

import pytest

from unibuild.errors import MissingError
from unibuild.toolchain.mirage.installation import mirage_version
from unibuild.toolchain.mirage.releases import RELEASES, release, series


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program called mirage on PATH, with a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(script: str) -> str:
        file = folder / "mirage"
        file.unlink(missing_ok=True)
        file.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\n{script}\n")
        file.chmod(0o755)
        return str(file)

    put.asked = lambda: (tmp_path / "asked").read_text().count("asked")
    return put


@pytest.mark.parametrize(
    ("said", "version"), [("v4.11.1", "4.11.1"), ("3.10.8", "3.10.8"), ("v4.11.1-3-gabc", "4.11.1")]
)
def test_the_version_is_what_it_says(program, tmp_path, said, version):
    path = program(f"echo {said}")
    assert mirage_version(tmp_path, {}) == (version, path)


def test_it_is_asked_once(program, tmp_path):
    program("echo v4.11.1")
    assert mirage_version(tmp_path, {}) == mirage_version(tmp_path, {})
    assert program.asked() == 1


def test_another_executable_is_asked_again(program, tmp_path):
    program("echo v4.11.1")
    mirage_version(tmp_path, {})
    program("echo v3.10.8; :")
    assert mirage_version(tmp_path, {})[0] == "3.10.8"


def test_what_is_kept_may_be_damaged(program, tmp_path):
    program("echo v4.11.1")
    mirage_version(tmp_path, {})
    (tmp_path / ".unibuild" / "mirage.json").write_text("[1")
    assert mirage_version(tmp_path, {})[0] == "4.11.1"


def test_a_tree_that_cannot_be_written_to_can_be_looked_at(program, tmp_path):
    program("echo v4.11.1")
    (tmp_path / ".unibuild").touch()  # a file, so that no folder can be made
    assert mirage_version(tmp_path, {})[0] == "4.11.1"


@pytest.mark.parametrize("script", ["echo 0.11.1", "echo Mirage 4.0", "echo cannot open display >&2; exit 1", "true"])
def test_the_image_viewer_is_not_taken_for_it(program, tmp_path, script):
    program(script)
    with pytest.raises(MissingError, match=r"mirage.*\n.*image viewer"):
        mirage_version(tmp_path, {})


def test_no_mirage_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match=r"the program mirage is not on PATH\n.*opam install mirage"):
        mirage_version(tmp_path, {})


def test_path_may_come_from_the_settings(program, tmp_path, monkeypatch):
    folder = os.path.dirname(program("echo v3.10.8"))  # noqa: PTH120
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert mirage_version(tmp_path, {"PATH": f"{folder}:/usr/bin:/bin"})[0] == "3.10.8"


@pytest.mark.parametrize("version", ["0.9.1", "4.12.0", "4.110.0", "5.0"])
def test_an_unknown_version_names_the_known_ones(version):
    with pytest.raises(MissingError, match=rf"/bin/mirage.*{version}.*1\.0 to 4\.11"):
        release(version, "/bin/mirage")


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("1.1.3", "1.0-1.1"),
        ("2.6.0", "2.1-2.6.0"),
        ("2.6.1", "2.6.1"),
        ("2.9.1", "2.7-2.9"),
        ("3.0.4", "3.0-3.0.4"),
        ("3.0.5", "3.0.5-3.3.0"),
        ("3.8.1", "3.7-3.8"),
        ("3.10.8", "3.9-3.10"),
        ("4.0.0", "4.0"),
        ("4.11.1", "4.5-4.11"),
    ],
)
def test_a_release_belongs_to_the_last_row_before_it(version, row):
    assert series(release(version, "mirage")) == row


def test_every_released_series_is_in_the_table():
    numbers = [f"{major}.{minor}" for major, last in ((1, 2), (2, 9), (3, 10), (4, 11)) for minor in range(last + 1)]
    rows = [release(number, "mirage").since for number in numbers]
    assert rows == sorted(rows)
    assert len({*rows}) >= len(RELEASES) - 3  # three rows begin in the middle of a series
