"""The graph of a project as plain values: which stages there are, and what decides whether each is stale.

    configure -> depend -> build -> xl -> boot

Computing it starts no child and writes nothing; ``unibuild.doit_plugin.goals`` makes doit tasks of it and
``unibuild plan`` prints it.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import unibuild
from unibuild.errors import InputError, KernelError
from unibuild.fingerprint import StageInputs
from unibuild.settings.hosts import apply_host, xl_owner
from unibuild.settings.loader import STATE
from unibuild.toolchain.registry import choose
from unibuild.util import files, templates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unibuild.settings.loader import Project
    from unibuild.settings.model import Image, Settings, Xl
    from unibuild.toolchain.base import Step, Toolchain

__all__ = ["BUILT_ALREADY", "EC2", "GOALS", "Graph", "Stage", "graph", "latest", "renewed"]

GOALS = {
    "configure": "run the project's configure step",
    "depend": "fetch the build's dependencies",
    "build": "build the kernel",
    "xl": "write the domain's .xl",
    "libvirt": "write the domain as libvirt XML",
    "image": "write a bootable disk image of the kernel",
    "boot": "create the domain and attach its console",
    "watch": "rebuild and reboot on every save; --keep-domain, --json",
    "publish_ami": "publish the kernel as an EC2 AMI and send only changed blocks; --plan",
    "launch_ami": "launch an EC2 instance of the AMI and wait until it is ready; --terminate, --plan",
    "redeploy": "replace the running EC2 instance once a new one is ready; --plan",
    "console": "show the console of the running domain",
    "destroy": "destroy the domain at once",
    "status": "show what runs where, from which sources, and what is out of date; --json",
    "history": "show the generations: what was booted when, with which result; --json",
    "rollback": "boot an earlier generation without building: the last good one, or the given number",
}
"""Every goal that a project can have, in the graph's order."""

EC2 = ("publish_ami", "launch_ami", "redeploy")
"""The goals that take the kernel to EC2."""

BUILT_ALREADY = ("console", "destroy", "status", "history", "rollback")
"""The goals that take what was built and booted before, and so need no graph."""


class Stage(NamedTuple):
    """One stage that leaves files.

    Attributes:
        name: the goal's name; with the host's name if hosts have an ``.xl`` of their own: ``xl:xen1``.
        doc: what it does, for ``doit list``.
        watch: what decides whether it is stale.
        folders: absolute paths of the folders that were listed to find the inputs.
        step: the toolchain's step; None for what unibuild itself writes: ``xl`` and the exports.
    """

    name: str
    doc: str
    watch: StageInputs
    folders: tuple[str, ...]
    step: Step | None

    @property
    def goal(self) -> str:
        """The goal that it belongs to."""
        return self.name.partition(":")[0]


class Graph(NamedTuple):
    """The stages of a project up to its ``.xl``, and what ``boot`` then takes.

    Attributes:
        project: the project, its host's own ``[xl]`` laid over the rest.
        toolchain: what builds its kernel.
        stages: in the order in which they run.
        start: the ``.xl`` to start from, the generated one or the user's own; None: there is none.
        kernel: unibuild's copy of the kernel, which no later make damages while a host reads it.
        xl: the patched ``.xl``.
        exports: more stages after those; only its own goal runs each.
    """

    project: Project
    toolchain: Toolchain
    stages: tuple[Stage, ...]
    start: Path | None
    kernel: Path
    xl: Path
    exports: tuple[Stage, ...]

    def render(self, ends: tuple[str, ...] | None = None) -> str:
        """Return the text of the patched ``.xl``; ``ends`` and the errors are those of ``xl_file.render``."""
        from unibuild.graph import xl_file

        mirage = self.toolchain.has_mirage_cmdline
        ends = xl_file.ENDS if ends is None else ends
        try:
            return xl_file.render(self.project, self.kernel, self.start, self.toolchain.xl_in, mirage=mirage, ends=ends)
        except KernelError as error:  # the user knows the kernel by its own name, not by that of the copy
            message = error.message.replace(str(self.kernel), str(self.toolchain.kernel))
            raise KernelError(message, hint=error.hint) from None


def graph(project: Project) -> Graph:
    """Compute the graph of a project from its settings and what is in its folder now.

    Raises:
        InputError: the settings do not say how the kernel is built, or ``host`` is not a host.
        FileError: the folder cannot be read.
    """
    if project.settings.host not in ("auto", "local", "lab"):
        from unibuild.host import resolve

        resolve.host_name(project.settings)
    owner = xl_owner(project.settings)
    own = f"@{project.settings.host}" if owner == project.settings.host else ""  # its files are of this host alone
    of = f":{owner}" if owner else ""
    project = apply_host(project)
    toolchain = choose(project)
    folder = project.root / STATE
    name = project.settings.name or _cut(project.root.name) or "kernel"
    kernel, xl = folder / f"{name}.xen", folder / f"{name}{own}.xl"

    steps = toolchain.steps()
    stages = [_stage(project.root, project.settings.image, toolchain, kernel, step) for step in steps]
    start = project.root / project.settings.xl.file if project.settings.xl.file else toolchain.xl
    by_step = any(start in step.targets for step in steps)
    xl_watch = StageInputs(
        root=str(project.root),
        inputs=_strings([start] if start and not by_step else []),
        made=_strings([path for path in (kernel, start if by_step else None, toolchain.xl_in) if path]),
        targets=(str(xl),),
        fingerprint=_xl_fingerprint(project.root, project.settings),
        digest=_digest(toolchain, folder, "xl"),
    )
    stages.append(Stage(f"xl{of}", f"write {STATE}/{xl.name}, what xl reads", xl_watch, (), None))
    exports = (
        _export(
            f"libvirt{of}",
            "the domain for libvirt",
            project.root,
            xl_watch,
            xl.with_suffix(".xml"),
            ("libvirt.xml.j2",),
        ),
        _image(f"image{of}", project.root, project.settings, xl_watch, xl.with_suffix(".img"), start),
    )
    return Graph(project, toolchain, tuple(stages), start, kernel, xl, exports)


def latest(found: Graph, stage: Stage) -> Stage:
    """Return a stage that is about to run: what the steps before it have written in this run belongs to its inputs."""
    is_first = stage.name == found.stages[0].name
    return stage if is_first or stage.step is None or not stage.step.judge else renewed(found, stage)


def renewed(found: Graph, stage: Stage) -> Stage:
    """Return a stage of a toolchain as it is now, after its build."""
    steps = {step.name: step for step in found.toolchain.steps()}
    project = found.project
    return _stage(project.root, project.settings.image, found.toolchain, found.kernel, steps[stage.name])


def _stage(root: Path, image: Image, toolchain: Toolchain, kernel: Path, step: Step) -> Stage:
    """Return the stage of a toolchain's step; ``kernel`` is unibuild's copy, which the build leaves too."""
    exported = {str(root / file) for file in (image.file,) if file}
    targets = (*step.targets, kernel) if step.name == "build" else step.targets
    watch = StageInputs(
        root=str(root),
        inputs=tuple(path for path in _strings(step.inputs) if path not in exported),
        made=_strings(step.made),
        targets=_strings(targets),
        fingerprint=step.fingerprint,
        digest=_digest(toolchain, root / STATE, step.name),
        left_over=_strings(step.left_over),
        why=step.why,
        outputs=_strings(step.outputs),
        touches=step.judge,
        gone=_strings(step.gone),
    )
    return Stage(step.name, step.doc, watch, _strings((root, *step.folders)), step)


def _digest(toolchain: Toolchain, folder: Path, step: str) -> Callable[[str], str]:
    """Return the digest of a step's files; those in ``folder`` are unibuild's."""

    def of(path: str) -> str:
        return files.sha256(Path(path)) if Path(path).parent == folder else toolchain.digest(Path(path), step)

    return of


def _export(name: str, what: str, root: Path, watch: StageInputs, path: Path, used: tuple[str, ...]) -> Stage:
    """Return a stage that writes what the ``.xl`` says in another form, with templates that a project may have."""
    own = [root / templates.FOLDER / template for template in used]
    inputs = (*watch.inputs, *(str(template) for template in own if template.is_file()))
    where = path.relative_to(root) if path.is_relative_to(root) else path
    return Stage(name, f"write {where}, {what}", watch._replace(inputs=inputs, targets=(str(path),)), (), None)


def _image(name: str, root: Path, settings: Settings, watch: StageInputs, path: Path, start: Path | None) -> Stage:
    """Return the stage of the disk image."""
    import msgspec

    wanted = settings.image
    ramdisks = _ramdisk(root, settings.xl, start) if wanted.ramdisks is None else wanted.ramdisks
    values = {f"image.{key}": json.dumps(value) for key, value in msgspec.to_builtins(wanted).items()}
    values["publish.virtualization"] = settings.publish.virtualization
    more = watch._replace(
        inputs=(*watch.inputs, *(str(root / each) for each in ramdisks)),
        fingerprint={**watch.fingerprint, **values},
    )
    path = root / wanted.file if wanted.file else path
    return _export(name, "a disk that boots the kernel", root, more, path, ("menu.lst.j2", "grub.cfg.j2"))


def _ramdisk(root: Path, xl: Xl, start: Path | None) -> list[Path]:
    """Return the ramdisk that the ``.xl`` will name."""
    named: object = xl.set.get("ramdisk")
    text = start.read_bytes() if named is None and start and start.is_file() else b""
    if b"ramdisk" in text:  # the grammar costs too much for everybody
        from unibuild.xlcfg import parser

        with contextlib.suppress(InputError):  # the stage that writes the .xl reports it
            named = parser.parse(text.decode(errors="surrogateescape")).get("ramdisk")
    folders = [root, *([start.parent] if start else [])]
    found = [folder / str(named) for folder in folders if named]
    return [next((path for path in found if path.exists()), found[0])] if found else []


def _strings(paths: tuple[Path, ...] | list[Path]) -> tuple[str, ...]:
    return tuple(map(str, paths))


def _xl_fingerprint(root: Path, settings: Settings) -> Mapping[str, str]:
    """Return the settings that decide what is in the ``.xl``, and the version of the code that writes it."""
    import msgspec

    values = {"name": settings.name, "unibuild": unibuild.__version__, "folder": str(root)}
    values |= {f"xl.{key}": value for key, value in msgspec.to_builtins(settings.xl).items()}
    values["boot.args"] = msgspec.to_builtins(settings.boot.args)
    return {key: json.dumps(value, sort_keys=True) for key, value in values.items()}


def _cut(name: str) -> str:
    """Return a folder's name as the beginning of a file's, which may have 255 bytes in all."""
    return os.fsdecode(os.fsencode(name)[:200])
