"""The benchmarks that need the lab still run; their figures are not checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.lab
@pytest.mark.parametrize("name", ["lab", "swap"])
def test_benchmark_runs(name, lab_vm, tmp_path):
    argv = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    env = {**os.environ, "LAB_BENCH_CACHE": os.environ["XDG_CACHE_HOME"]}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ratio" in done.stdout
