"""Domains that really crash and hang: their reports name the very line of the source."""

import json
import os
import time

import pytest

from unibuild.deploy import boot
from unibuild.domain.crash import report
from unibuild.errors import DomainError
from unibuild.graph import xl_file
from unibuild.settings.loader import load

pytestmark = pytest.mark.lab


@pytest.fixture(params=["pv", "pvh"])
def start(request, tmp_path, dom0, hello_kernels):
    """Boot the example with words on its command line, as a user does."""
    kernel = getattr(hello_kernels, request.param)

    def boot_it(words: str) -> None:
        (tmp_path / "unibuild.toml").write_text('name = "crash"\nhost = "lab"\n[xl]\nmemory = 32\n')
        accel = os.environ.get("UNIBUILD_LAB_ACCEL", "auto")
        project = load(tmp_path, {"xl.cmdline": words, "boot.wait": "200", "lab.accel": accel}, {})
        path = tmp_path / "crash.xl"
        path.write_text(xl_file.render(project, kernel, None))
        boot.boot(project, path, kernel)

    return boot_it


def line_of(kernels, text: str) -> int:
    lines = (kernels.pv.parent / "main.c").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_write_to_unmapped_memory_is_explained(start, tmp_path, hello_kernels):
    with pytest.raises(DomainError, match=r"crash crashed: it (wrote to 0x4|faulted and has no)") as error:
        start("fault=1")
    first, second, *_ = error.value.hint.splitlines()
    assert first.endswith(f"main.c:{line_of(hello_kernels, '*(volatile int *)')}")
    assert second.endswith(f"main.c:{line_of(hello_kernels, '        fault();')}")
    (folder,) = (tmp_path / ".unibuild" / "crashes").iterdir()
    told = json.loads((folder / "report.json").read_text())
    assert [frame["function"] for frame in told["frames"]][:3] == ["fault (inlined)", "main", "platform_start"]
    assert told["processors"][0]["registers"]["rax"] == "0x400000000"
    assert told["missing"] == []
    assert "hello from crash" in (folder / "console.log").read_text()


def test_hanging_domain_is_examined_and_runs_on(tmp_path, dom0, hello_kernels):
    path = tmp_path / "crash.xl"
    path.write_text(f"name = 'crash'\nkernel = '{dom0.put(hello_kernels.pv)}'\nmemory = 32\ncmdline = 'quiet'\n")
    dom0.toolstack.create_paused(dom0.put(path), name="crash", uuid="c7a5c7a5-0000-4000-8000-000000000001")
    domain = dom0.toolstack.find(name="crash")
    dom0.toolstack.unpause(domain)
    hears = ["xenstore-read", f"/local/domain/{domain.domid}/control/feature-poweroff"]
    while dom0.run(hears, check=False).text.strip() != "1":
        time.sleep(0.2)
    time.sleep(2)  # it goes to sleep in main() now
    made = report.collect(
        dom0,
        domain,
        None,
        name="crash",
        said=b"",
        log=tmp_path / "none.log",
        kernel=hello_kernels.pv,
        symbols=None,
        xl=path,
        state=tmp_path / ".unibuild",
        facts={},
    )
    assert "crash still runs; it was in " in made.sentence
    told = json.loads((made.folder / "report.json").read_text())
    assert "main" in [frame["function"] for frame in told["frames"]]
    assert not dom0.toolstack.find(name="crash").is_paused
