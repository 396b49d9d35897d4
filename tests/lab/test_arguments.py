"""Arguments against a kernel that prints a manual page as Mirage does, on the real Xen of the lab."""

import json
import os

import pytest

from unibuild.deploy import boot
from unibuild.errors import SettingsError
from unibuild.graph import xl_file
from unibuild.settings.loader import load

pytestmark = pytest.mark.lab


@pytest.fixture
def start(tmp_path, dom0, help_kernel, capfd):
    (tmp_path / "unibuild.toml").write_text('name = "hello"\nhost = "lab"\n[xl]\nmemory = 32\n')

    def run(args: str) -> list[str]:
        words = {"boot.args": args, "lab.accel": os.environ.get("UNIBUILD_LAB_ACCEL", "auto")}
        ready = {"boot.ready.console": "^command line: ", "boot.ready.timeout": "120", "boot.wait": "0"}
        project = load(tmp_path, words | ready, {})
        path = tmp_path / "hello.xl"
        path.write_text(xl_file.render(project, help_kernel, None))
        boot.boot(project, path, help_kernel)
        return capfd.readouterr().out.splitlines()

    run.state = tmp_path / ".unibuild"
    return run


def test_unknown_argument_leaves_the_running_domain(start, dom0):
    said = start("--port=80 '--logs=a b\\c'")
    assert r"command line: --port=80 --logs=a\ b\\c" in said
    cache = json.loads((start.state / "arguments.json").read_text())
    assert [{"--port", "-l", "--logs", "--help"} <= set(names) for names in cache["kernels"].values()] == [True]
    before = dom0.toolstack.list_domains()
    assert [domain.name for domain in before] == ["Domain-0", "hello"]
    assert not any(line.startswith("NAME") for line in said)  # the page is not shown
    with pytest.raises(SettingsError, match="the unikernel does not know the argument --ipv4_gateway") as error:
        start("--port=80 --ipv4_gateway=10.0.0.1")
    assert error.value.hint == "did you mean --ipv4-gateway?"
    assert [domain.uuid for domain in dom0.toolstack.list_domains()] == [domain.uuid for domain in before]
