"""Find the names of a kernel's functions, and the source lines of its addresses.

Names come from the ELF's symbol table, files and lines from binutils' ``addr2line``, which reads every kind of debug
information. OCaml's functions have only the names of their symbols there:
``camlDune__exe__Unikernel__start_123``, since OCaml 5.1 ``camlUnikernel.start_123`` or ``camlUnikernel$start_123``.
"""

from __future__ import annotations

import bisect
import contextlib
import gzip
import io
import os
import re
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.domain.crash.stack import StackFrame
from unibuild.errors import UnibuildError
from unibuild.util import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from elftools.elf.elffile import ELFFile

__all__ = ["Code", "load", "readable", "same_build", "unstripped"]

_LARGEST = 256 << 20  # bytes of a kernel, decompressed
_MOST = 40  # files that are searched for one of the same build
_LOCK_TIMEOUT = 30.0  # seconds for addr2line
_EXECUTABLE = 4  # SHF_EXECINSTR, elf.h
# Below the project's folder, where an unstripped kernel may be: dune's build of Mirage 4, and usual names.
_PLACES = ("_build/*/*.exe", "_build/*/*.xen", "_build/*/dist/*.xen", "dist/*", "*.debug", "*.xen", "_build/*.native")
_OCAML = re.compile(r"caml([A-Z].*)(?:__|[.$])([a-z_][\w$']*?)(?:_\d+)?$")


@dataclass(frozen=True)
class Code:
    """The code of a kernel.

    Attributes:
        path: its file.
        pieces: address and bytes of each executable section.
        starts: the addresses of its functions, in order; empty if it is stripped.
        names: the functions' names.
        build_id: the linker's build id, or "".
        unpacked: the whole ELF, if the file is compressed.
    """

    path: Path
    pieces: tuple[tuple[int, bytes], ...]
    starts: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    build_id: bytes = field(default=b"", repr=False)
    unpacked: bytes = field(default=b"", repr=False)

    def holds(self, address: int) -> bool:
        """Whether there is code at an address."""
        return any(start <= address < start + len(data) for start, data in self.pieces)

    def before(self, address: int, count: int) -> bytes:
        """Return at most ``count`` bytes of code that end before an address."""
        for start, data in self.pieces:
            if start < address <= start + len(data):
                return data[max(0, address - start - count) : address - start]
        return b""

    def function(self, address: int) -> tuple[int, str] | None:
        """Return the start and name of the function that contains an address."""
        number = bisect.bisect_right(self.starts, address) - 1
        if number < 0 or not self.holds(address):
            return None
        return self.starts[number], self.names[number]

    def frames(self, addresses: Sequence[tuple[int, str]], root: Path, missing: list[str]) -> tuple[StackFrame, ...]:
        """Return a frame for each address, and one for each function that was inlined there.

        Args:
            addresses: each address with its kind ("" for an instruction itself, else a return address).
            root: the project's folder; source files are named relative to it.
            missing: a list to which what could not be found out is added.
        """
        asked = [address - 1 if how else address for address, how in addresses]
        lines = self._lines(asked, missing)
        found: list[StackFrame] = []
        for number, (address, how) in enumerate(addresses):
            function = self.function(asked[number])
            places = lines.get(asked[number]) or [("", "", 0)]
            for depth, (name, file, line) in enumerate(places):
                outer = depth == len(places) - 1
                known = (function[1] if function and outer else "") or ("" if name == "??" else name)
                inlined = " (inlined)" if not outer else ""
                found.append(StackFrame(readable(known) + inlined, _relative(file, root), line, how, address))
        return tuple(found)

    def _lines(self, addresses: Iterable[int], missing: list[str]) -> dict[int, list[tuple[str, str, int]]]:
        words = [f"{address:#x}" for address in dict.fromkeys(addresses) if self.holds(address)]
        if not words:
            return {}
        try:
            with self._plain() as path:
                argv = ["addr2line", "-a", "-f", "-i", "-C", "-e", str(path), *words]
                done = process.run(argv, env={"LC_ALL": "C"}, timeout=_LOCK_TIMEOUT)
        except UnibuildError as error:
            hint = f" ({error.hint})" if error.hint else ""
            missing.append(f"source lines: {error.message.splitlines()[0]}{hint}")
            return {}
        return _parse(done.text)

    @contextlib.contextmanager
    def _plain(self) -> Iterator[Path]:
        if not self.unpacked:
            yield self.path
            return
        with tempfile.NamedTemporaryFile(prefix="unibuild-") as file:
            file.write(self.unpacked)
            file.flush()
            yield Path(file.name)


def load(path: Path) -> Code:
    """Read a kernel, plain or compressed by gzip.

    Raises:
        UnibuildError: it cannot be read, or is not an ELF file.
    """
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as file:
            data = file.read(_LARGEST)
        return _code(path, ELFFile(io.BytesIO(data)), data if is_packed else b"")
    except (OSError, EOFError, zlib.error) as error:
        raise UnibuildError(f"cannot read {path}: {error}") from error
    except Exception as error:  # pyelftools trusts the file: it may raise anything
        raise UnibuildError(f"cannot read {path} as an ELF file: {error}") from error


def _code(path: Path, elf: ELFFile, unpacked: bytes) -> Code:
    from elftools.elf.sections import SymbolTableSection

    pieces = []
    functions: dict[int, str] = {}
    labels: dict[int, str] = {}
    build_id = b""
    for section in elf.iter_sections():
        if section["sh_flags"] & _EXECUTABLE and section["sh_type"] == "SHT_PROGBITS":
            pieces.append((section["sh_addr"], section.data()))
        elif section.name == ".note.gnu.build-id":
            build_id = section.data()
        elif isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                into = {"STT_FUNC": functions, "STT_NOTYPE": labels}.get(symbol["st_info"]["type"])
                if into is not None and symbol.name and isinstance(symbol["st_shndx"], int):
                    into[symbol["st_value"]] = symbol.name
    named = sorted(
        (address, name)
        for address, name in (labels | functions).items()
        if any(start <= address < start + len(data) for start, data in pieces)
    )
    starts, names = tuple(address for address, _ in named), tuple(name for _, name in named)
    return Code(path, tuple(pieces), starts, names, build_id, unpacked)


def unstripped(kernel: Path, symbols: Path | None, root: Path, missing: list[str]) -> Code | None:
    """Return the code of a kernel, with names from a file of the same build if needed.

    Args:
        kernel: the kernel that was booted.
        symbols: the file that has the names, if it is known.
        root: the project's folder, which is searched for one.
        missing: a list to which what could not be found out is added.
    """
    try:
        code = load(kernel)
    except UnibuildError as error:
        missing.append(f"function names: {error.message}")
        return None
    if code.starts and not symbols:
        return code
    for path in [symbols] if symbols else _candidates(root):
        try:
            other = load(path)
        except UnibuildError:
            continue
        if other.starts and same_build(code, other):
            return other
    if symbols:
        missing.append(f"function names: {symbols} is of another build, or has none")
    else:
        missing.append("function names: the kernel is stripped, and no unstripped file of this build was found")
    return code


def same_build(one: Code, other: Code) -> bool:
    """Whether two files hold the same code at the same addresses."""
    if one.build_id and other.build_id:
        return one.build_id == other.build_id
    return bool(one.pieces) and one.pieces == other.pieces


def _candidates(root: Path) -> list[Path]:
    found = [path for pattern in _PLACES for path in root.glob(pattern) if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:_MOST]


def readable(name: str) -> str:
    """Return a readable symbol: ``Unikernel.start`` for ``camlDune__exe__Unikernel__start_123``."""
    found = _OCAML.match(name.replace("Dune__exe__", ""))
    if not found:
        return name
    module = found[1].replace("__", ".").replace("$", ".")
    return f"{module}.{re.sub(r'[$]([0-9a-f]{2})', lambda code: chr(int(code[1], 16)), found[2])}"


def _parse(said: str) -> dict[int, list[tuple[str, str, int]]]:
    """Read the output of ``addr2line -a -f -i``: an address, then for each function its name and ``FILE:LINE``."""
    found: dict[int, list[tuple[str, str, int]]] = {}
    places: list[tuple[str, str, int]] = []
    name = None
    for line in said.splitlines():
        if name is None and re.fullmatch(r"0x[0-9a-f]+", line):
            places = found.setdefault(int(line, 16), [])
        elif name is None:
            name = line
        else:
            file, _, number = re.sub(r" \(discriminator \d+\)$", "", line).rpartition(":")
            places.append((name, "" if file in ("??", "") else file, int(number) if number.isdigit() else 0))
            name = None
    return found


def _relative(file: str, root: Path) -> str:
    """Return a source file's name relative to the project's folder, if it is in it."""
    path = os.path.normpath(file) if file else ""
    inside = os.path.relpath(path, root) if path.startswith(f"{root}{os.sep}") else path
    return re.sub(r"^(?:_build/[^/]+|/workspace_root)/", "", inside)
