"""benchmarks/: each script still runs; of its results only counts are checked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
IN_THE_LAB = {"lab", "swap"}

MOST = {"by hand": 3, "boot": 3, "watch": 4}
"""Exchanges before the first line; in watch the thread of the old console may query the host meanwhile."""


def check_exchanges(table: str) -> None:
    found = {way: int(row.split()[-1]) for row in table.splitlines() for way in MOST if f" {way} " in row}
    assert found.keys() == MOST.keys()
    assert all(0 < found[way] <= MOST[way] for way in MOST), table


CHECKS = {"loop": check_exchanges}


@pytest.mark.parametrize("name", sorted({path.stem for path in BENCHMARKS.glob("*.py")} - IN_THE_LAB))
def test_benchmark_runs(name, tmp_path):
    if name == "loop" and not shutil.which("/usr/sbin/sshd"):
        assert os.environ.get("CI") != "true", "not installed: openssh-server"
        pytest.skip("not installed: openssh-server")
    argv = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "sshd cannot give terminals" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout
    CHECKS.get(name, lambda _: None)(done.stdout)
