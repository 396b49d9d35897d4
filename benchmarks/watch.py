"""From a save to the start of the build, against entr, watchmedo and watchfiles in one run; what an idle watch costs.

Run: python benchmarks/watch.py [--quick | ROUNDS [SAVES [FILES]]]

Each tool watches a tree of its own and runs a command that notes the time; the saves go round among them. entr is
taken from PATH (apt install entr); watchmedo and watchfiles are installed into a venv of their own. One that is absent
is reported.
Then: the processor time of an idle watch over FILES files, and its memory after SAVES saves, one per 4 s: an hour
has 900. The host of the domain is the stand-in of the tests.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).parent.parent
NOTE = 'date +%s%N >> "$PWD/started"'
TIMEOUT = 60.0
QUICK = "--quick" in sys.argv  # one round without the other tools, to see that this script works
IDLE = 0.5 if QUICK else 30.0
PAUSE = 0.1 if QUICK else 1.0  # of the times that a tool gets to come to rest


class Watched:
    """A tree, what watches it, and when that ran its command."""

    def __init__(self, root: Path, argv: list[str], env: dict[str, str], listed: bytes | None = None) -> None:
        self.root = root
        self.said = (root.parent / f"{root.name}.log").open("wb")
        self.process = subprocess.Popen(
            argv, cwd=root, env=env, stdin=subprocess.PIPE, stdout=self.said, stderr=subprocess.STDOUT
        )
        assert self.process.stdin is not None
        if listed is not None:
            self.process.stdin.write(listed)
            self.process.stdin.close()

    def starts(self) -> list[int]:
        file = self.root / "started"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def begun(self) -> None:
        """Wait for the first run of the command, where this is unibuild: it builds when it starts."""
        deadline = time.monotonic() + TIMEOUT
        while "unibuild" in self.process.args[0] and not self.starts() and time.monotonic() < deadline:
            time.sleep(0.05)

    def save(self, text: str) -> float:
        """Save; return the seconds to the start of the command."""
        before = len(self.starts())
        began = time.time_ns()
        (self.root / "main.c").write_text(text)
        deadline = time.monotonic() + TIMEOUT
        while len(found := self.starts()) <= before:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"{self.root.name} did not see a save; {self.said.name} has more")
            time.sleep(0.002)
        return (found[before] - began) / 1e9

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.said.close()


def standins(folder: Path) -> dict[str, str]:
    """Return the environment in which xl and its like are the stand-ins of the tests."""
    (folder / "bin").mkdir(parents=True)
    store = [f"xenstore-{verb}" for verb in ("read", "write", "ls", "list", "rm", "exists", "watch")]
    for name in ("xl", "xenctx", *store, "sudo", "ssh"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {HERE}/tests/standins/xen.py {name} "$@"\n')
        program.chmod(0o755)
    (folder / "script").write_text("say booted\nobey\n")
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "STANDIN": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


def tree(root: Path, kernel: Path, files: int = 0) -> Path:
    root.mkdir()
    shutil.copy(kernel, root / "base.bin")
    (root / "unibuild.toml").write_text('host = "local"\n[build]\nkernel = "hello.xen"\n')
    (root / "Makefile").write_text(f"hello.xen: main.c\n\t@{NOTE.replace('$', '$$')}; cp base.bin $@\n")
    (root / "main.c").write_text("0")
    for number in range(files):
        path = root / f"d{number % 50}" / f"f{number}.c"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(number))
    return root


def unibuild_watch(root: Path, env: dict[str, str]) -> Watched:
    program = str(Path(sys.executable).with_name("unibuild"))
    return Watched(root, [program, "watch", "--json", "watch.debounce=0.01"], env)


def others(folder: Path, kernel: Path, env: dict[str, str]) -> dict[str, Watched]:
    """Start the tools that are there."""
    found = {}
    shell = ["sh", "-c", NOTE]
    if entr := shutil.which("entr"):
        root = tree(folder / "entr", kernel)
        listed = "".join(f"{path}\n" for path in root.iterdir()).encode()
        found["entr"] = Watched(root, [entr, "-n", "-p", *shell], env, listed)
    bin_ = folder / "venv" / "bin"
    venv.create(folder / "venv", with_pip=True)
    packages = ["watchfiles", "watchdog[watchmedo]"]
    if subprocess.run([bin_ / "pip", "install", "-q", *packages], check=False).returncode == 0:
        argv = [str(bin_ / "watchmedo"), "shell-command", "--patterns", "**/*.c", "--command", NOTE, "."]
        found["watchmedo"] = Watched(tree(folder / "watchmedo", kernel), argv, env)
        root = tree(folder / "watchfiles", kernel)
        ignore = ",".join(str(root / name) for name in ("started",))
        argv = [str(bin_ / "watchfiles"), "--ignore-paths", ignore, "sh note", str(root)]
        (root / "note").write_text(NOTE + "\n")
        found["watchfiles"] = Watched(root, argv, env)
    return found


def processor(pids: list[int]) -> float:
    """Return the seconds of processor time that processes took so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def own_processes(pid: int) -> list[int]:
    """Return the processes of a watch: itself and its builder, and not what stands in for Xen."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        pid,
        *(
            int(one)
            for one in children
            if b"unibuild.doit_plugin.build_worker" in Path(f"/proc/{one}/cmdline").read_bytes()
        ),
    ]


def memory(pid: int) -> int:
    """Return the KiB that a process has in memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def main() -> None:
    asked = ["1", "1", "10"] if QUICK else sys.argv[1:]
    rounds, saves, files = (int(word) for word in (*asked, *("20", "900", "3000")[len(asked) :]))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        subprocess.run(["make", "-s", "-C", shutil.copytree(HERE / "examples/hello", folder / "hello")], check=True)
        kernel = folder / "hello" / "hello-pv.xen"
        env = standins(folder / "world")
        latency(folder, kernel, env, rounds)
        cost(folder, kernel, env, saves, files)
        (folder / "world" / "over").touch()


def latency(folder: Path, kernel: Path, env: dict[str, str], rounds: int) -> None:
    watched = {
        "unibuild": unibuild_watch(tree(folder / "unibuild", kernel), env),
        **({} if QUICK else others(folder, kernel, env)),
    }
    for one in watched.values():
        one.begun()
    time.sleep(5 * PAUSE)
    seconds: dict[str, list[float]] = {tool: [] for tool in watched}
    for number in range(rounds + 1):
        for tool, one in watched.items():
            took = one.save(f"save {number}")
            if number:
                seconds[tool].append(took)
            time.sleep(0.7 * PAUSE)
    for one in watched.values():
        one.end()
    print(f"save to start of the command ({rounds} rounds)   median    least    most")
    for tool in ("unibuild", "entr", "watchmedo", "watchfiles"):
        if tool in seconds:
            found = [1000 * one for one in seconds[tool]]
            print(f"  {tool:40} {statistics.median(found):6.1f} {min(found):8.1f} {max(found):8.1f} ms")
        else:
            print(f"  {tool:40} absent")


def cost(folder: Path, kernel: Path, env: dict[str, str], saves: int, files: int) -> None:
    one = unibuild_watch(tree(folder / "large", kernel, files), env)
    one.begun()
    time.sleep(8 * PAUSE)
    one.save("first")
    time.sleep(5 * PAUSE)
    pids = own_processes(one.process.pid)
    before = processor(pids)
    time.sleep(IDLE)
    print(f"idle over {files} files: {(processor(pids) - before) / IDLE:.2%} of a core")
    marks = {}
    for number in range(1, saves + 1):
        one.save(f"save {number}")
        if number in (max(1, saves // 4), saves):
            time.sleep(2 * PAUSE)
            marks[number] = sum(memory(pid) for pid in own_processes(one.process.pid))
    told = ", ".join(f"{kib / 1024:.1f} MiB after {number} saves" for number, kib in marks.items())
    print(f"memory of the loop and its builder: {told}")
    one.end()


if __name__ == "__main__":
    main()
