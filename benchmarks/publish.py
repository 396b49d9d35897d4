"""What a publish costs: calls, bytes, time and memory, next to two other ways to make the same snapshot.

Run: python benchmarks/publish.py [--quick | MIB]

A kernel of so many MiB (10), half of it random, is published to the emulator of tests/aws, each call taking 30 ms;
then again; then with 100 bytes changed. The other ways put the same image: all blocks of the volume with 64 threads
(what ops and NixOS's amis do), and all blocks that are not zeros with 64 threads (coldsnap's way). Of several runs
the fastest is shown: client and emulator share the machine.

Each client is a process of its own; its memory is the peak of its resident set over that of `import boto3`. A round
trip is the median time of a PutSnapshotBlock as the emulator sees it, at least the 30 ms. The exit code is 1 where a
claimed figure is missed.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests" / "aws"
sys.path.insert(0, str(TESTS))

LATENCY = 0.03  # seconds
QUICK = "--quick" in sys.argv  # one run with a small kernel, to see that this script works
RUNS = 1 if QUICK else 5
WORKERS = 8
MEMORY = 80  # MB over the import of boto3

COMMON = """
import json, re, sys, time
from pathlib import Path
def peak():  # of this program: what getrusage returns begins with that of the process that started us
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000
import boto3
bare = peak()
"""
OURS = """
from unibuild.image import disk as image, grub_config as menu; from unibuild.aws import publish
from unibuild.aws.client import Aws
from unibuild.aws.snapshot.journal import UploadJournal
kernel = Path(sys.argv[1])
disk = image.make(kernel, menu.CommandLine("hello"), "pv", project=kernel.parent)
about = publish.KernelInfo("hello", disk.digest)
wanted = publish.AmiSpec(f"hello-{disk.digest[:12]}", "hello", "paravirtual", "gp2", "", about, {})
aws, journal = Aws(region="us-east-1"), UploadJournal(kernel.parent)
aws.raw("ec2", "us-east-1", 0), aws.raw("ebs", "us-east-1", 0)  # botocore reads its models, which costs 0.3 s
began = time.perf_counter()
if publish.find_published(aws, wanted, journal) is None:
    publish.create(aws, disk, wanted, publish.check_prerequisites(aws, wanted), journal, lambda *said: None)
"""
OTHERS = """
import base64, hashlib
from concurrent.futures import ThreadPoolExecutor
from botocore.config import Config
from unibuild.image import disk as image; from unibuild.image import grub_config as menu
kernel, every = Path(sys.argv[1]), sys.argv[2] == "all"
disk = image.make(kernel, menu.CommandLine("hello"), "pv", project=kernel.parent)
ebs = boto3.client("ebs", config=Config(max_pool_connections=64))
began = time.perf_counter()
snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
def put(index):
    data = disk.read(index)
    digest = hashlib.sha256(data).digest()
    ebs.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=data, DataLength=len(data),
                           Checksum=base64.b64encode(digest).decode(), ChecksumAlgorithm="SHA256")
indices = range(2048) if every else disk.indices
with ThreadPoolExecutor(64) as pool:
    list(pool.map(put, indices))
ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(indices))
"""
END = """
print(json.dumps({"seconds": time.perf_counter() - began, "bare": bare, "peak": peak()}))
"""


class Row:
    """One publish, as the emulator and the client's process saw it."""

    def __init__(self, emulator, code: str, *args: str) -> None:
        emulator.calls.clear()
        emulator.faults.latency = LATENCY
        argv = [sys.executable, "-c", COMMON + code + END, *args]
        env = {**os.environ, **emulator.environment()}
        said = json.loads(subprocess.run(argv, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout)
        self.seconds, self.memory = said["seconds"], said["peak"] - said["bare"]
        puts = [call for call in emulator.calls if call.operation == "PutSnapshotBlock"]
        self.puts, self.others = len(puts), len(emulator.calls) - len(puts)
        took = [call.ended - call.began for call in puts]
        self.trip = max(LATENCY, statistics.median(took)) if took else LATENCY
        self.rounds = (max(call.ended for call in puts) - puts[0].began) / self.trip if puts else 0.0

    def line(self, name: str) -> str:
        numbers = f"{self.puts:6} {self.others:6} {self.puts / 2:8.1f} {self.seconds:8.2f}"
        return f"{name:<42}{numbers} {self.rounds:7.1f} {self.memory:7.0f}"


def fastest(emulator, code: str, *args: str) -> Row:
    """Return the fastest of some runs, each in an empty world."""
    rows = []
    for _ in range(RUNS):
        emulator.reset()
        rows.append(Row(emulator, code, *args))
    return min(rows, key=lambda row: row.seconds)


def main(mib: int) -> int:
    from emulator import Emulator

    with tempfile.TemporaryDirectory() as folder, Emulator() as emulator:
        kernel = Path(folder) / "hello.xen"
        content = bytearray(random.Random(1).randbytes(mib << 19) + b"\x90" * (mib << 19))
        kernel.write_bytes(content)
        rows = {"cold": fastest(emulator, OURS, str(kernel)), "nothing changed": Row(emulator, OURS, str(kernel))}
        content[5 << 18 : (5 << 18) + 100] = bytes(range(100))
        kernel.write_bytes(content)
        rows["100 bytes changed"] = Row(emulator, OURS, str(kernel))
        rows["blocks that are not zeros, 64 threads"] = fastest(emulator, OTHERS, str(kernel), "some")
        if not QUICK:
            rows["all blocks, 64 threads"] = Row(emulator, OTHERS, str(kernel), "all")
    print(f"a kernel of {mib} MiB, {LATENCY * 1000:.0f} ms a call\n")
    print(f"{'':<42}{'puts':>6} {'others':>6} {'MiB':>8} {'seconds':>8} {'rounds':>7} {'MB':>7}")
    for name, row in rows.items():
        print(row.line(name))
    cold, same, changed = rows["cold"], rows["nothing changed"], rows["100 bytes changed"]
    most = 1.3 * math.ceil(cold.puts / WORKERS)
    claims = {
        "nothing changed: no put, at most 6 calls": same.puts == 0 and same.others <= 6,
        "100 bytes changed: one put": changed.puts == 1,
        f"cold: at most {most:.1f} round trips for the blocks": cold.rounds <= most,
        f"at most {MEMORY} MB": max(row.memory for row in (cold, same, changed)) <= MEMORY,
    }
    print()
    for claim, holds in claims.items():
        print(f"{'yes' if holds else 'NO':<4}{claim}")
    return 0 if QUICK or all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main(1 if QUICK else int(sys.argv[1]) if len(sys.argv) > 1 else 10))
