"""Stand-in for ``mirage`` and the programs that it calls, with the observed behaviour of the released tools.

``install(folder, version)`` writes the programs into a folder for PATH. The differences between releases are fields of
the rows in ``VERSIONS``. Each call is appended as one line to the file that STANDIN_LOG names. The resulting kernel is
a real one, for PV or PVH as in the release: that of examples/hello or the file that STANDIN_PV or STANDIN_PVH names.
A hash of the sources is appended to it, where no loader looks.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import sys
import time
from _blake2 import blake2b  # importing hashlib loads OpenSSL, which takes as long as all the rest
from pathlib import Path
from typing import NamedTuple

HELLO = Path(__file__).parents[2] / "examples" / "hello"
TYPE_ERROR = 'let x : int = "s"'
SYNTAX_ERROR = "let = "
DIGEST = 66  # bytes appended to a kernel: the hash, on a line of its own


class Version(NamedTuple):
    """The behaviour of one release.

    era: 1 and 2 write into the top folder, with a date in line 1; 3 too, and also writes opam and cache files; 4 writes
        into mirage/ and dist/, without a date.
    says: the output of --version.
    type: the line of the .xl with the domain's type.
    target: whether it accepts -t; otherwise it accepts only --xen, which 3 and later do not accept any more.
    file: the option that names another configuration file.
    flags: the options of configure that take no value.
    installs: configure makes opam install the packages.
    depend: the Makefile has the target depend.
    extra: files that are written in addition to the era's.
    dune: dune compiles config.ml; every subcommand writes files for it.
    built_by: the command in the Makefile's build rule.
    """

    era: int
    says: str
    type: str
    target: bool = True
    file: str = "-f"
    flags: tuple[str, ...] = ()
    installs: bool = False
    depend: bool = True
    extra: tuple[str, ...] = ()
    dune: bool = True
    built_by: str = "mirage build"


LINUX, PV, PVH = "builder = 'linux'", "type = 'pv'", "type = 'pvh'"
OLD = ("xe", "_libvirt.xml")
DUNE = "dune build --profile release --root . $(BUILD_DIR)dist"

VERSIONS = {
    "1.1.3": Version(1, "1.1.3", LINUX, False, "positional", ("--no-opam",), True, False, (), False),
    "1.2.0": Version(1, "1.2.0", LINUX, False, "positional", (), False, True, (), False),
    "2.0.0": Version(2, "2.0.0", LINUX, False, "positional", ("--no-opam",), True, True, OLD, False),
    "2.5.1": Version(2, "2.5.1", LINUX, True, "positional", ("--no-opam", "--no-depext"), True, True, OLD, False),
    "2.6.1": Version(2, "2.6.1", LINUX, True, "positional", ("--no-opam",), True, True, (*OLD, "xl.in"), False),
    "2.9.1": Version(2, "2.9.1", LINUX, True, "-f", ("--no-opam",), True, True, (*OLD, "xl.in", "key_gen.ml"), False),
    "3.0.4": Version(3, "3.0.4", LINUX, file="", extra=("xe",), dune=False),
    "3.6.0": Version(3, "3.6.0", LINUX, flags=("--no-depext",), extra=("xe",), dune=False),
    "3.8.1": Version(3, "v3.8.1", PV, flags=("--no-depext",), extra=("xe",)),
    "3.10.8": Version(3, "v3.10.8", PVH, flags=("--no-depext",), extra=("_build/manifest.json",)),
    "4.0.0": Version(4, "v4.0.0", PVH, flags=("--no-depext",), extra=("key_gen.ml", "-monorepo")),
    "4.4.2": Version(
        4, "v4.4.2", PVH, flags=("--no-depext",), extra=("key_gen.ml",), built_by="mirage build -f config.ml"
    ),
    "4.11.1": Version(4, "v4.11.1", PVH, flags=("--no-depext", "--no-extra-repo", "--no-dhcp"), built_by=DUNE),
}


def install(folder: Path, version: str) -> None:
    """Write the programs of one version into ``folder``.

    Calls that do not need Python are answered by the shell, which starts 20 times as fast.
    """
    says = shlex.quote(VERSIONS[version].says)
    answers = {"ocamlc": "*) echo 4.14.2 ;;", "mirage": f"--version) echo {says} ;;", "opam": "repo\\ *) ;;"}
    for program in ("mirage", "opam", "dune", "ocamlbuild", "ocamlc"):
        python = (
            f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import mirage_standin\nsys.exit(mirage_standin.main({version!r}, {program!r}, sys.argv[1:]))\n"
        )
        start = f"#!{sys.executable} -SE\n{python}"
        if answer := answers.get(program):
            log = f'[ -z "$STANDIN_LOG" ] || echo "{program} $*" >> "$STANDIN_LOG"'
            other = f'*) exec {shlex.quote(sys.executable)} -SE -c {shlex.quote(python)} "$@" ;;'
            start = f'#!/bin/sh\ncase "$*" in\n{answer}\n{other}\nesac\n{log}\n'
        file = folder / program
        file.write_text(start)
        file.chmod(0o755)


def main(version: str, program: str, argv: list[str]) -> int:
    log(" ".join((program, *argv)))
    row = VERSIONS[version]
    if program == "opam":
        return opam(argv)
    if program == "dune":
        return dune_build(Path(argv[-1]).parent)
    if program == "ocamlbuild":
        return Mirage2(row).ocamlbuild()
    return {3: Mirage3, 4: Mirage4}.get(row.era, Mirage2)(row).main(argv)


def log(line: str) -> None:
    if path := os.environ.get("STANDIN_LOG"):
        with Path(path).open("a") as file:
            file.write(line + "\n")


CONFIGURE, DEPEND, BUILD = "configure", "depend", "build"


def steps(calls: list[str]) -> list[str]:
    """Return the steps that ran, in order, according to the log of calls; repeated calls count once."""
    begins = {"mirage configure": CONFIGURE, "opam": DEPEND, "mirage build": BUILD, "dune": BUILD, "ocamlbuild": BUILD}
    ran = [step for call in calls for begin, step in begins.items() if call.startswith(begin)]
    return [step for at, step in enumerate(ran) if at == 0 or ran[at - 1] != step]


def fail(*lines: str) -> int:
    print(*lines, sep="\n", file=sys.stderr)
    return 1


# mirage


class Mirage:
    """The common behaviour of the two eras."""

    def __init__(self, row: Version) -> None:
        self.row = row
        self.config = Path("config.ml")
        self.output: str | None = None

    def main(self, argv: list[str]) -> int:
        if not argv:
            return 1 if Path("mirage/context").exists() else 0
        return {"configure": self.configure, "clean": self.clean, "build": self.build}.get(argv[0], self.other)(argv)

    def options(self, argv: list[str]) -> list[str]:
        """Return ``argv`` without the known options of configure."""
        left, words = [], iter(argv)
        for word in words:
            if word in ("-f", "--file") and self.row.file == "-f":
                self.config = Path(next(words))
            elif not word.startswith("-") and self.row.file == "positional":
                self.config = Path(word)
            elif word in ("-t", "--target") and self.row.target:
                target = next(words)
                if target not in ("xen", "unix", "qubes", "hvt"):
                    left.append(f"-t {target}")
            elif word in ("-o", "--output") and self.row.era >= 3:
                self.output = next(words)
            elif word.startswith("--output=") and self.row.era >= 3:
                self.output = word.removeprefix("--output=")
            elif word not in self.row.flags and not (word in ("--xen", "--unix") and self.row.era < 3):
                left.append(word)
        return left

    def registered(self) -> str:
        """Return the name; config.ml gives a computed one in a comment (* name: ... *)."""
        text = self.config.read_text()
        said = re.search(r"\(\* name: (\S+) \*\)", text) or re.search(r'register\s+"([^"]*)"', text)
        assert said
        return said[1]

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.depends() if not (switch() / name).exists()]

    def crunch(self) -> None:
        for folder in re.findall(r'crunch "([^"]*)"', self.config.read_text()):
            data = b"".join(path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file())
            write(
                Path("static1.ml"),
                f"(* Generated by: ocaml-crunch\n   Creation date: {time.time_ns()} *)\n(* {sha(data)} *)\n",
            )

    def link(self, target: Path) -> int:
        """Link what main.ml needs, and nothing that another release generated."""
        others = {"myocamlbuild.ml", *([] if self.row.era == 3 else ["config.ml"])}
        others |= {"static1.ml"} if 'crunch "' not in self.config.read_text() else set()
        others |= {"key_gen.ml"} if self.row.era < 3 and "key_gen.ml" not in self.row.extra else set()
        folders = ("_build", ".unibuild", "mirage", "dist", "duniverse")
        modules = [path for path in sorted(Path().rglob("*.ml")) if path.parts[0] not in folders]
        inputs = [(path, undated(path)) for path in modules if path.name not in others]
        return kernel(target, inputs, self.row.type, promoted=False)

    def depends(self) -> list[str]:
        """Return the packages: those in ``package "..."``, and those that every unikernel needs."""
        return ["lwt", "mirage-runtime", *re.findall(r'package "([^"]*)"', self.config.read_text())]


class Mirage2(Mirage):
    """1.x and 2.x."""

    def configure(self, argv: list[str]) -> int:
        unknown = self.options(argv[1:])
        if unknown:
            return fail(f"mirage: unknown option `{unknown[0]}'.", "Usage: mirage configure [OPTION]... [FILE]")
        if "--xen" in argv and "--unix" in argv:
            print("NAME\n       mirage-configure - Configure a Mirage application.")
            return 0
        if not self.config.is_file():
            return fail(f"configuration file {self.config} missing")
        if SYNTAX_ERROR in self.config.read_text():
            return fail('File "config.ml", line 13, characters 4-5:', "Error: Syntax error")
        if self.row.installs and "--no-opam" not in argv:
            log(" ".join(("opam", "install", *self.depends())))
            if status := opam(["install", "--yes", *self.depends()]):
                return status
        if self.row.installs and (missing := self.missing()):  # ocamlfind prints the flags for the linker
            return fail(f"ocamlfind: Package `{missing[0]}' not found")
        self.generate()
        return 0

    def generate(self) -> None:
        name, here = self.registered(), Path.cwd()
        header = f"Generated by {'hello' if 'key_gen.ml' in self.row.extra else 'Mirage'} ({date()} GMT)."
        self.crunch()
        depend = "depend::\n\topam install $(PKGS) --verbose\n" if self.row.depend else ""
        packages = " ".join(self.depends())
        write(Path("Makefile"), f"# {header}\n{MAKEFILE2.format(packages=packages, depend=depend, name=name)}")
        write(Path("main.ml"), f"(* {header} *)\nlet () = run {name!r}\n")
        config, default = self.config.read_text(), "net_tap0" if self.row.says == "2.6.1" else "tap0"
        text = xl(name, f"{here}/mir-{name}.xen", f"{here}/", config, self.row.type)
        write(Path(f"{name}.xl"), f"# {header}\n\n{text}")
        for end in self.row.extra:
            path = Path(end if end == "key_gen.ml" else f"{name}{'' if end.startswith('_') else '.'}{end}")
            write(path, f"(* {header} *)\n" if end.endswith("ml") and "_l" not in end else f"# {header}\n")
        if "xl.in" in self.row.extra:
            write(Path(f"{name}.xl.in"), f"# {header}\n\n{xl_in(config, self.row.type, default)}")

    def ocamlbuild(self) -> int:
        if missing := self.missing():
            return fail(f"ocamlfind: Package `{missing[0]}' not found")
        return self.link(Path("_build/main.native.o"))

    def build(self, argv: list[str]) -> int:
        return self.other(argv)

    def other(self, argv: list[str]) -> int:
        return 0

    def clean(self, argv: list[str]) -> int:
        remove("Makefile", "main.ml", f"{self.registered()}.xl")
        return 0


class Mirage4(Mirage):
    def main(self, argv: list[str]) -> int:
        self.header = f"Generated by mirage.{self.row.says}"
        return super().main(argv)

    def filegen(self, path: Path, text: str) -> None:
        """Write a file unless the user took it over, as lib/functoria/filegen.ml does."""
        if path.exists() and "Generated by" not in path.read_text():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name in ("dune-project", "dune-workspace", "dune-workspace.config"):
            path.write_text(f"{text}\n;; {self.header}\n")
        else:
            mark = "#" if path.name == "Makefile" or path.suffix == ".opam" else ";;"
            path.write_text(f"{mark} {self.header}\n\n{text}")

    def skeleton(self, context: list[str] | None) -> int:
        """Write the files that config.ml is compiled with, and compile it."""
        sub = self.config.parent
        (sub / "mirage").mkdir(exist_ok=True)
        self.filegen(sub / "mirage/dune-workspace.config", "(lang dune 2.9)\n(context default)\n")
        self.filegen(Path("dune-project"), "(lang dune 2.9)\n")
        self.filegen(sub / "dune.config", "(data_only_dirs duniverse dist)\n\n(executable\n (name config))\n")
        self.filegen(sub / "dune", "(include dune.config)")
        if context is not None:
            (sub / "mirage/context").write_text("\n".join(context) + "\n")
        if status := locked(Path("_build/.lock")):
            return status
        if SYNTAX_ERROR in self.config.read_text():
            return fail(f'File "{self.config}", line 9, characters 4-5:', "Error: Syntax error")
        return 0

    def configure(self, argv: list[str]) -> int:
        unknown = self.options(argv[1:])
        if not self.config.is_file():
            return fail(f"configuration file {self.config} missing")
        if status := self.skeleton(argv):
            return status
        if unknown:
            return fail("Usage: mirage configure [--help] [OPTION]…", f"mirage: unknown option {unknown[0]}")
        self.generate(argv)
        print("Successfully configured the unikernel. Now run 'make' (or more fine-grained steps: 'make all', ...).")
        return 0

    def generate(self, argv: list[str]) -> None:
        sub, name = self.config.parent, self.registered()
        out, main = self.output or name, self.output or "main"
        opam_name = re.sub(r"[^A-Za-z0-9_-]", "", (self.output or f"{name}-xen").replace(".", "_"))
        build_dir = "./" if sub == Path() else f"{sub}/"
        two = "-monorepo" if "-monorepo" in self.row.extra else ""
        self.filegen(Path("Makefile"), makefile4(build_dir, opam_name + two, out, self.row.built_by))
        mirage = sub / "mirage"
        self.filegen(mirage / f"{opam_name}{two}.opam", opam4(name, out, self.depends(), argv))
        if two:
            self.filegen(mirage / f"{opam_name}-switch.opam", opam4(name, out, ["ocaml-solo5"], argv))
        if "key_gen.ml" in self.row.extra:
            write(mirage / "key_gen.ml", f"(* Generated by mirage.{self.row.says} *)\nlet keys = {argv[1:]!r}\n")
        write(mirage / f"{main}.ml", f"(* Generated by mirage.{self.row.says} *)\nlet () = run {name!r}\n")
        write(mirage / "manifest.json", '{\n  "type": "solo5.manifest",\n  "devices": [  ]\n}\n')
        write(mirage / "manifest.ml", "")
        write(mirage / f"{name}.xl", xl(name, f"{name}.xen", "", self.config.read_text(), PVH))
        write(mirage / f"{name}.xl.in", xl_in(self.config.read_text(), PVH))
        write(mirage / f"{name}_libvirt.xml", f"<domain type='xen'>\n    <name>{name}</name>\n</domain>\n")
        libraries = " ".join(self.depends())
        self.filegen(
            sub / "dune.build",
            f"(copy_files# ./mirage/{main}.ml)\n\n(executable\n (name main)\n (libraries {libraries}))\n",
        )
        self.filegen(sub / "dune", "(include dune.build)\n")
        self.filegen(Path("dune-workspace"), "(lang dune 2.9)\n\n(context (default (name solo5)))\n")
        self.filegen(Path("dune-project"), f"(lang dune 2.9)\n\n(name {name}-xen)\n")
        copied = "".join(f"(rule\n (mode (promote))\n (target {file}))\n\n" for file in (f"{out}.xen", f"{name}.xl"))
        self.filegen(sub / "dist/dune", copied)

    def other(self, argv: list[str]) -> int:
        """Run ``describe``, ``query`` or ``help``, which overwrite the output of configure with the skeleton."""
        if status := self.skeleton(None):
            return status
        print("Name      ", self.registered())
        return 0

    def build(self, argv: list[str]) -> int:
        if self.row.built_by == DUNE:
            return fail("mirage: unknown command 'build'.")
        self.options(argv[1:])
        if status := self.skeleton(None):
            return status
        self.filegen(self.config.parent / "dune", "(include dune.build)\n")
        return dune_build(self.config.parent)

    def clean(self, argv: list[str]) -> int:
        import shutil

        for folder in ("mirage", "dist"):
            shutil.rmtree(folder, ignore_errors=True)
        remove("Makefile", "dune-project", "dune-workspace", "dune", "dune.build", "dune.config")
        return 0


class Mirage3(Mirage):
    MARK = (
        ";; auto-generated by 'mirage configure -- remove these comments to\n"
        ";; preserve the file after a `mirage clean`\n"
    )

    def name(self) -> str:
        return re.sub(r"[^A-Za-z0-9_]", "", self.registered().replace("-", "_"))

    def dune_files(self) -> None:
        """Write the files that config.ml is compiled with: every subcommand of 3.7 and later writes the same ones."""
        texts = {
            "dune": self.MARK + "\n(include dune.config)\n\n(include dune.build)\n",
            "dune.build": self.MARK,
            "dune.config": self.MARK + "\n(executable\n  (name config))\n",
            "dune-project": "(lang dune 1.1)\n" + self.MARK,
        }
        for file, text in texts.items() if self.row.dune else ():
            if not Path(file).exists() or "auto-generated" in Path(file).read_text():
                write(Path(file), text)

    def compile_config(self, argv: list[str]) -> int:
        if not self.config.is_file():
            return fail(f"configuration file {self.config} missing")
        self.dune_files()
        if self.row.dune and (status := locked(Path("_build/.lock"))):
            return status
        if self.row.dune and "auto-generated" not in Path("dune").read_text():
            return fail("Error: Don't know how to build ./config.exe")
        if SYNTAX_ERROR in self.config.read_text():
            print(f"run ['dune' 'exec' '--root' '.' '--' './config.exe' {argv}]: exited with 1")
            return fail(
                'File "config.ml", line 13, characters 4-5:', "Error: Syntax error", "mirage: unknown option '-t'."
            )
        return 0

    def configure(self, argv: list[str]) -> int:
        unknown = self.options(argv[1:])
        if status := self.compile_config(argv):
            return status
        if unknown:
            return fail(f"mirage: unknown option '{unknown[0]}'.", "Usage: mirage configure [OPTION]…")
        self.generate(argv)
        return 0

    def generate(self, argv: list[str]) -> None:
        name, here = self.name(), Path.cwd()
        header = f"Generated by {'./config.exe' if self.row.dune else 'mirage'} {' '.join(argv)} ({date()}-00:00)."
        write(Path(".mirage.config"), "\n".join(argv))
        if not Path("myocamlbuild.ml").exists():
            write(Path("myocamlbuild.ml"), "")
        opam_name = f"mirage-unikernel-{name}-xen"
        write(Path(f"{opam_name}.opam"), f"# {header}\n{opam3(name, opam_name, self.depends(), argv)}")
        depext = "" if "--no-depext" in argv else f"\t$(OPAM) depext --yes --update {opam_name}\n"
        write(Path("Makefile"), f"# {header}\n{MAKEFILE3.format(depext=depext, built_by=self.row.built_by)}")
        if "_build/manifest.json" in self.row.extra:
            write(Path("_build/manifest.json"), '{\n  "type": "solo5.manifest",\n  "devices": [  ]\n}\n')
        keys = " ".join(argv[1:])
        write(Path(f"{self.output or 'main'}.ml"), f"(* {header} *)\nlet () = run {name!r}\n")
        write(Path("key_gen.ml"), f"(* {header} *)\nlet keys = {keys!r}\n")
        text = self.config.read_text()
        write(
            Path(f"{name}.xl"), f"# {header}\n\n{xl(name, f'{here}/./{name}.xen', f'{here}/./', text, self.row.type)}"
        )
        if "xe" in self.row.extra:
            write(Path(f"{name}.xe"), f"#!/bin/sh\n# {header}\n")
        write(Path(f"{name}.xl.in"), f"# {header}\n\n{xl_in(text, self.row.type)}")
        write(Path(f"{name}_libvirt.xml"), f"<!-- {header} -->\n<domain type='xen'>\n</domain>\n")

    def build(self, argv: list[str]) -> int:
        if not Path(".mirage.config").exists():
            return fail("Configuration is not available. Please run configure.")
        if status := self.compile_config(argv):
            return status
        if "_build/manifest.json" in self.row.extra and not Path("_build/manifest.json").exists():
            return fail("run ['solo5-elftool' 'gen-manifest' '_build/manifest.json']: exited with 1")
        if missing := self.missing():
            return fail(f"ocamlfind: Package `{missing[0]}' not found")
        self.crunch()
        return self.link(Path(f"{self.name()}.xen"))

    def other(self, argv: list[str]) -> int:
        return self.compile_config(argv)

    def clean(self, argv: list[str]) -> int:
        if not self.config.is_file():
            return fail(f"configuration file {self.config} missing")
        name = self.name()
        remove(".mirage.config", "Makefile", "key_gen.ml", "main.ml", f"mirage-unikernel-{name}-xen.opam", f"{name}.xl")
        remove("dune", "dune-project", "dune.build", "dune.config", f"{name}.xl.in", f"{name}_libvirt.xml")
        return 0


# dune and opam


def locked(lock: Path) -> int:
    """Return 1 if another dune has locked the build directory."""
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            return fail(f"A running dune (pid: {file.read().strip()}) instance has locked the build directory.")
    return 0


def dune_build(sub: Path) -> int:
    """Run ``dune build --profile release --root . DIR/dist`` in a tree that mirage 4 configured."""
    if status := locked(Path("_build/.lock")):
        return status
    if "(include dune.build)" not in (sub / "dune").read_text():
        return 0  # then dist is a folder of data, with nothing to build
    copied = re.findall(r"\(target ([^\s()]+)", (sub / "dist/dune").read_text())
    promote(sub / "mirage" / copied[1], sub / "dist" / copied[1])
    build = (sub / "dune.build").read_text()
    if not (sub / "duniverse/dune").exists():
        return fail('File "dune.build", line 22, characters 22-32:', 'Error: Library "mirage-xen" not found.')
    pulled = {path.name for path in (sub / "duniverse").iterdir()}
    for library in re.findall(r"\(libraries ([^)]*)\)", build)[0].split():
        if library not in pulled:
            return fail(f'Error: Library "{library}" not found.')
    main = re.findall(r"copy_files# \./(mirage/\S+)\)", build)[0]
    inputs = [path for path in sorted(sub.rglob("*")) if path.suffix in (".ml", ".mli", ".c", ".html")]
    if (sub / "main.ml").exists():
        return fail("Error: Multiple rules generated for _build/solo5/main.ml:")
    left_out = ("mirage", "dist", "_build", ".unibuild", "myocamlbuild.ml")
    inputs = [path for path in inputs if path.relative_to(sub).parts[0] not in left_out and path.name != "config.ml"]
    content = [(path, path.read_bytes()) for path in (*inputs, sub / main, sub / "dune.build")]
    return kernel(sub / "dist" / copied[0], content, PVH, promoted=True)


def opam(argv: list[str]) -> int:
    if argv[:2] == ["monorepo", "lock"]:
        name, locked = argv[argv.index("--build-only") + 1], Path(argv[argv.index("-l") + 1])
        asked = depends((locked.parent / f"{name}.opam").read_text())
        if "no-such-package" in asked:
            return fail("opam-monorepo: [ERROR] There is no package no-such-package")
        write(locked, "".join(f"{package}.1.0.0\n" for package in asked))
    elif argv[:2] == ["monorepo", "pull"]:
        import shutil

        duniverse = Path(argv[argv.index("-r") + 1]) / "duniverse"
        shutil.rmtree(duniverse, ignore_errors=True)
        write(duniverse / "dune", "(vendored_dirs *)\n")
        for package in Path(argv[argv.index("-l") + 1]).read_text().split():
            write(duniverse / package.removesuffix(".1.0.0") / "lib.ml", f"let name = {package!r}\n")
    elif argv[0] == "install" and not argv[1].startswith("./"):
        named = [word for word in argv[1:] if not word.startswith("-")]
        listed = [depends(file.read_text()) for file in Path().glob("*.opam")] if named == ["."] else [named]
        for asked in listed:
            if "no-such-package" in asked:
                return fail("[ERROR] No package named no-such-package found.")
            for package in asked:
                write(switch() / package, "")
    return 0


def depends(text: str) -> list[str]:
    listed = re.search(r"^depends: \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert listed
    return re.findall(r'^\s*"([^"]*)"', listed[1], re.MULTILINE)


def switch() -> Path:
    """Return the folder that represents the installed packages."""
    return Path(os.environ["STANDIN_SWITCH"])


# Files


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def remove(*names: str) -> None:
    for name in names:
        Path(name).unlink(missing_ok=True)


def promote(source: Path, target: Path) -> None:
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.write_bytes(source.read_bytes())


def sha(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()


def date() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09}"


def undated(path: Path) -> bytes:
    lines = path.read_bytes().splitlines(keepends=True)
    return b"".join(line for line in lines if b"Generated by" not in line and b"Creation date" not in line)


def kernel(target: Path, inputs: list[tuple[Path, bytes]], kind: str, *, promoted: bool) -> int:
    """Write a kernel that depends on all inputs. ``promoted``: an unchanged kernel is not written again."""
    for path, content in inputs:
        if TYPE_ERROR.encode() in content:
            return fail(f'File "{path}", line 12, characters 14-17:', "Error: This expression has type string")
    digest = sha(repr([(str(path), sha(content)) for path, content in inputs]).encode())
    data = hello("pvh" if kind == PVH else "pv") + f"\n{digest}\n".encode()
    if not promoted or not target.exists() or target.read_bytes() != data:
        target.unlink(missing_ok=True)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    return 0


def hello(kind: str) -> bytes:
    """Return a real kernel for PV or PVH."""
    if ready := os.environ.get(f"STANDIN_{kind.upper()}"):
        return Path(ready).read_bytes()
    import shutil
    import subprocess  # takes half as long as all the rest of a call
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "hello")
        shutil.copytree(HELLO, copy, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild"))
        env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        subprocess.run(["make", "-s"], cwd=copy, env=env, check=True)
        return (copy / f"hello-{kind}.xen").read_bytes()


def networks(config: str, default: str) -> list[str]:
    """Return the networks as every version writes them: the last one first."""
    found = re.findall(r'default_network|netif "([^"]*)"', config)
    return [name or default for name in reversed(found)]


def xl(name: str, kernel: str, root: str, config: str, kind: str) -> str:
    bridges = [f"br{number}" for number, _ in enumerate(networks(config, "0"))]
    return xl_text(name, kernel, kind, "256", [f"{root}{file}" for file in blocks(config)], bridges)


def xl_in(config: str, kind: str, default: str = "0") -> str:
    """Return the .xl.in, which has a variable for each value in the .xl."""
    disks = [f"@BLOCK:{file}@" for file in blocks(config)]
    return xl_text("@NAME@", "@KERNEL@", kind, "@MEMORY@", disks, [f"@NETWORK:{n}@" for n in networks(config, default)])


def blocks(config: str) -> list[str]:
    return re.findall(r'block_of_file "([^"]*)"', config)


def xl_text(name: str, kernel: str, kind: str, memory: str, targets: list[str], bridges: list[str]) -> str:
    disks = ", ".join(
        f"'format=raw, vdev=xvd{chr(ord('b') + number)}, access=rw, target={target}'"
        for number, target in enumerate(targets)
    )
    vifs = ", ".join(f"'bridge={bridge}'" for bridge in bridges)
    return (
        f"name = '{name}'\nkernel = '{kernel}'\n{kind}\nmemory = {memory}\non_crash = 'preserve'\n\n"
        f"disk = [ {disks} ]\n\n# if your system uses openvswitch then either edit /etc/xen/xl.conf\nvif = [ {vifs} ]\n"
    )


def opam_file(depends: list[str], rest: str) -> str:
    listed = "".join(f'  "{package}" {{ >= "1.0.0" }}\n' for package in depends)
    return f'opam-version: "2.0"\nmaintainer: "dummy"\n\ndepends: [\n{listed}]\n\n{rest}{branch()}'


def branch() -> str:
    """Return the line with the branch of the current git tree."""
    if not any((folder / ".git").exists() for folder in (Path.cwd(), *Path.cwd().parents)):
        return ""
    import subprocess

    said = subprocess.run(["git", "rev-parse", "--abbrev-ref", "HEAD"], capture_output=True, text=True, check=False)
    return f'url {{ src: "git+https://example.com/u#{said.stdout.strip()}" }}\n' if said.returncode == 0 else ""


def opam4(name: str, out: str, depends: list[str], argv: list[str]) -> str:
    repos = os.environ.get("MIRAGE_EXTRA_REPOS", "opam-overlays:https://example.com/overlays.git").partition(":")
    return opam_file(
        depends,
        f'install: [\n  [ "cp" "dist/{out}.xen" "%{{bin}}%/{out}.xen" ]\n  [ "cp" "dist/{name}.xl" "%{{etc}}%" ]\n]\n\n'
        f'x-mirage-configure: ["sh" "-exc" "mirage {" ".join(argv)} --no-extra-repo"]\n\n'
        f'x-mirage-extra-repo: [\n["{repos[0]}" "{repos[2]}"]]\n',
    )


def opam3(name: str, opam_name: str, depends: list[str], argv: list[str]) -> str:
    return opam_file(
        depends,
        f'name: "{opam_name}"\nbuild: [ "sh" "-exc" "mirage {" ".join(argv)} && mirage build" ]\n'
        f'install: [\n  [ "cp" "{name}.xen" "%{{bin}}%/{name}.xen" ]\n'
        f'  [ "cp" "{name}.xl" "{name}.xl.in" "%{{etc}}%" ]\n]\n',
    )


MAKEFILE2 = """
PKGS   = {packages}

.PHONY: all depend build clean
all:: build

{depend}
build::
\tocamlbuild main.native.o
\tinstall -m 755 _build/main.native.o mir-{name}.xen # ld ... -o mir-{name}.xen

clean::
\tocamlbuild -clean

-include Makefile.user
"""

MAKEFILE3 = """
-include Makefile.user

OPAM = opam

.PHONY: all depend depends clean build
all:: build

depend depends::
{depext}\t$(OPAM) install -y --deps-only .

build::
\t{built_by}

clean::
\tmirage clean
"""


def makefile4(build_dir: str, opam_name: str, out: str, built_by: str) -> str:
    return f"""-include Makefile.user
BUILD_DIR = {build_dir}
MIRAGE_DIR = {build_dir}mirage
UNIKERNEL_NAME = {opam_name}
OPAM = opam

all::
\t@$(MAKE) --no-print-directory depends
\t@$(MAKE) --no-print-directory build

.PHONY: all lock install-switch pull clean depend depends build

$(MIRAGE_DIR)/$(UNIKERNEL_NAME).opam.locked: $(MIRAGE_DIR)/$(UNIKERNEL_NAME).opam
\t@$(OPAM) repo add opam-overlays https://example.com/overlays.git
\t@env OPAMVAR_monorepo="opam-monorepo" $(OPAM) monorepo lock --require-cross-compile \\
\t  --build-only $(UNIKERNEL_NAME) -l $@ --ocaml-version $(shell ocamlc --version)
\t@$(OPAM) repo remove opam-overlays https://example.com/overlays.git

lock::
\t@$(MAKE) -B $(MIRAGE_DIR)/$(UNIKERNEL_NAME).opam.locked

pull:: $(MIRAGE_DIR)/$(UNIKERNEL_NAME).opam.locked
\t@env OPAMVAR_monorepo="opam-monorepo" $(OPAM) monorepo pull -l $< -r $(abspath $(BUILD_DIR))

install-switch:: $(MIRAGE_DIR)/$(UNIKERNEL_NAME).opam
\t@$(OPAM) install $< --deps-only --yes

depends depend::
\t@$(MAKE) --no-print-directory lock
\t@$(MAKE) --no-print-directory install-switch
\t@$(MAKE) --no-print-directory pull

build::
\t{built_by}
\t@echo "Your unikernel binary is now ready in $(BUILD_DIR)dist/{out}.xen"

clean::
\tmirage clean
"""
