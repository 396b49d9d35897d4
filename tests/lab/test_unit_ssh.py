from __future__ import annotations

import base64
import io
import os
import socket
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import FileError, LabError
from unibuild.lab import ssh
from unibuild.lab.paths import LabPaths
from unibuild.util import process


@pytest.fixture
def folder(tmp_path) -> Path:
    ssh.ensure(tmp_path / "keys")
    return tmp_path / "keys"


def test_keys_are_created_once_and_private(folder):
    before = (folder / "user").read_bytes()
    ssh.ensure(folder)
    assert (folder / "user").read_bytes() == before
    assert {oct((folder / name).stat().st_mode & 0o777) for name in ("user", "host", "known_hosts")} == {"0o600"}


def test_dropbear_gets_the_same_key_pair(folder):
    found = ssh.dropbear_key((folder / "host").read_text())
    kind, pair = found[4:15], found[19:]
    public = base64.b64decode((folder / "host.pub").read_text().split()[1])
    assert (struct.unpack(">I", found[:4])[0], kind) == (11, b"ssh-ed25519")
    assert (len(pair), pair[32:]) == (64, public[-32:])


def test_truncated_key_is_reported(folder):
    text = (folder / "host").read_text().splitlines()
    with pytest.raises(LabError, match="cannot read the lab's host key"):
        ssh.dropbear_key("\n".join([*text[:2], text[-1]]))


def test_key_of_another_type_is_reported(tmp_path):
    process.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(tmp_path / "key")])
    with pytest.raises(LabError, match="ecdsa"):
        ssh.dropbear_key((tmp_path / "key").read_text())


@given(st.text())
def test_any_key_text_is_accepted_or_refused(text):
    with pytest.raises(LabError):
        ssh.dropbear_key(text)


def test_overlay_has_the_scripts_and_keys(folder):
    file = io.BytesIO()
    ssh.write_overlay(file, folder)
    data = file.getvalue()
    for name in (b"init", b"etc/inittab", b"etc/xen/scripts/vif-bridge", b"etc/dropbear/dropbear_ed25519_host_key"):
        assert b"\0" + name + b"\0" in data or name + b"\0" in data
    assert (folder / "user.pub").read_bytes() in data
    assert (folder / "user").read_bytes() not in data


def test_ssh_reads_a_configuration_with_odd_names(tmp_path):
    cache = tmp_path / "a b%d"
    paths = LabPaths.of({"XDG_CACHE_HOME": str(cache)})
    config = tmp_path / "config"
    config.write_text(ssh.ssh_config(paths, 2222))
    said = process.run(["ssh", "-F", str(config), "-G", "box"]).text.splitlines()
    assert f"userknownhostsfile {paths.keys / 'known_hosts'}" in [line.replace('"', "") for line in said]
    assert "port 2222" in said
    assert "stricthostkeychecking true" in said


def test_sockets_have_short_names_wherever_the_cache_is():
    paths = LabPaths.of({"XDG_CACHE_HOME": "/" + "long/" * 60})
    assert len(os.fsencode(paths.ssh_socket)) + 17 < 108


@pytest.fixture
def short_path():
    """A folder with a name short enough for sockets; tmp_path is longer if several workers run."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("run", [True, False], ids=["XDG_RUNTIME_DIR", "no XDG_RUNTIME_DIR"])
def test_name_in_tmp_of_another_user_is_avoided(short_path, monkeypatch, run):
    user = os.getuid() + 54321
    monkeypatch.setattr(os, "getuid", lambda: user)  # so that what this test makes is another user's
    environ = {"XDG_CACHE_HOME": str(short_path)} | ({"XDG_RUNTIME_DIR": "/run/mine"} if run else {})
    first = LabPaths.of(environ).runtime
    first.mkdir()
    try:
        second, paths = LabPaths.of(environ).runtime, short_path / "unibuild" / "lab"
        assert (first.parent, second.parent) == (Path("/tmp"), Path("/run/mine") if run else paths)
    finally:
        first.rmdir()


def test_runtime_folder_of_another_user_is_refused(tmp_path):
    paths = LabPaths(tmp_path / "cache", tmp_path / "runtime")
    paths.runtime.mkdir()
    paths.runtime.chmod(0o777)
    with pytest.raises(FileError, match="other users can access"):
        paths.make_runtime()


def test_a_relative_cache_home_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LabPaths.of({"XDG_CACHE_HOME": "here"}) == LabPaths.of({})


def test_uncreatable_cache_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot create the lab's folder"):
        LabPaths(tmp_path / "file" / "cache", tmp_path).make_cache()


def test_hanging_shared_connection_is_not_waited_for(monkeypatch):
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as silent:
        paths = LabPaths(Path(name), Path(name))
        silent.bind(str(paths.ssh_socket))
        silent.listen()
        run = process.run
        monkeypatch.setattr(process, "run", lambda *args, **how: run(*args, **{**how, "timeout": 0.2}))
        assert not ssh.answers(paths, port=1)
        ssh.close(paths)
        assert not paths.ssh_socket.exists()
