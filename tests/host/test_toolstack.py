"""The registry of toolstacks, those that are in it, and a toy one that only the registry and settings know."""

import ast
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import toy_toolstack
from toolstack_contract import ToolstackContract

import unibuild
from unibuild.cli import doctor_checks
from unibuild.deploy import hosts
from unibuild.errors import SettingsError
from unibuild.host import sudoers, toolstack
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh
from unibuild.host.xl import XlToolstack
from unibuild.settings.loader import load

TABLE = 'host = "box"\n[hosts.box]\naddress = "local"\ntoolstack = "toy"\n'


@pytest.mark.parametrize("host", [Local(uid=0), Ssh("there")], ids=["local", "ssh"])
class TestXl(ToolstackContract):
    @pytest.fixture
    def toolstack(self, xen, host):
        return XlToolstack(host)

    @pytest.fixture
    def config(self, xen):
        return lambda *script: str(xen.xl_file(xen.kernel(*script, name=f"k{len(list(xen.world.iterdir()))}.xen")))


class TestToy(ToolstackContract):
    @pytest.fixture
    def toolstack(self, monkeypatch):
        monkeypatch.setattr(toy_toolstack, "WORLD", toy_toolstack.World())
        monkeypatch.setitem(toolstack.TOOLSTACKS, "toy", "toy_toolstack:ToyToolstack")
        return toolstack.open_toolstack("toy", Local())

    @pytest.fixture
    def config(self, xen):
        return lambda *script: str(xen.xl_file(xen.kernel(*script)))


def test_a_host_has_xl_unless_its_table_names_another(tmp_path, monkeypatch):
    monkeypatch.setitem(toolstack.TOOLSTACKS, "toy", "toy_toolstack:ToyToolstack")
    (tmp_path / "unibuild.toml").write_text(TABLE)
    assert isinstance(hosts.open_host(load(tmp_path).settings).toolstack, toy_toolstack.ToyToolstack)
    assert isinstance(hosts.open_host(load(tmp_path, {"host": "local"}, {}).settings).toolstack, XlToolstack)


def test_unknown_toolstack_is_a_settings_error(tmp_path):
    (tmp_path / "unibuild.toml").write_text(TABLE)
    with pytest.raises(SettingsError) as caught:
        hosts.open_host(load(tmp_path).settings)
    assert "xl" in caught.value.hint


def test_boot_uses_the_toolstack_of_the_settings_and_nothing_else(tree, xen, hello_kernels):
    shutil.copy(hello_kernels.pv, tree.root / "main.c")
    tree.write("unibuild.toml", 'name = "hello"\n' + TABLE + tree.read("unibuild.toml"))
    boot = (
        "from unibuild.host.toolstack import TOOLSTACKS; from unibuild._fast_path import script; "
        "TOOLSTACKS['toy'] = 'toy_toolstack:ToyToolstack'; script()"
    )
    path = os.pathsep.join((str(Path(__file__).parent), *filter(None, sys.path)))
    said = tree.run(sys.executable, "-c", boot, "boot", PYTHONPATH=path)
    assert "it is a toy" in said
    assert "hello powered off" in said
    assert (xen.calls("xl"), (tree.root / ".unibuild/console").is_dir()) == ([], True)


def test_doctor_looks_for_the_programs_of_the_toolstack(tmp_path, monkeypatch, xen):
    monkeypatch.setitem(toolstack.TOOLSTACKS, "toy", "toy_toolstack:ToyToolstack")
    (tmp_path / "unibuild.toml").write_text(TABLE)
    (xen.world / "bin/toy").symlink_to("/bin/true")  # an ordinary user runs it through sudo
    found = doctor_checks.look(load(tmp_path).settings)
    texts = " ".join(f"{one.what} {one.text} {one.fix}" for one in found)
    assert not re.search(r"\bxl\b|xenstore", texts, re.IGNORECASE)
    assert {one.state for one in found if one.what == "rights"} == {"ok"}


def test_sudoers_lines_allow_what_the_toolstack_runs_as_root():
    programs = sudoers.root_programs(toy_toolstack.ToyToolstack)
    lines = sudoers.sudoers("ann", {"toy": "/bin/toy", "ls": "/bin/ls", "xl": "/bin/xl"}, programs)
    assert lines == ("ann ALL=(root) NOPASSWD: /bin/toy destroy *, \\", "    /bin/ls -d -- /*")


PROGRAM = re.compile(
    r"""\b(?:xenstore-(?:exists|list|ls|read|rm|watch|write)|xl\ (?:list|info|dmesg|create|console|
    (?:un)?pause|rename|shutdown|destroy|pci-assignable-\w+)\ ?-?)\b""",
    re.VERBOSE,
)
VERBS = {"list", "info", "dmesg", "create", "console", "unpause", "pause", "rename", "shutdown", "destroy"}


def spelled(source: str) -> set[str]:
    """Return the programs of a toolstack that Python source names in strings that are not docstrings."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            found |= set(PROGRAM.findall(node.value))
        if isinstance(node, ast.List | ast.Tuple):
            words = [part.value if isinstance(part, ast.Constant) else "" for part in node.elts]
            if words[:1] == ["xl"] and words[1:] and (words[1] in VERBS or str(words[1]).startswith("pci-")):
                found.add("xl")
    return found


@pytest.mark.parametrize(
    "source",
    [
        'run(["xl", "list", "-v"])',
        '("xenstore-ls", "-f", "/")',
        'f"end it (`xl destroy {domid}`)"',
        'script = "exec xenstore-rm $p"',
    ],
)
def test_spelled_out_toolstack_program_is_found(source):
    assert spelled(source)


def test_only_the_host_package_names_toolstack_programs():
    package = Path(unibuild.__file__).parent
    found = {
        str(path.relative_to(package)): programs
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] != "host" and (programs := spelled(path.read_text()))
    }
    found.pop("lab/packages.py", None)  # the lab installs these programs
    found.pop("lab/initrd.py", None)
    assert found == {}
