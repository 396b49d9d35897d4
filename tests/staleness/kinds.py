"""The kinds of file that decide what is in a kernel: for each, a small part of a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from world import COMPILER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from world import World

__all__ = ["GIT_TREES", "KINDS", "SIMPLE", "Kind", "project", "write_makefile"]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: its name, and that of its part of the kernel.
        files: the part's files by path from the project's folder; ``TOKEN`` stands for what an edit changes.
        rule: text in the project's Makefile that makes ``NAME.part``.
        edited: the file that edits change; by default the first one.
        outputs: patterns of more files that the part's rules leave.
        blind: whether make does not know that the part depends on the file: only a build from nothing is right.
        prepare: what else is to be set up.
        folder: whether files that appear next to ``edited``, with the same suffix, go into the kernel too.
        change: how an edit changes the part, where it is not the content of ``edited``.
    """

    name: str
    files: dict[str, str]
    rule: str
    edited: str = ""
    outputs: tuple[str, ...] = ()
    blind: bool = False
    prepare: Callable[[World], None] | None = None
    folder: bool = False
    change: Callable[[World, str], None] | None = None

    @property
    def path(self) -> str:
        return self.edited or next(iter(self.files))

    def text(self, path: str, token: str) -> str:
        return self.files[path].replace("TOKEN", token)

    def create(self, world: World) -> None:
        world.outputs += self.outputs
        for path in self.files:
            world.write(path, self.text(path, "0000"))
            if self.files[path].startswith("#!"):
                world.path(path).chmod(0o755)
        if self.prepare:
            self.prepare(world)

    def edit(self, world: World, token: str) -> None:
        """Change what the part is made of, in place."""
        if self.change:
            self.change(world, token)
        else:
            world.write(self.path, self.text(self.path, token))


def project(world: World, *kinds: Kind) -> None:
    """Write a project of these kinds."""
    for kind in kinds:
        kind.create(world)
    write_makefile(world, *kinds)
    for kind in kinds:
        if kind.name.startswith("git-"):
            world.git("add", "-A")
            world.git("commit", "-q", "--allow-empty", "-m", "All")


def write_makefile(world: World, *kinds: Kind) -> None:
    parts = "".join(f"PARTS += {kind.name}.part\n{kind.rule}" for kind in kinds)
    final = f"{world.root.name}.xen: head.bin $(PARTS)\n\tcat head.bin $(PARTS) > $@\n"
    world.write("Makefile", f".DEFAULT_GOAL := {world.root.name}.xen\n{parts}{final}")


def _declared(name: str, path: str, **more: object) -> Kind:
    """A file that a rule names."""
    return Kind(name, {path: "TOKEN"}, f"{name}.part: {path}\n\tcat {path} > $@\n", **more)


def _undeclared(name: str, path: str, **more: object) -> Kind:
    """A file that a recipe reads and no rule names."""
    return Kind(name, {path: "TOKEN"}, f"{name}.part:\n\tcat {path} > $@\n", blind=True, **more)


def _links(*links: tuple[str, str]) -> Callable[[World], None]:
    """Return what makes symbolic links, each of a path and what it leads to."""

    def make(world: World) -> None:
        for path, target in links:
            world.path(path).symlink_to(target)

    return make


NAMES = [  # every suffix that a rule may name
    *("main.c", "api.h", "boot.S", "mem.ld", "lib.ml", "core.rs"),
    *("data.txt", "page.json", "index.html", "blob.bin", "logo.png", "cert.pem", "conf.toml", "notes.md"),
    *("table.csv", "board.dts", "api.proto", "init.lua", "gen.rb", "old.f90", "boot.nasm", "upper.C", "plus.c++"),
    *("tmpl.ipp", "view.re", "expr.mlx", "wasm.wat", "oldlib.a", "fw.o", "deps.d", "LICENSE", ".version"),
    *("hello.opam.locked", "types.atd", "grün.txt", "data.swp.txt", "core.log"),
]

HEADER = '#define WORD "TOKEN"\n'
INCLUDES = '#include "{}"\nconst char word[] = WORD;\n'
CC = "cc -c -MMD -o {name}.o {source}\n\tobjcopy -O binary -j .rodata {name}.o $@\n-include {name}.d\n"
FORCE = "FORCE:\n.PHONY: FORCE\n"


SIMPLE = [_declared(path.replace(".", "-").strip("-"), path) for path in NAMES]


def _all() -> Iterator[Kind]:
    yield from SIMPLE
    yield from _compiled()
    yield from _of_make()
    yield from _generated()
    yield from _passed_over()
    yield from _elsewhere()
    yield from _blind()
    yield from _of_git()
    yield from _slow()


def _compiled() -> Iterator[Kind]:
    """What a real compiler reads."""
    yield Kind(
        "cc-c",
        {"cc.c": 'const char word[] = "TOKEN";\n'},
        "cc-c.part: cc.c\n\t" + CC.format(name="cc-c", source="cc.c"),
        outputs=("cc-c.o", "cc-c.d"),
    )
    yield Kind(
        "cc-header",
        {"inc/word.h": HEADER, "hd.c": INCLUDES.format("inc/word.h")},
        "cc-header.part: hd.c\n\t" + CC.format(name="cc-header", source="hd.c"),
        outputs=("cc-header.o", "cc-header.d"),
        blind=True,
    )
    yield Kind(
        "cc-header-common",
        {"../common/far.h": HEADER, "far.c": INCLUDES.format("../common/far.h")},
        "cc-header-common.part: far.c\n\t" + CC.format(name="cc-header-common", source="far.c"),
        outputs=("cc-header-common.o", "cc-header-common.d"),
        blind=True,
    )
    yield Kind(
        "cc-header-no-d",
        {"nod.h": HEADER, "nod.c": INCLUDES.format("nod.h")},
        "cc-header-no-d.part: nod.c\n\tcc -c -o nod.o nod.c\n\tobjcopy -O binary -j .rodata nod.o $@\n",
        outputs=("nod.o",),
        blind=True,
    )
    yield Kind(
        "incbin",
        {"rom.dat": "TOKEN", "rom.S": '.section .rodata\n.incbin "rom.dat"\n'},
        "incbin.part: rom.S rom.dat\n\tcc -c -o rom.o rom.S\n\tobjcopy -O binary -j .rodata rom.o $@\n",
        outputs=("rom.o",),
    )
    yield Kind(
        "objcopy",
        {"disk.img": "TOKEN"},
        "objcopy.part: disk.img\n\tobjcopy -I binary -O elf64-x86-64 disk.img $@\n",
    )
    yield Kind("hex-dump", {"font.psf": "TOKEN"}, "hex-dump.part: font.psf\n\tod -An -tx1 font.psf > $@\n")


def _of_make() -> Iterator[Kind]:
    """What make itself reads: included files, variables, file names."""
    shown = "{name}.part: {path}\n\techo $({variable}) > $@\n"
    for path in ("rules.make", "conf.env", "Kbuild", "build.config", "local.mk", ".config"):
        name, variable = f"include-{path.strip('.').replace('.', '-')}", path.strip(".").replace(".", "_").upper()
        yield Kind(name, {path: f"{variable} = TOKEN\n"}, f"include {path}\n{shown}".format(**locals()))
    yield Kind(
        "include-not-a-prerequisite",
        {"flags.inc.make": "FLAGS = TOKEN\n", "fl.c": "int x;\n"},
        "include flags.inc.make\ninclude-not-a-prerequisite.part: fl.c\n\techo $(FLAGS) > $@; cat fl.c >> $@\n",
        blind=True,
    )
    yield Kind(
        "makefile-recipe",
        {"mf.txt": "text"},
        "makefile-recipe.part: mf.txt\n\techo 0000 > $@; cat mf.txt >> $@\n",
        edited="Makefile",
        blind=True,
        change=_replace_in_makefile,
    )
    yield Kind(
        "wildcard",
        {"pages/a.page": "TOKEN"},
        "wildcard.part: $(wildcard pages/*.page)\n\tcat $^ > $@\n",
        folder=True,
    )
    yield Kind(
        "shell-find",
        {"web/a.asset": "TOKEN", "web/deep/b.asset": "deep"},
        "shell-find.part: $(shell find web -name '*.asset' | sort)\n\tcat $^ > $@\n",
        folder=True,
    )
    yield Kind(
        "shell-cat",
        {"VERSION": "TOKEN\n"},
        "V := $(shell cat VERSION)\nshell-cat.part:\n\techo $(V) > $@\n",
        blind=True,
    )
    yield Kind(
        "recursive",
        {"sub/in.src": "TOKEN", "sub/Makefile": "../recursive.part: in.src\n\tcat in.src > $@\n"},
        "recursive.part: FORCE\n\t+$(MAKE) -C sub\n" + FORCE,
        edited="sub/in.src",
    )
    yield Kind(
        "recursive-makefile",
        {"lib/Makefile": "../recursive-makefile.part: Makefile\n\techo TOKEN > $@\n"},
        "recursive-makefile.part: FORCE\n\t+$(MAKE) -C lib\n" + FORCE,
    )
    yield Kind("force", {"forced.src": "TOKEN"}, "force.part: FORCE\n\tcat forced.src > $@\n" + FORCE)
    yield Kind("vpath", {"srcs/vp.src": "TOKEN"}, "vpath %.src srcs\nvpath.part: vp.src\n\tcat $< > $@\n")
    yield Kind("order-only", {"oo/x.src": "TOKEN"}, "order-only.part: oo/x.src | oo\n\tcat $< > $@\noo:\n\tmkdir oo\n")
    yield Kind(
        "script",
        {"tools/mk": "#!/bin/sh\necho TOKEN\n"},
        "script.part: tools/mk\n\ttools/mk > $@\n",
    )
    yield Kind(
        "packed",
        {"disk/init": "TOKEN\n", "disk/etc/motd": "hello\n"},
        "packed.part: $(wildcard disk/*) disk/etc/motd\n"
        "\ttar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=g-w,o-w -cf $@ disk\n",
        folder=True,
    )
    yield Kind(
        "script-made-executable",
        {"tools/plain": "#!/bin/sh\necho TOKEN\n"},
        "script-made-executable.part: tools/plain\n\tchmod +x tools/plain\n\ttools/plain > $@\n",
        prepare=lambda world: world.path("tools/plain").chmod(0o644),
    )
    yield Kind(
        "recursive-own-folder",
        {
            "part/in.src": "TOKEN",
            "part/Makefile": "$(OUT)/x.made: in.src\n\tmkdir -p $(OUT)\n\tcat in.src > $@\n",
        },
        "recursive-own-folder.part: FORCE\n\t+$(MAKE) -C part OUT=../made\n\tcp made/x.made $@\n" + FORCE,
        outputs=("made",),
    )
    yield Kind("with-space", {"my file.txt": "TOKEN"}, "with-space.part: my\\ file.txt\n\tcat 'my file.txt' > $@\n")


def _replace_in_makefile(world: World, token: str) -> None:
    text = world.path("Makefile").read_text()
    before, _, after = text.partition("makefile-recipe.part: mf.txt\n\techo ")
    world.write("Makefile", f"{before}makefile-recipe.part: mf.txt\n\techo {token}{after[4:]}")


def _generated() -> Iterator[Kind]:
    """What is made of a file, in the tree, and read on."""
    yield Kind(
        "generated-header",
        {"in.def": "TOKEN\n"},
        "generated-header.part: gen.h\n\tcat gen.h > $@\ngen.h: in.def\n\tsed 's/^/#define X /' in.def > $@\n",
        outputs=("gen.h",),
    )
    yield Kind(
        "generated-header-compiled",
        {"cfg.def": "TOKEN\n", "cfg.c": INCLUDES.format("config.gen.h")},
        "generated-header-compiled.part: cfg.c config.gen.h\n\t"
        + CC.format(name="cfgc", source="cfg.c")
        + "config.gen.h: cfg.def\n\tsed 's/.*/#define WORD \"&\"/' cfg.def > $@\n",
        outputs=("config.gen.h", "cfgc.o", "cfgc.d"),
    )
    yield Kind(
        "lexer",
        {"lexer.l": "TOKEN\n"},
        "lexer.part: lexer.c\n\tcat lexer.c > $@\nlexer.c lexer.h: lexer.l\n"
        "\tsed 's/^/char /' lexer.l > lexer.c; sed 's/^/extern /' lexer.l > lexer.h\n",
        outputs=("lexer.c", "lexer.h"),
    )
    yield Kind(
        "generated-if-changed",
        {"opt.in": "TOKEN\n"},
        "generated-if-changed.part: opt.h\n\tcat opt.h > $@\n"
        "opt.h: FORCE\n\tsed 's/^/opt /' opt.in > opt.tmp; cmp -s opt.tmp $@ || cp opt.tmp $@; rm opt.tmp\n" + FORCE,
        outputs=("opt.h", "opt.tmp"),
    )
    yield Kind(
        "remade-makefile",
        {"spec.in": "TOKEN\n"},
        "-include made.mk\nremade-makefile.part: spec.in made.mk\n\techo $(SPEC) > $@\n"
        "made.mk: spec.in\n\tsed 's/^/SPEC := /' spec.in > $@\n",
        outputs=("made.mk",),
    )
    yield Kind(
        "pattern-chain",
        {"chain/z.y": "TOKEN\n"},
        "pattern-chain.part: chain/z.o2\n\tcat $< > $@\nchain/%.o2: chain/%.mid\n\tcat $< > $@\n"
        "chain/%.mid: chain/%.y\n\tcat $< > $@\n",
        outputs=("chain/z.o2", "chain/z.mid"),
    )
    yield Kind(
        "build-folder",
        {"asm.src": "TOKEN\n"},
        "build-folder.part: build/asm.obj\n\tcat $< > $@\nbuild/asm.obj: asm.src\n\tmkdir -p build; cat asm.src > $@\n",
        outputs=("build",),
    )
    yield Kind(
        "kernel-in-a-log",
        {"logged.src": "TOKEN\n"},
        "kernel-in-a-log.part: logged.src\n\tcat logged.src > $@; echo built >> calls.log\n",
    )


def _passed_over() -> Iterator[Kind]:
    """What walks of a tree like to pass over."""

    def ignore(*lines: str) -> Callable[[World], None]:
        def prepare(world: World) -> None:
            path = world.path(".gitignore")
            before = path.read_text() if path.exists() else ""
            path.write_text(before + "".join(f"{line}\n" for line in lines))

        return prepare

    yield _declared("ignored-header", "config.h", prepare=ignore("config.h"))
    yield _declared("ignored-vendor", "vendor/lib/v.c", prepare=ignore("/vendor/"))
    yield _declared("ignored-blind", "secrets.env", prepare=ignore("*.env"))
    yield _declared("in-_build", "_build/gen.txt")
    yield _declared("in-_opam", "_opam/lib/x.cmxa")
    yield _declared("in-pycache", "__pycache__/mod.pyc")
    yield _declared("in-node_modules", "node_modules/m/index.js")
    yield _declared("hidden-folder", ".data/cfg")
    yield _declared("like-a-backup", "old~.txt")


def _elsewhere() -> Iterator[Kind]:
    """What is outside of the project's folder, or behind a symbolic link."""
    yield _declared("outside", "../common/data.txt")
    yield Kind(
        "link-to-file",
        {"real.c": "TOKEN"},
        "link-to-file.part: link.dat\n\tcat link.dat > $@\n",
        prepare=_links(("link.dat", "real.c")),
    )
    yield Kind(
        "link-to-file-outside",
        {"../common/real.dat": "TOKEN"},
        "link-to-file-outside.part: flink.c\n\tcat flink.c > $@\n",
        prepare=_links(("flink.c", "../common/real.dat")),
    )
    yield Kind(
        "link-to-folder",
        {"../lib/f/in.txt": "TOKEN"},
        "link-to-folder.part: lf/in.txt\n\tcat lf/in.txt > $@\n",
        prepare=_links(("lf", "../lib/f")),
    )
    yield Kind(
        "link-upwards",
        {"../top.txt": "TOKEN"},
        "link-upwards.part: up/top.txt\n\tcat up/top.txt > $@\n",
        prepare=_links(("up", "..")),
    )
    yield Kind(
        "link-chain",
        {"../far/end.txt": "TOKEN"},
        "link-chain.part: ch\n\tcat ch > $@\n",
        prepare=_links(("ch", "ch2"), ("ch2", "../far/end.txt")),
    )


def _blind() -> Iterator[Kind]:
    """What make does not know that it reads."""
    yield _undeclared("blind-data", "blind.txt")
    yield _undeclared("blind-c", "blind.c")
    yield _undeclared("blind-outside", "../common/blind.txt")
    yield Kind(
        "blind-script",
        {"tools/gen": "#!/bin/sh\necho TOKEN\n", "gs.src": "x"},
        "blind-script.part: gs.src\n\ttools/gen > $@\n",
        blind=True,
    )
    yield Kind(
        "blind-template",
        {"tpl/page.tpl": "TOKEN\n", "tools/fill": "#!/bin/sh\ncat tpl/*.tpl\n", "bt.src": "x"},
        "blind-template.part: bt.src tools/fill\n\ttools/fill > $@\n",
        blind=True,
    )
    yield Kind(
        "variable",
        {"vr.src": "x"},
        "variable.part: vr.src\n\techo $(WORD_OF_ENV) > $@\n",
        blind=True,
        change=lambda world, token: world.environment.update(WORD_OF_ENV=token),
    )
    yield Kind(
        "variable-of-the-recipe",
        {"vs.src": "x"},
        "variable-of-the-recipe.part: vs.src\n\techo $$WORD_OF_SHELL > $@\n",
        blind=True,
        change=lambda world, token: world.environment.update(WORD_OF_SHELL=token),
    )
    yield Kind(
        "variable-with-a-default",
        {"vd.src": "x"},
        "OPTIONAL_WORD ?= 0000\nvariable-with-a-default.part: vd.src\n\techo $(OPTIONAL_WORD) > $@\n",
        blind=True,
        change=lambda world, token: world.environment.update(OPTIONAL_WORD=token),
    )
    yield Kind(
        "variable-in-an-include",
        {"flags.make": "FOUND := $(WORD_OF_INCLUDE)\n", "vi.src": "x"},
        "include flags.make\nvariable-in-an-include.part: vi.src\n\techo $(FOUND) > $@\n",
        blind=True,
        change=lambda world, token: world.environment.update(WORD_OF_INCLUDE=token),
    )
    yield Kind(
        "compiler-shadowed",
        {"cs.src": "x"},
        "compiler-shadowed.part: cs.src\n\tkcc2 cs.src > $@\n",
        blind=True,
        prepare=lambda world: world.tool("kcc2", COMPILER.replace("TOKEN", "0000")),
        change=_shadow,
    )
    yield Kind(
        "compiler",
        {"cp.src": "x"},
        "compiler.part: cp.src\n\tkcc cp.src > $@\n",
        blind=True,
        prepare=lambda world: _compiler(world, "0000"),
        change=lambda world, token: _compiler(world, token),
    )


def _shadow(world: World, token: str) -> None:
    """Put another compiler before the one that PATH finds."""
    folder = world.top / f"bin-{token}"
    folder.mkdir()
    (world.bin / "kcc2").rename(folder / "kcc2")
    world.tool("kcc2", COMPILER.replace("TOKEN", "0000"))
    (folder / "kcc2").write_text(COMPILER.replace("TOKEN", token))
    world.environment["PATH"] = f"{folder}:{world.bin}:/usr/bin:/bin"


def _compiler(world: World, token: str) -> None:
    world.tool("kcc", COMPILER.replace("TOKEN", token))


def _of_git() -> Iterator[Kind]:
    """What git says of the tree."""

    def start(world: World) -> None:
        if not world.path(".git").exists():
            world.git("init", "-q", "-b", "main")
            world.write(".gitignore", "*.part\n*.xen\n.unibuild/\n")

    def commit(world: World, token: str) -> None:
        world.git("commit", "-q", "--allow-empty", "-m", token)

    def tag(world: World, token: str) -> None:
        for name in world.run("git", "tag").stdout.decode().split():
            world.git("tag", "-d", name)
        world.git("tag", f"v{token}")

    yield Kind(
        "git-revision",
        {"gr.src": "x"},
        "git-revision.part: FORCE\n\tgit rev-parse HEAD > $@\n" + FORCE,
        prepare=start,
        change=commit,
    )
    yield Kind(
        "git-revision-blind",
        {"gb.src": "x"},
        "REV := $(shell git rev-parse HEAD)\ngit-revision-blind.part:\n\techo $(REV) > $@\n",
        prepare=start,
        change=commit,
        blind=True,
    )
    yield Kind(
        "git-describe",
        {"gd.src": "x"},
        "git-describe.part: FORCE\n\tgit describe --tags --always > $@\n" + FORCE,
        prepare=start,
        change=tag,
    )
    yield Kind(
        "git-dirty",
        {"gy.src": "x"},
        "DIRTY := $(shell git describe --always --dirty)\ngit-dirty.part:\n\techo $(DIRTY) > $@\n",
        prepare=start,
        change=commit,
        blind=True,
    )
    yield Kind(
        "git-head",
        {"gh.src": "x"},
        "git-head.part: .git/refs/heads/main\n\tcat $< > $@\n",
        prepare=start,
        change=commit,
    )


def _slow() -> Iterator[Kind]:
    """What tests can edit while it is read."""
    yield Kind("slow", {"slow.c": "TOKEN\n"}, "slow.part: slow.c\n\tsee slow.c > $@\n")
    yield Kind("slow-data", {"slow.txt": "TOKEN\n"}, "slow-data.part: slow.txt\n\tsee slow.txt > $@\n")
    yield Kind(
        "slow-generated",
        {"words.def": "TOKEN\n"},
        "slow-generated.part: words.h\n\tcat words.h > $@\nwords.h: words.def\n\tsee words.def > $@\n",
        outputs=("words.h",),
    )


def _trees_of_git() -> Iterator[Kind]:
    """Trees with a git folder somewhere else."""

    def above(world: World) -> None:
        world.git("init", "-q", "-b", "main", "..")
        commit(world, "first")

    def worktree(world: World) -> None:
        world.git("init", "-q", "-b", "main", "../repository")
        world.git("-C", "../repository", "commit", "-q", "--allow-empty", "-m", "first")
        world.git("-C", "../repository", "worktree", "add", "-q", "../other")
        world.write(".git", "gitdir: ../repository/.git/worktrees/other\n")

    def commit(world: World, token: str) -> None:
        world.git("commit", "-q", "--allow-empty", "-m", token)

    def packed(world: World, token: str) -> None:
        commit(world, token)
        world.git("pack-refs", "--all")

    def detached(world: World, token: str) -> None:
        commit(world, token)
        world.git("checkout", "-q", "--detach")
        commit(world, f"{token} detached")

    def amended(world: World, token: str) -> None:
        world.git("commit", "-q", "--allow-empty", "--amend", "-m", token)

    trees = {"above": (above, commit), "worktree": (worktree, commit), "packed": (above, packed)}
    trees |= {"detached": (above, detached), "amended": (above, amended)}
    for name, (prepare, change) in trees.items():
        rule = f"REV := $(shell git rev-parse HEAD)\n{name}.part:\n\techo $(REV) > $@\n"
        yield Kind(name, {f"{name}.src": "x"}, rule, prepare=prepare, change=change, blind=True)


GIT_TREES = {kind.name: kind for kind in _trees_of_git()}
KINDS = {kind.name: kind for kind in _all()}
