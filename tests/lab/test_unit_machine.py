"""What is planned: QEMU's arguments, the snapshot's key, and the rules of ``[lab] forward``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import FileError, SettingsError
from unibuild.lab import qemu, snapshot
from unibuild.lab.network import parse_forward
from unibuild.lab.paths import LabPaths
from unibuild.lab.qemu import Machine

PLACES = LabPaths(Path("/c,c"), Path("/run/u"))
MACHINE = Machine("tcg", 768)


def after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_memory_that_freed_pages_hold_is_scrubbed():
    assert "bootscrub" not in qemu.XEN_OPTIONS


def test_xen_switches_the_fpu_eagerly():
    options = qemu.XEN_OPTIONS.split()
    assert options.index("spec-ctrl=eager-fpu") > options.index("spec-ctrl=no")


def test_a_boot_has_a_kernel_and_shares_its_memory():
    argv = qemu.arguments(MACHINE, PLACES, Path("/s/ram"))
    assert after(argv, "-kernel") == "xen"
    assert after(argv, "-initrd").startswith("vmlinux ")
    assert after(argv, "-object") == "memory-backend-file,id=ram,size=768M,mem-path=/s/ram,share=on"


def test_restored_lab_vm_waits_with_private_memory():
    argv = qemu.arguments(MACHINE, PLACES, Path("/s/ram"), restore=True)
    assert "-kernel" not in argv
    assert after(argv, "-incoming") == "defer"
    assert after(argv, "-object").endswith("share=off")


def test_without_a_file_memory_is_anonymous():
    assert after(qemu.arguments(MACHINE, PLACES, None), "-object") == "memory-backend-ram,id=ram,size=768M"


def test_comma_in_a_path_is_escaped():
    assert after(qemu.arguments(MACHINE, PLACES, None), "-chardev").endswith("path=/c,,c/serial.log")


@pytest.mark.parametrize(("network", "restricted"), [("closed", True), ("internet", False), ("open", False)])
def test_qemu_itself_closes_the_network(network, restricted):
    netdev = after(qemu.arguments(MACHINE, PLACES, None, network=network), "-netdev").split(",")
    assert ("restrict=on" in netdev, "ipv6=off" in netdev) == (restricted, True)


def test_only_this_machine_reaches_the_lab_vm():
    assert after(qemu.arguments(MACHINE, PLACES, None), "-netdev").count("hostfwd=tcp:127.0.0.1:") == 1


@pytest.mark.parametrize(
    "other",
    [
        (Machine("tcg", 1024), "7.2", b"image", b"overlay"),
        (Machine("kvm", 768), "7.2", b"image", b"overlay"),
        (MACHINE, "10.0", b"image", b"overlay"),
        (MACHINE, "7.2", b"another", b"overlay"),
        (MACHINE, "7.2", b"image", b"another"),
        (MACHINE, "7.2", b"imageover", b"lay"),
    ],
)
def test_any_change_makes_another_snapshot(other):
    assert snapshot.key(*other) != snapshot.key(MACHINE, "7.2", b"image", b"overlay")


@pytest.mark.parametrize("options", ["XEN_OPTIONS", "LINUX_OPTIONS"])
def test_other_boot_options_make_another_snapshot(monkeypatch, options):
    before = snapshot.key(MACHINE, "7.2", b"image", b"overlay")
    monkeypatch.setattr(qemu, options, "others")
    assert snapshot.key(MACHINE, "7.2", b"image", b"overlay") != before


def test_snapshot_without_a_key_does_not_exist(tmp_path):
    ram = snapshot.prepare(tmp_path / "snapshot", 1)
    assert ram.stat().st_mode & 0o777 == 0o600
    assert not snapshot.exists(tmp_path / "snapshot", "")
    (tmp_path / "snapshot" / "key").write_text("this")
    assert snapshot.exists(tmp_path / "snapshot", "this")


def test_full_disk_is_reported_before_the_boot(tmp_path, monkeypatch):
    full = dataclasses.make_dataclass("Usage", ["free"])(500 << 20)
    monkeypatch.setattr(snapshot.shutil, "disk_usage", lambda _: full)
    with pytest.raises(FileError, match="needs 832 MiB, and 500 MiB are free"):
        snapshot.prepare(tmp_path / "snapshot", 768)


@given(st.integers(1, 65535), st.integers(0, 255), st.integers(1, 65535))
def test_forward_rules_are_read(here, host, there):
    assert parse_forward(f"{here}:{there}") == (here, f"10.0.2.50:{there}")
    assert parse_forward(f"{here}:10.0.2.{host}:{there}") == (here, f"10.0.2.{host}:{there}")


@pytest.mark.parametrize(
    "rule", ["", "80", "0:80", "8080:65536", "8080:host:80", "8080:192.168.0.1:80", "8080:80\n", "x:80"]
)
def test_other_rules_are_refused(rule):
    with pytest.raises(SettingsError, match="forward"):
        parse_forward(rule)
