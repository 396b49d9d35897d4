"""How many commands a boot, a replacement and a destroy send over SSH, one after the other: each costs a round trip."""

import contextlib
import re
import threading
import time

import pytest

from unibuild.deploy import boot, host_files, replacement
from unibuild.deploy.console_output import ConsoleOutput
from unibuild.deploy.destroy import destroy
from unibuild.deploy.hosts import open_host
from unibuild.domain import console
from unibuild.settings.loader import load

MOST = {"first boot": 3, "no-op boot": 1, "replacement": 5, "destroy": 4}
"""The most exchanges that each may take; lower them when a change saves one."""
MOST_WITH_A_LARGE_KERNEL = {"first boot": 4, "replacement": 6}
DEVICES = ("vif = ['bridge=lo']", "disk = ['format=raw,vdev=xvda,access=ro,target=/dev/null']")
"""Lines of an ``.xl`` that preflight checks on the host."""


class Far:
    """A project with a domain on a host behind SSH, and the exchanges of each action."""

    def __init__(self, root, xen, devices, most) -> None:
        self.root, self.xen, self.devices, self.most = root, xen, devices, most
        root.mkdir()
        (root / "unibuild.toml").write_text("")
        self.words = {"host": "ssh://there", "boot.grace": "60"}

    @property
    def project(self):
        return load(self.root, self.words, {})

    def boot(self, readers, *script: str, show=lambda _: None, **how) -> None:
        kernel = self.xen.kernel(*script)
        project = self.project
        self.host = open_host(project.settings)
        xl_file, output = self.xen.xl_file(kernel, *self.devices), ConsoleOutput(raw=False)
        output.show = show
        boot.boot_in_place(project, self.host, xl_file, kernel, output, readers, **how)

    def destroy(self) -> None:
        destroy(self.project)

    def wait_until_it_obeys(self) -> None:
        """Wait until the domain accepts a request to shut down."""
        deadline = time.monotonic() + 60
        while not any(
            path.endswith("/control/feature-poweroff") and value == "1"
            for path, value in self.xen.store("/local/domain").items()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def exchanges(self, act, *args) -> list[str]:
        """Return the commands that an action sent; those of consoles, which it does not wait for, are left out."""
        before = len(self.xen.remote())
        act(*args)
        return [command for command in self.xen.remote()[before:] if not re.search("UNIBUILD_READER|@release", command)]


@pytest.fixture(params=[("root", (), host_files.SMALL), ("ann", DEVICES, 0)], ids=["root", "ann"])
def far(request, tmp_path, xen, monkeypatch):
    user, devices, size = request.param
    monkeypatch.setattr(host_files, "SMALL", size)
    monkeypatch.setattr("unibuild.host.ssh._ROOT_FOLDER", str(tmp_path / "copies"))
    for module in (console, replacement):
        monkeypatch.setattr(module, "QUIET", 0.02)
        monkeypatch.setattr(module, "SILENT", 0.3)
    monkeypatch.setenv("STANDIN_ATTACH", "0")
    (xen.world / "ssh-config").write_text(f"user {user}\nhostname there\n")
    return Far(tmp_path / "tree", xen, devices, MOST if size else MOST | MOST_WITH_A_LARGE_KERNEL)


@pytest.fixture
def readers():
    with contextlib.ExitStack() as stack:
        yield stack


def test_exchanges_are_few(far, readers):
    found = {"first boot": far.exchanges(far.boot, readers, "say old", "obey")}
    found["no-op boot"] = far.exchanges(far.boot, readers, "say old", "obey")
    far.wait_until_it_obeys()
    found["replacement"] = far.exchanges(far.boot, readers, "say new", "obey")
    found["destroy"] = far.exchanges(far.destroy)
    too_many = {what: sent for what, sent in found.items() if len(sent) > far.most[what]}
    assert too_many == {}, "\n".join(f"{what}, {len(sent)}:\n" + "\n".join(sent) for what, sent in too_many.items())


def test_no_argument_has_text_of_the_xl_file(far, readers, tmp_path):
    for number, word in enumerate(("old", "new", "new")):  # the last one has a known kernel
        far.devices = (f"extra = 'password{number}'",)
        far.boot(readers, f"say {word}", "obey")
    words = [word for program in ("ssh", "sudo", "xl") for call in far.xen.calls(program) for word in call]
    assert [word for word in (*far.xen.remote(), *words) if "password" in word] == []
    copies = [path for folder in (tmp_path / "copies", far.xen.world / "home") for path in folder.rglob("[0-9a-f]*")]
    assert "password2" in "".join(path.read_text() for path in copies if len(path.name) == 64)


class LastingDrain(replacement.ConsoleDrain):
    """Reads the old console until the new domain's output was shown."""

    def __init__(self, shown: threading.Event) -> None:
        self.reader, self._shown, self._stack = None, shown, contextlib.ExitStack()

    def drain(self) -> None:
        assert self._shown.wait(60)


class SlowObserver(replacement.ReplaceObserver):
    def __init__(self, shown: threading.Event) -> None:
        self._shown = shown

    def drain_console(self, *_):
        return LastingDrain(self._shown)


def test_new_output_is_shown_while_the_old_console_is_read(far, readers):
    shown = threading.Event()
    far.boot(readers, "say old", "obey")
    far.wait_until_it_obeys()
    far.boot(readers, "say new", "obey", show=lambda data: b"new" in data and shown.set(), observer=SlowObserver(shown))
    assert shown.is_set()
