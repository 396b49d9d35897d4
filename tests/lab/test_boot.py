"""Real domains on the real Xen of the lab: output arrives, ends are reported, and refusals are explained."""

import os
import re
import sys
import time
from pathlib import Path

import pexpect
import pytest

from unibuild.deploy import boot, host_files
from unibuild.deploy.console_session import console
from unibuild.deploy.destroy import destroy
from unibuild.deploy.up_to_date import is_current
from unibuild.errors import DomainError, LabError
from unibuild.graph import xl_file
from unibuild.settings.loader import load
from unibuild.util import process

pytestmark = pytest.mark.lab

ATTACHED = """
import sys
from pathlib import Path
from unibuild.settings.loader import load
from unibuild.deploy import boot
root, xl, kernel, accel = sys.argv[1:]
boot.boot(load(Path(root), {"boot.console": "attach", "lab.accel": accel}, {}), Path(xl), Path(kernel))
"""


class Tree:
    """A project with a kernel that is built already."""

    def __init__(self, root: Path, kernels) -> None:
        self.root, self.kernels = root, kernels
        (root / "unibuild.toml").write_text('name = "hello"\nhost = "lab"\n[xl]\nmemory = 32\n')
        self.kernel = kernels.pv
        self.words: dict[str, str] = {"boot.wait": "2", "lab.accel": os.environ.get("UNIBUILD_LAB_ACCEL", "auto")}

    def prepare(self, **words: str):
        """Return what `boot` takes; the words are settings (`__` is a dot)."""
        told = {key.replace("__", "."): value for key, value in words.items()}
        project = load(self.root, {**self.words, **told}, {})
        path = self.root / "hello.xl"
        path.write_text(xl_file.render(project, self.kernel, None))
        return project, path, self.kernel

    def boot(self, **words: str) -> None:
        boot.boot(*self.prepare(**words))


@pytest.fixture
def tree(tmp_path, dom0, hello_kernels):
    return Tree(tmp_path, hello_kernels)


@pytest.fixture(params=["pv", "pvh"])
def either(tree, request):
    tree.kernel = getattr(tree.kernels, request.param)
    return tree


def said(capfd) -> list[str]:
    return capfd.readouterr().out.splitlines()


def test_all_lines_of_a_domain_that_dies_at_once(either, capfd):
    with pytest.raises(DomainError, match="hello crashed"):
        either.boot(xl__cmdline="lines=1000 crash=1", boot__wait="200")
    lines = said(capfd)
    assert lines[0].startswith("hello from hello, a PV")
    assert [line for line in lines if line.startswith("line ")] == [f"line {n} of 1000" for n in range(1, 1001)]
    assert lines[-1] == "crashing, as asked"
    log = (either.root / ".unibuild/console/hello.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in log] == lines
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line) for line in log)


def test_the_end_by_itself(either, capfd, dom0):
    either.boot(xl__cmdline="exit=1", boot__wait="200")
    out, err = capfd.readouterr()
    assert out.splitlines()[-2:] == ["tick 1", "bye"]
    assert err.splitlines()[-1] == "unibuild: hello powered off"
    assert dom0.toolstack.find(name="hello") is None


def test_the_end_by_xl_shutdown(tree, capfd, dom0):
    # It outlives its ssh client, as all do behind a shared connection: it ends with the domain.
    seen = "n=0; until xl domid hello; do n=$((n + 1)); [ $n -lt 200 ] || exit; sleep 1; done"
    asking = f"{{ {seen}; while xl domid hello; do xl shutdown hello; sleep 2; done; }} >/dev/null 2>&1"
    with dom0.start(["sh", "-c", asking]) as child:
        tree.boot(boot__wait="200")
        child.wait()
    assert capfd.readouterr().err.splitlines()[-1] == "unibuild: hello powered off"


def test_boot_twice_and_then_changed(tree, capfd, dom0):
    tree.boot()
    first = dom0.toolstack.find(name="hello")
    assert is_current(*tree.prepare())
    tree.boot()
    assert "already, unchanged" in capfd.readouterr().err
    assert dom0.toolstack.find(name="hello").uuid == first.uuid
    tree.boot(xl__cmdline="changed", boot__ready__console="^command line", boot__ready__timeout="120")
    assert dom0.toolstack.find(name="hello").uuid != first.uuid
    assert "command line: changed" in said(capfd)


def test_console_can_be_detached_and_reattached(tree, capfd):
    tree.boot()
    console(load(tree.root, tree.words, {}))
    ticks = [line for line in said(capfd) if line.startswith("tick ")]
    assert ticks == [f"tick {n}" for n in range(1, len(ticks) + 1)]


def test_small_lab_suffices_for_status_and_destroy(tree, dom0):
    tree.boot()
    more = load(tree.root, {**tree.words, "lab.memory": "2048"}, {})
    console(more)
    destroy(more)
    assert dom0.toolstack.find(name="hello") is None
    with pytest.raises(LabError, match="1024 MiB of memory, not 2048"):
        tree.boot(lab__memory="2048")


def test_keys_reach_the_domain_and_ctrl_bracket_leaves_it_running(tree, dom0):
    project, path, kernel = tree.prepare(boot__console="attach")
    argv = ["-c", ATTACHED, str(tree.root), str(path), str(kernel), project.settings.lab.accel]
    with pexpect.spawn(sys.executable, argv, encoding="utf-8", timeout=60) as terminal:
        before = terminal.ptyproc.getecho()
        terminal.expect("tick 1\r\n")
        terminal.send("abc\r")
        terminal.expect("heard: abc\r\n")
        terminal.send("\x1d")
        terminal.expect(r"hello runs as domain \d+ of lab")
        terminal.expect(pexpect.EOF)
        assert terminal.ptyproc.getecho() == before
    assert terminal.exitstatus == 0
    assert not dom0.toolstack.find(name="hello").has_ended


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("type = 'pv'", "type = 'pvh'"), "cannot start in a domain of type pvh"),
        (("memory = 32", "memory = 1"), "the memory of hello is too small for its kernel"),
        (("name = ", "disk = ['/no.img,raw,xvda,w']\nname = "), "lab lacks the file /no.img for a disk of hello"),
        (
            ("name = ", "vif = ['bridge=br7,script=vif-bridge-x']\nname = "),
            "lacks the script /etc/xen/scripts/vif-bridge-x",
        ),
    ],
)
def test_refusals_of_the_real_xl(tree, dom0, change, sentence):
    _, path, kernel = tree.prepare()
    path.write_text(path.read_text().replace(str(kernel), dom0.put(kernel)).replace(*change))
    with pytest.raises(DomainError, match=sentence):
        dom0.toolstack.create_paused(dom0.put(path), name="hello", uuid="11111111-2222-3333-4444-555555555555")
    assert dom0.toolstack.find(name="hello") is None


def test_a_memory_too_small_for_pvh(tree, dom0):
    tree.kernel = tree.kernels.pvh
    with pytest.raises(DomainError, match="the memory of hello is too small for a PVH domain"):
        tree.boot(xl__memory="16")
    assert dom0.toolstack.find(name="hello") is None


def test_written_disk_outlives_destroy(tree, dom0, capfd):
    (tree.root / "data.img").write_bytes(b"some data".ljust(1 << 20, b"\0"))
    words = {"xl__disk__xvda__target": "data.img", "boot__console": "none"}
    tree.boot(**words)
    folder = f"{dom0.folder}/{host_files.host_folder(tree.root, 'hello')}"
    destroy(load(tree.root, tree.words, {}))
    (kept,) = dom0.run(["ls", folder]).text.split()
    assert capfd.readouterr().err.endswith(f"kept its written disk on lab for the next boot: {folder}/{kept}\n")
    tree.boot(**words)
    assert kept in dom0.run(["ls", folder]).text.split()


def test_a_raw_disk_and_a_vif(either, dom0, capfd):
    image = either.root / "data.img"
    image.write_bytes(b"some data".ljust(1 << 20, b"\0"))
    either.boot(xl__disk__xvda__target="data.img", xl__vif__0__bridge="xenbr0")
    domid = str(dom0.toolstack.find(name="hello").domid)
    for verb in ("block-list", "network-list"):
        assert len(dom0.run(["xl", verb, domid]).text.splitlines()) == 2
    params = dom0.run(["xenstore-read", f"/local/domain/0/backend/vbd/{domid}/51712/params"]).text.strip()
    assert params.endswith(".xvda")
    assert dom0.run(["dd", f"if={params}", "bs=9", "count=1"]).text == "some data"


def test_nothing_is_left_running_here(tree, dom0):
    tree.boot()
    assert process.run(["ps", "-o", "args=", "--ppid", str(os.getpid())]).text.splitlines()[:-1] == []
    deadline = time.monotonic() + 60
    while found := re.findall("xenconsole .*|xenstore-watch.*", dom0.run(["ps"]).text):  # a slow dom0 ends them late
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.mark.parametrize("seconds", [0.4, 1.2])
def test_ctrl_c_is_not_reported_as_a_host_error(tree, dom0, seconds):
    project, path, kernel = tree.prepare()
    argv = ["-c", "print('begin')\n" + ATTACHED, *map(str, (tree.root, path, kernel)), project.settings.lab.accel]
    with pexpect.spawn(sys.executable, argv, encoding="utf-8", timeout=60) as spawned:
        spawned.delaybeforesend = seconds
        spawned.expect("begin")
        spawned.sendintr()
        outcomes = ["KeyboardInterrupt", "Ctrl-.] leaves it", r"unibuild\.errors\.\w+"]
        if spawned.expect(outcomes) == 1:  # the key was the domain's
            spawned.send("\x1d")
            spawned.expect("hello runs as domain")
        else:
            assert spawned.after == "KeyboardInterrupt"
            assert "hello runs as domain" in spawned.before or dom0.toolstack.find(name="hello") is None
        spawned.expect(pexpect.EOF)
