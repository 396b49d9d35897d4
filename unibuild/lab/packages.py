"""Download the lab VM's packages with a private apt: without root, and without touching the system's own lists.

apt verifies packages as always: it gets the distribution's own entries of the system's sources with their keys, and
everything else is pinned away. Only the state, the cache and the (empty) list of installed packages are private.
"""

from __future__ import annotations

import gzip
import lzma
import platform
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, LabError, MissingError
from unibuild.util import files, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "ZSTD",
    "Distribution",
    "Member",
    "closure",
    "decompress",
    "distribution",
    "fetch",
    "members",
    "parse_depends",
    "select_sources",
    "this_machines",
]

ZSTD = b"\x28\xb5\x2f\xfd"
MERGED = ("bin", "sbin", "lib", "lib64")  # folders that Debian 13 and Ubuntu have as links into /usr


@dataclass(frozen=True)
class Member:
    """A file in a package: its bytes, or the target of a symbolic link."""

    data: bytes = b""
    link: str | None = None


def members(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Member]]:
    """Yield the files and links of a package that ``wanted`` accepts by name.

    Names are as on a merged system: "usr/bin/busybox" even if the package has "./bin/busybox".

    Raises:
        LabError: the package is damaged.
    """
    argv = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with process.start(argv, stderr=subprocess.DEVNULL) as child:
        try:
            with tarfile.open(fileobj=child.stdout, mode="r|") as tar:
                for entry in tar:
                    name = _merged(entry.name)
                    if not wanted(name):
                        continue
                    if entry.issym():
                        yield name, Member(link=entry.linkname)
                    elif entry.islnk():
                        yield name, Member(link="/" + _merged(entry.linkname))
                    elif entry.isreg():
                        file = tar.extractfile(entry)
                        yield name, Member(data=file.read() if file else b"")
        except tarfile.TarError as error:
            raise LabError(
                f"the package {package.name} is damaged: {error}", hint="run `unibuild lab reset`"
            ) from error


def decompress(data: bytes) -> bytes:
    """Decompress gzip, xz or zstd, recognized by its magic number; return anything else unchanged.

    Bytes after the end of an xz stream are ignored (Linux stores the uncompressed size there).
    """
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:4] == ZSTD:
        return _unzstd(data)
    return data


def _merged(name: str) -> str:
    path = PurePosixPath(name.removeprefix("./").lstrip("/"))
    return str("usr" / path) if path.parts and path.parts[0] in MERGED else str(path)


def _unzstd(data: bytes) -> bytes:
    """Decompress zstd, which Python supports only from 3.14 on, with the zstd in dpkg-deb.

    The data is wrapped as a package: an ar archive (deb(5)) with "data.tar.zst" as its last member.
    ``--fsys-tarfile`` decompresses that without interpreting it.
    """

    def part(name: str, content: bytes) -> bytes:
        return (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n"[: len(content) % 2]
        )

    with tempfile.TemporaryDirectory(prefix="unibuild-") as folder:
        package = Path(folder) / "payload.deb"
        package.write_bytes(
            b"!<arch>\n"
            + part("debian-binary", b"2.0\n")
            + part("control.tar.gz", gzip.compress(bytes(10240)))
            + part("data.tar.zst", data)
        )
        try:
            return process.run(["dpkg-deb", "--fsys-tarfile", str(package)]).stdout
        except CommandError as error:
            raise LabError(f"this dpkg-deb cannot decompress zstd: {error.output.strip()}") from error


ROOTS = (
    *("busybox-static", "dropbear-bin", "grub-xen-host", "nftables", "util-linux"),
    *("xen-system-amd64", "xenstore-utils"),
)
KERNELS = {"Debian": "linux-image-amd64", "Ubuntu": "linux-image-generic"}
# Their dependencies that are unpacked too: no Python, no qemu, no boot loader.
WANTED = re.compile(r"(?!libpython)(lib.*|zlib1g|xen-hypervisor-\d.*|xen-utils-\d.*|linux-(image|modules)-.*)")
CONFIGURATION = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
"""
ELSEWHERE = (
    "on a Debian machine run `unibuild lab pack FILE`, copy FILE here, and set in unibuild.toml:\n"
    '  [lab]\n  image = "FILE"'
)


@dataclass(frozen=True)
class Distribution:
    """The distribution of this machine's packages: ``origin`` as in its Release files, and ``codename``."""

    origin: str
    codename: str

    def __str__(self) -> str:
        return f"{self.origin} {self.codename}"


def distribution(os_release: Mapping[str, str]) -> Distribution | None:
    """Return the distribution (Debian or Ubuntu) and release in the keys of os-release(5); None for another one."""
    kinds = f"{os_release.get('ID', '')} {os_release.get('ID_LIKE', '')}".split()
    for kind in kinds:
        if kind in ("debian", "ubuntu"):
            origin = kind.capitalize()
            codename = os_release.get(f"{kind.upper()}_CODENAME") or os_release.get("VERSION_CODENAME", "")
            return Distribution(origin, codename) if codename else None
    return None


def select_sources(name: str, text: str, codename: str) -> str:
    """Return the entries of an apt sources file (sources.list(5)) that can belong to the release.

    Args:
        name: the file's name: ``*.sources`` is deb822, everything else has one entry a line.
        text: its text.
        codename: the release; its updates and security suites count, and so do names such as "stable".
    """
    own = re.compile(rf"({re.escape(codename)}|stable|testing|unstable|sid)([-/](updates|security))?")
    if not name.endswith(".sources"):
        line = re.compile(r"deb\s+(\[[^]]*\]\s+)?\S+\s+(?P<suite>\S+)\s")
        found = [entry for entry in text.splitlines() if (m := line.match(entry)) and own.fullmatch(m["suite"])]
        return "\n".join(found)
    kept = []
    for stanza in re.split(r"\n\s*\n", text):
        plain = "\n".join(entry for entry in stanza.splitlines() if not entry.startswith("#"))
        fields = {key.lower(): value.split() for key, value in re.findall(r"(?m)^(\S+):((?:.*)(?:\n[ \t].*)*)", plain)}
        enabled = fields.get("enabled", ["yes"]) != ["no"]
        if enabled and "deb" in fields.get("types", ()) and any(map(own.fullmatch, fields.get("suites", ()))):
            kept.append(plain)
    return "\n\n".join(kept)


def parse_depends(text: str) -> dict[str, tuple[str, ...]]:
    """Parse the output of ``apt-cache depends --recurse``; only the first of several alternatives counts."""
    graph: dict[str, list[str]] = {}
    package, alternative = "", False
    for line in text.splitlines():
        found = re.fullmatch(r"( |  )?(\|?)(?:(?:Pre)?Depends: )<?([^>:]+)(?::\w+)?>?", line)
        if found:
            if not alternative:
                graph[package].append(found[3])
            alternative = found[2] == "|"
        elif line and not line.startswith(" "):
            package, alternative = line.partition(":")[0], False
            graph.setdefault(package, [])
    return {name: tuple(needs) for name, needs in graph.items()}


def closure(
    graph: Mapping[str, Iterable[str]], roots: Sequence[str], follow: re.Pattern[str] = WANTED
) -> tuple[str, ...]:
    """Return the packages to unpack, sorted: the roots, and the dependencies that match the pattern."""
    found: set[str] = set()
    todo = list(roots)
    while todo:
        package = todo.pop()
        if package not in found:
            found.add(package)
            todo += [need for need in graph.get(package, ()) if follow.fullmatch(need)]
    return tuple(sorted(found))


def this_machines() -> Distribution:
    """Return the distribution of this machine.

    Raises:
        MissingError: it is neither Debian nor Ubuntu.
    """
    try:
        here = distribution(platform.freedesktop_os_release())
    except OSError:
        here = None
    if here is None:
        raise MissingError(
            "the lab is built from Debian's or Ubuntu's packages, and this machine has neither", hint=ELSEWHERE
        )
    return here


def fetch(
    here: Distribution,
    folder: Path,
    progress: Callable[[str, float | None], None],
    etc: Path = Path("/etc/apt"),
    roots: Sequence[str] = (),
    follow: re.Pattern[str] = WANTED,
) -> list[Path]:
    """Download the packages of the lab VM, or of something for it, into ``folder``.

    Args:
        here: the distribution of the packages.
        folder: the folder; it holds apt's state too, which later calls reuse.
        progress: called with each step and the part done, from 0 to 1.
        etc: the folder of apt's sources.
        roots: the wanted packages; empty: those of the lab VM.
        follow: matches the dependencies that are wanted too.

    Returns:
        The packages' files.

    Raises:
        MissingError: apt, the network or the packages are missing.
    """
    for program in ("apt-get", "dpkg-deb"):
        process.need(program)
    options = _prepare(folder, here, etc)
    _apt([*options, "update"], folder, "package lists", progress)
    packages = _all(here, options, roots or (*ROOTS, KERNELS[here.origin]), follow)
    # run in a folder without packages: apt omits a package that is there already
    planned = process.run(["apt-get", *options, "download", "--print-uris", *packages], cwd=folder).text
    rows = re.findall(r"(?m)^'[^']*' (\S+) (\d+) SHA256:(\w+)", planned)
    archives = folder / "archives"
    archives.mkdir(exist_ok=True)
    size = sum(int(row[1]) for row in rows) / 1e6
    _apt([*options, "download", *packages], archives, f"download {len(rows)} packages, {size:.0f} MB", progress)
    for name, _, digest in rows:  # apt checks only the size of a file that was there
        if files.sha256(archives / name) != digest:
            (archives / name).unlink()
            raise MissingError(f"the downloaded package {name} is damaged", hint="run again")
    return [archives / name for name, _, _ in rows]


def _all(here: Distribution, options: list[str], roots: Sequence[str], follow: re.Pattern[str]) -> tuple[str, ...]:
    """Return the names of all wanted packages."""
    without = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    listed = process.run(["apt-cache", *options, "depends", "--recurse", *without, *roots], check=False)
    if listed.returncode:
        message = listed.stderr.decode(errors="replace").strip()
        raise MissingError(f"{here} lacks packages of the lab: {message}", hint=ELSEWHERE)
    return closure(parse_depends(listed.text), roots, follow)


def _prepare(folder: Path, here: Distribution, etc: Path) -> list[str]:
    """Write the private apt's files; return the options with which apt uses them."""
    parts = folder / "sources.list.d"
    parts.mkdir(parents=True, exist_ok=True)
    some = False
    for source in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if source.suffix in (".list", ".sources") and source.is_file():
            text = select_sources(source.name, source.read_text(errors="replace"), here.codename)
            files.write_atomic(parts / source.name, text.encode() + b"\n")
            some = some or bool(text)
    if not some:
        raise MissingError(f"{etc} has no source of {here}", hint=ELSEWHERE)
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    pin = (
        f"Package: *\nPin: release o={here.origin}\nPin-Priority: 500\n\nPackage: *\nPin: release *\nPin-Priority: -1\n"
    )
    files.write_atomic(folder / "preferences", pin.encode())
    files.write_atomic(folder / "status", b"")
    files.write_atomic(folder / "apt.conf", CONFIGURATION.encode())
    paths = {
        "Dir::Cache": folder / "cache",
        "Dir::Etc::Preferences": folder / "preferences",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": parts,
        "Dir::State": folder,
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
    }
    options = [f"--option={key}={value}" for key, value in paths.items()]
    return [f"--config-file={folder / 'apt.conf'}", *options]


def _apt(arguments: list[str], cwd: Path, what: str, progress: Callable[[str, float | None], None]) -> None:
    """Run apt-get and turn its status lines ("dlstatus:number:percent:text") into progress."""
    progress(what, None)
    output: list[str] = []
    argv = ["apt-get", "--quiet=2", "--option=APT::Status-Fd=1", *arguments]
    with process.start(argv, cwd=cwd, env={"LC_ALL": "C"}, stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        for line in child.stdout:
            text = line.decode(errors="replace").rstrip()
            found = re.match(r"dlstatus:\d+:([\d.]+):", text)
            if found:
                progress(what, float(found[1]) / 100)
            elif text:
                output.append(text)
        status = child.wait()
    if status:
        reasons = "\n".join([line for line in output if line.startswith(("E:", "W:"))][:3] or output[-3:])
        full = "No space left" in reasons or "not have enough" in reasons
        hint = "free disk space and run again" if full else "check the network; apt uses its own settings and proxies"
        raise MissingError(f"apt cannot fetch the {what.removeprefix('download ')}:\n{reasons}", hint=hint)
    progress(what, 1.0)
