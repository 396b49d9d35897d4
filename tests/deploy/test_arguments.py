"""Whether arguments are refused: by what the kernel said, asked once."""

import json
from types import SimpleNamespace

import pytest

from unibuild.deploy import argument_check
from unibuild.errors import LabError, SettingsError
from unibuild.settings.loader import load

LAB = SimpleNamespace(name="lab", address="lab")
KNOWN = frozenset({"--port", "--dns-servers", "--help"})


@pytest.fixture
def check(tmp_path, help_kernel, monkeypatch):
    (tmp_path / "unibuild.toml").write_text("")

    def run(args, known=KNOWN, host=LAB, kernel=help_kernel, **words):
        def ask(*_, stays):
            run.asked += 1
            if isinstance(known, Exception):
                raise known
            return known

        monkeypatch.setattr(argument_check, "_ask", ask)
        project = load(
            tmp_path, {"boot.args": args, **{key.replace("__", "."): word for key, word in words.items()}}, {}
        )
        argument_check.check(project.settings.boot, project.root, host, tmp_path / "hello.xl", kernel)

    run.asked = 0
    run.cache = tmp_path / ".unibuild" / "arguments.json"
    return run


def test_kernel_is_queried_once(check):
    check("--port=80")
    check("--port=81")
    assert check.asked == 1


def test_unknown_argument_is_refused_with_the_closest(check, fails):
    with fails(SettingsError, "[boot] args", "--dns_servers", "--dns-servers"):
        check("--port=80 --dns_servers=1.1.1.1")


def test_kernel_without_a_page_is_queried_once_and_nothing_refused(check):
    check("--port=80", known=None)
    check("--nosuch", known=KNOWN)
    assert check.asked == 1


def test_full_lab_blocks_nothing_and_is_retried(check):
    check("--nosuch", known=LabError("no memory left"))
    assert not check.cache.exists()
    with pytest.raises(SettingsError):
        check("--nosuch")


def test_damaged_cache_is_ignored(check):
    check("--port=80")
    check.cache.write_text("{")
    check("--port=80")
    assert check.asked == 2
    assert json.loads(check.cache.read_text())["version"] == 1


def test_kernel_is_not_queried(check, hello_kernels, monkeypatch):
    monkeypatch.setattr("unibuild.lab.vm.running", lambda: None)
    check("--nosuch", boot__check_args="never")
    check("nosuch")
    check("--nosuch", kernel=hello_kernels.pvh)  # none of Solo5
    check("--nosuch", host=SimpleNamespace(name="local", address="local"))  # the lab is down
    assert check.asked == 0
