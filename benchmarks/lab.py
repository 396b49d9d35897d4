"""How long the lab takes: started from its image, restored from its snapshot, and one question to its xl.

Run: python benchmarks/lab.py [--quick | ROUNDS]

Works in a new cache folder, or in $LAB_BENCH_CACHE if it is set. The last
column is the ratio to `python -c pass` in the same run: these machines are noisy, and it means more than the seconds.

With --quick the lab is restored once and never started from its image, to see that this script works.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.host.ssh import Ssh
from unibuild.lab import vm
from unibuild.settings.model import Lab

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = "--quick" in sys.argv


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def up() -> vm.LabVm:
    return vm.up(Lab(), lambda *_: None)


def measure(rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {"cold start": [], "restore": [], "xl list": [], "python -c pass": []}
    up()  # downloads, and builds the image
    for _ in range(rounds):
        if not QUICK:
            vm.reset()
            seconds["cold start"].append(timed(up))
        vm.down()
        seconds["restore"].append(timed(up))
        host = Ssh("box", config=up().ssh_config, name="lab")
        asked = [timed(lambda host=host: host.run(["xl", "list"])) for _ in range(11)]
        seconds["xl list"] += asked[1:]  # the first one learns what ssh's configuration says
        seconds["python -c pass"] += [timed(lambda: subprocess.run([sys.executable, "-c", "pass"])) for _ in range(20)]
    vm.down()
    return seconds


def main() -> None:
    rounds = 1 if QUICK else int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = os.environ.get("LAB_BENCH_CACHE", folder)
        Path(os.environ["XDG_CACHE_HOME"]).mkdir(parents=True, exist_ok=True)
        seconds = measure(rounds)
    unit = min(seconds["python -c pass"])
    print(f"{'':16} {'median':>8} {'least':>8} {'ratio':>8}   aim")
    for name, aim in (("cold start", "20 s"), ("restore", "3 s"), ("xl list", "0.6 s"), ("python -c pass", "")):
        if not seconds[name]:
            continue
        least, median = min(seconds[name]), statistics.median(seconds[name])
        print(f"{name:16} {median:6.2f} s {least:6.2f} s {least / unit:8.1f}   {aim}")


if __name__ == "__main__":
    main()
