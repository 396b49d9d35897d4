"""`unibuild watch` on the real Xen of the lab: a save, and a new domain speaks; a broken build, and it runs on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unibuild.watch import events

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"


class Watch:
    """A watch of a copy of examples/hello, and its events."""

    def __init__(self, root, lab_vm):
        self.root = root
        shutil.copytree(EXAMPLES / "hello", root, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild"))
        program = Path(sys.executable).with_name("unibuild")
        accel = os.environ.get("UNIBUILD_LAB_ACCEL", "auto")
        argv = [program, "watch", "--json", "name=watched", "host=lab", f"lab.accel={accel}", "boot.grace=0"]
        self.process = subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def until(self, test):
        """Read events until one is what is waited for; the test's own time is the limit."""
        told = []
        for line in self.process.stdout:
            told.append(line)
            if line.startswith("{") and test(events.decode(line)):
                return events.decode(line)
        raise AssertionError("".join(told))

    def said(self, text):
        return self.until(lambda event: isinstance(event, events.Output) and text in event.text)

    def replace(self, old, new):
        file = self.root / "main.c"
        file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def watch(lab_vm, tmp_path):
    watch = Watch(tmp_path / "hello", lab_vm)
    yield watch
    watch.process.terminate()
    watch.process.communicate(timeout=60)


@pytest.mark.timeout(240)
def test_save_boots_a_new_domain_and_a_broken_build_keeps_it(watch):
    watch.said("hello from watched")
    watch.replace("hello from", "bonjour from")
    watch.said("bonjour from watched")
    watch.replace("bonjour from", 'bonjour from" broken')
    problem = watch.until(lambda event: isinstance(event, events.ProblemEvent))
    assert problem.exit_code == 1
    assert problem.kept.startswith("watched runs on")
