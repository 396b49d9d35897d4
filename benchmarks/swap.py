"""How long no domain is there when one is replaced: by a swap, against `xl destroy` followed by `xl create`.

Run: python benchmarks/swap.py [--quick | ROUNDS]

One observer in dom0 sees both ways: from the moment at which Xen reports that the old domain has ended
(`xenstore-watch @releaseDomain`, which rings for one that shut down and for one that was destroyed) to the first byte
of the new one in xenconsoled's log. `xl destroy` stops the domain as its first act and rings as its last, so the time
from its start is what somebody waits who does it by hand, and the one that the aim is of; both are given. A swap is not
measured from its start: the old domain runs on while the new one is made.

Both ways in turns, with the PV kernel of examples/hello. Works in a new cache folder, or in $LAB_BENCH_CACHE
if it is set, because domains of others in the same lab VM would disturb the measurement.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.deploy import boot
from unibuild.deploy.destroy import destroy
from unibuild.graph import xl_file
from unibuild.host.ssh import Ssh
from unibuild.lab import vm
from unibuild.settings.loader import load
from unibuild.settings.model import Lab
from unibuild.util import process

if TYPE_CHECKING:
    from unibuild.host.base import Host
    from unibuild.settings.loader import Project

AIM = 0.35
NAME = "swap-bench"
OBSERVE = """
rm -f /var/log/xen/console/guest-$1*.log
xenstore-watch @releaseDomain | {
    note() { read -r now rest < /proc/uptime; echo "$1 $now"; }
    read -r _; note ready; read -r _; note ended
    while :; do
        for log in /var/log/xen/console/guest-"$1"*.log; do
            if [ -s "$log" ]; then note spoke; exit; fi
        done
        read -r -t 0.02 _
    done
}
"""


class Tree:
    """A project with a built kernel; each ``.xl`` differs from the one before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        hello = root / "kernel"
        source = Path(__file__).parents[1] / "examples" / "hello"
        shutil.copytree(source, hello, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild"))
        process.run(["make", "-s", "hello-pv.xen"], cwd=hello)
        self.kernel = hello / "hello-pv.xen"
        (root / "unibuild.toml").write_text(
            f'name = "{NAME}"\nhost = "lab"\n[boot]\nconsole = "none"\n[xl]\nmemory = 32\n'
        )

    def project(self, **words: str) -> Project:
        return load(self.root, {f"xl.{key}": value for key, value in words.items()}, {})

    def render(self, number: int) -> Path:
        path = self.root / f"{NAME}.xl"
        path.write_text(xl_file.render(self.project(cmdline=f"round={number}"), self.kernel, None))
        return path

    def boot(self, path: Path) -> None:
        boot.boot(self.project(), path, self.kernel)


class Observer:
    """Sees, in dom0, a domain end and the next one of a name speak."""

    def __init__(self, host: Host, name: str) -> None:
        self._child = host.start(["sh", "-c", OBSERVE, "observe", name])
        self._said = b""
        self.wait_for("ready")

    def wait_for(self, word: str) -> float:
        """Return the time of dom0's clock at which something happened."""
        assert self._child.stdout is not None
        while b"\n" not in self._said:
            data = os.read(self._child.stdout.fileno(), 4096)
            if not data:
                raise SystemExit(f"dom0's observer ended before it was {word}")
            self._said += self._child.feed(data)
        line, _, self._said = self._said.partition(b"\n")
        said = line.split()
        if said[:1] != [word.encode()]:
            raise SystemExit(f"dom0 did not see that it was {word}")
        return float(said[1])

    def downtime(self) -> float:
        ended = self.wait_for("ended")
        spoke = self.wait_for("spoke")
        self._child.stop()
        return spoke - ended


def by_hand(host: Host, path: str) -> tuple[float, float]:
    """Return the downtime of destroy and create, and the time from their start."""
    seen = Observer(host, "by-hand")
    began = time.monotonic()
    host.run(["sh", "-c", f"xl destroy by-hand && xl create {path}"])
    downtime = seen.downtime()
    return downtime, time.monotonic() - began


def by_swap(host: Host, tree: Tree, path: Path) -> float:
    seen = Observer(host, NAME)
    tree.boot(path)
    return seen.downtime()


def measure(rounds: int, tree: Tree) -> dict[str, list[float]]:
    there = vm.up(Lab(), lambda *_: None)
    host = Ssh(there.alias, config=there.ssh_config, name="lab")
    seconds: dict[str, list[float]] = {"swap": [], "destroy, create": [], "  from the ring": []}
    tree.boot(tree.render(0))
    hand = tree.root / "by-hand.xl"
    kernel = host.put(tree.kernel)
    hand.write_text(tree.render(0).read_text().replace(str(tree.kernel), kernel).replace(NAME, "by-hand"))
    path = host.put(hand)
    host.run(["xl", "create", path])
    try:
        for number in range(1, rounds + 1):
            seconds["swap"].append(by_swap(host, tree, tree.render(number)))
            downtime, whole = by_hand(host, path)
            seconds["destroy, create"].append(whole)
            seconds["  from the ring"].append(downtime)
    finally:
        destroy(tree.project())
        host.run(["xl", "destroy", "by-hand"])
    return seconds


def main() -> None:
    rounds = 1 if "--quick" in sys.argv else int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = cache = os.environ.get("LAB_BENCH_CACHE", f"{folder}/cache")
        Path(cache).mkdir(parents=True, exist_ok=True)
        tree = Path(folder) / "tree"
        tree.mkdir()
        seconds = measure(rounds, Tree(tree))
        if "LAB_BENCH_CACHE" not in os.environ:
            vm.down()
    unit = statistics.median(seconds["destroy, create"])
    print(f"{'':18} {'median':>8} {'least':>8} {'most':>8} {'ratio':>7}   aim")
    for name, took in seconds.items():
        median = statistics.median(took)
        aim = f"{AIM}" if name == "swap" else ""
        print(f"{name:18} {median:6.2f} s {min(took):6.2f} s {max(took):6.2f} s {median / unit:7.2f}   {aim}")


if __name__ == "__main__":
    main()
