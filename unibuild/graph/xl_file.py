"""The ``.xl`` that the domain is made from: the generated one, or none, with the settings' changes made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unibuild import kernel as kernels
from unibuild.errors import InputError, SettingsError
from unibuild.util.files import reading
from unibuild.xlcfg import cmdline, devices, edit, parser
from unibuild.xlcfg import mirage_names as templates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.settings.loader import Project
    from unibuild.settings.model import Settings

__all__ = ["ENDS", "NAME_MAX", "Disk", "digest", "disks", "domain_name", "notes", "render", "to_domain_name"]

# A domain that has ended stays until unibuild has read its last line. By default xl destroys it, and starts it again
# if it reboots, which is a loop during development.
ENDS = ("on_poweroff", "on_reboot", "on_crash", "on_watchdog")
NAME_MAX = 200  # bytes of a domain's name: xl and unibuild name files after it, with what they add at most 255
_PVH_MEMORY = 128  # MiB: libxl 4.17 computes the page tables of a PVH domain wrongly if the .xl names no memory
_PROTOCOL = re.compile(r"[^/:]+:")  # QEMU's block.c, path_has_protocol()
_PV_BUILDERS = ("linux", "generic")  # xl.cfg(5): `builder` is the older way to say `type`


def domain_name(project: Project, generated: Path | None = None) -> str:
    """Return the domain's name: the setting, else what the ``.xl`` says, else the name of the project's folder.

    Raises:
        XlSyntaxError: xl would refuse the file.
        FileError: it cannot be read.
    """
    settings = project.settings
    if settings.name:
        return settings.name
    if generated:
        found = parser.parse(read(generated), str(generated)).get("name")
        if isinstance(found, str) and found:
            return found
    return to_domain_name(project.root.name)


def to_domain_name(text: str) -> str:
    """Return a domain's name made from the name of a folder or file."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text)[:NAME_MAX].strip("-.+") or "unikernel"


_COPIED = ("memory", "vcpus", "cmdline")  # keys of the .xl with the same name under [xl]


def render(
    project: Project,
    kernel: Path,
    generated: Path | None,
    template: Path | None = None,
    *,
    mirage: bool = False,
    ends: tuple[str, ...] = ENDS,
) -> str:
    """Return the text of the ``.xl`` for a domain; reads the three files, writes none.

    Args:
        project: the settings' changes are made to the text.
        kernel: absolute path of the kernel as ``xl`` shall load it.
        generated: the ``.xl`` to start from; None: a whole new one.
        template: the ``.xl.in`` with the names of the unikernel's devices; it need not be there.
        mirage: the kernel is a Mirage unikernel; those of Solo5 count as such anyhow.
        ends: for which ends of the domain it stays, where nothing else is said.

    Raises:
        KernelError: it is not a Xen kernel, or none for the domain's type.
        XlSyntaxError: xl would refuse the file that it starts from.
        SettingsError: a change cannot be written in an ``.xl``; or a device is missing.
        FileError: a file cannot be read.
    """
    wanted = project.settings.xl
    path = str(generated) if generated else "the .xl file"
    text = read(generated) if generated else ""
    before = parser.parse(text, path)
    named = templates.Named((), {})
    if template is not None and template.exists():
        named = templates.read(read(template), str(template))
        if generated and not wanted.file:
            text = _ordered(text, before, named, path)
    about = kernels.inspect(kernel)
    changes: dict[str, edit.Setting] = {"name": domain_name(project, generated), "kernel": str(kernel)}
    changes |= {key: value for key in _COPIED if (value := getattr(wanted, key)) is not None}
    if project.settings.boot.args:
        changes["cmdline"] = _cmdline(project.settings, mirage=mirage or about.solo5_abi is not None)
    changes |= {key: "preserve" for key in ends if before.get(key) is None}
    changes |= wanted.set
    vif = templates.by_number("vif", wanted.vif, named.vifs)
    disk = templates.by_number("disk", wanted.disk, named.disks)
    text = edit.apply(text, edit.Changes(changes, _kept(vif), _kept(disk)), path)
    lacks = templates.missing(named, parser.parse(text, path))
    if lacks:
        raise SettingsError(
            f"{path} lacks {lacks}, which the unikernel opens", hint=f"add it there; {template} shows how it is meant"
        )
    text = edit.apply(text, edit.Changes({}, templates.removed(vif, named), templates.removed(disk)), path)
    config = parser.parse(text, path)
    _check_name(config, path)
    kind = _type(config, about, wanted.type)
    last: dict[str, edit.Setting] = {"type": kind} if kind else {}
    if kind == "pvh" and config.get("memory") is None and config.get("maxmem") is None:
        last["memory"] = _PVH_MEMORY
    text = edit.apply(text, edit.Changes(last), path)
    _check_length(parser.parse(text, path))
    return _anchor(text, (*((generated.parent,) if generated else ()), project.root))


def notes(generated: Path | None, text: str) -> tuple[str, ...]:
    """Return sentences about keys that matter in the ``.xl`` ``generated`` and were taken out of ``text``.

    Raises:
        XlSyntaxError: xl would refuse one of them.
        FileError: the file cannot be read.
    """
    if generated is None:
        return ()
    before, after = (parser.parse(one, str(generated)).keys() for one in (read(generated), text))
    if "bootloader" not in before or "bootloader" in after:
        return ()
    return (f"{generated.name}: left out bootloader, which would boot another kernel than the one that was built",)


class Disk:
    """A disk of an ``.xl`` file: its number in the list, where its data are, and whether it is written to.

    ``is_path`` is whether ``target`` is opened by dom0 as the name of a file or device, ``is_named`` whether it
    would be if it were absolute: a script, a driver domain and QEMU's protocols (``rbd:pool/image``) take other names.
    """

    def __init__(self, number: int, spec: str) -> None:
        parsed = devices.parse_disk(spec)
        self.number = str(number)
        self.vdev = str(parsed["vdev"])
        self.target = Path(str(parsed.get("target", "")))
        is_far = "script" in parsed or parsed.get("backend", "0") not in ("0", "Domain-0")
        self.is_named = not is_far and bool(self.target.name) and not _PROTOCOL.match(str(self.target))
        self.is_path = self.is_named and self.target.is_absolute()
        self.is_written = parsed.get("access") not in ("r", "ro") and parsed.get("devtype") != "cdrom"


def disks(config: parser.Config) -> tuple[Disk, ...]:
    """Return the disks of an ``.xl`` file."""
    specs = config.get("disk")
    return tuple(Disk(n, str(spec)) for n, spec in enumerate(specs)) if isinstance(specs, list) else ()


def read(path: Path) -> str:
    """Return the text of an ``.xl`` file, which may hold any bytes."""
    with reading(path):
        return path.read_bytes().decode(errors="surrogateescape")


def digest(path: Path, root: Path) -> str:
    """Return a hash of what an ``.xl`` file says, wherever the project's folder is.

    The files of the project that it names count by their paths relative to that folder. Comments do not count.

    Args:
        path: the ``.xl`` file.
        root: the project's folder.

    Raises:
        FileError: the file cannot be read.
    """
    text = read(path)
    content: object = text
    with contextlib.suppress(InputError):
        content = [
            (one.key, one.adds, _movable(one.key, one.value.plain, root)) for one in parser.parse(text).assignments
        ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _movable(key: str, plain: object, root: Path) -> object:
    """Return a value of an ``.xl`` file with the files of the project named relative to its folder."""
    if key in ("kernel", "ramdisk") and isinstance(plain, str):
        return ["path", _relative(plain, root)]
    if key == "disk" and isinstance(plain, list):
        return [_movable_disk(str(spec), root) for spec in plain]
    return plain


def _movable_disk(spec: str, root: Path) -> object:
    parsed = devices.parse_disk(spec)
    return {**parsed, "target": _relative(str(parsed["target"]), root)} if "target" in parsed else parsed


def _relative(path: str, root: Path) -> str:
    """Return a path relative to the project's folder, if it is in there."""
    return path.removeprefix(f"{str(root).rstrip('/')}/")


def _ordered(text: str, config: parser.Config, named: templates.Named, path: str) -> str:
    vifs = config.get("vif")
    if not isinstance(vifs, list):
        return text
    specs = [str(spec) for spec in vifs]
    return edit.arrange(text, "vif", templates.ordered(specs, named), path)


def _kept(changes: Mapping[str, devices.Device]) -> dict[str, devices.Device]:
    return {key: device for key, device in changes.items() if not device.get("remove")}


def _cmdline(settings: Settings, *, mirage: bool) -> str:
    """Return the command line of ``[boot] args``."""
    wanted = settings.xl
    others = ["[xl] cmdline"] if wanted.cmdline is not None else []
    others += [f"[xl.set] {key}" for key in ("cmdline", "extra", "root") if key in wanted.set]
    if others:
        raise SettingsError(
            f"[boot] args and {others[0]} contradict each other: both are the kernel's command line",
            hint="[boot] args puts each argument into quotes as it needs them; keep one of the two",
        )
    return cmdline.join(cmdline.words(settings.boot.args), mirage=mirage)


def _check_name(config: parser.Config, path: str) -> None:
    """See that xl can make a domain of this name: it opens ``xl-NAME.log``, and where it cannot it fails half way.

    The name is also in files of JSON, so that it has to be Unicode.
    """
    name = str(config.get("name"))
    raw = name.encode(errors="surrogateescape")
    strange = next((char for char in name if char == "/" or not char.isprintable()), None)
    if strange is None and name and len(raw) <= NAME_MAX:
        return
    if strange is None:
        why = f"has {len(raw)} bytes, and {NAME_MAX} is the most" if name else "is empty"
    elif "\udc80" <= strange <= "\udcff":
        why = f"has the byte {ord(strange) & 0xFF:02X}, which is not UTF-8"
    else:
        why = f"has the character {'/' if strange == '/' else f'U+{ord(strange):04X}'}"
    shown = raw.decode(errors="replace")[:60]
    raise SettingsError(
        f"{path}: the domain's name {shown!r} {why}", hint="set another one in unibuild.toml: name = ..."
    )


def _check_length(config: parser.Config) -> None:
    """See that Xen does not cut the command line."""
    line = config.get("cmdline")
    size = len(line.encode(errors="surrogateescape")) if isinstance(line, str) else 0
    if config.get("type") == "pv" and size > cmdline.PV_LIMIT:
        raise SettingsError(
            f"the command line has {size} bytes, and Xen hands a PV kernel the first {cmdline.PV_LIMIT}",
            hint="[boot] args or [xl] cmdline: shorten it",
        )


def _type(config: parser.Config, kernel: kernels.Kernel, asked: Literal["pv", "pvh"] | None) -> str | None:
    """Return the domain's type; None: the file names one that unibuild does not know (``hvm``)."""
    given = config.get("type")
    if asked is None and given is None and config.get("builder") in _PV_BUILDERS:
        given = "pv"
    if asked is None and given not in (None, "pv", "pvh"):
        return None
    kind: Literal["pv", "pvh"] | None = asked or ("pv" if given == "pv" else "pvh" if given == "pvh" else None)
    if kind == "pvh" and config.number("pvshim"):
        kernel.type_for("pv")
        return "pvh"
    return kernel.type_for(kind)


def _anchor(text: str, folders: tuple[Path, ...]) -> str:
    """Make relative names of files absolute: xl reads them from wherever it is run."""
    config = parser.parse(text)
    ramdisk = config.get("ramdisk")
    changes: dict[str, edit.Setting] = (
        {"ramdisk": str(_find(Path(ramdisk), folders))} if isinstance(ramdisk, str) else {}
    )
    moved = {
        disk.number: {"target": str(_find(disk.target, folders))}
        for disk in disks(config)
        if disk.is_named and not disk.is_path
    }
    try:
        return edit.apply(text, edit.Changes(changes, disk=moved))
    except InputError as error:
        raise InputError(f"the project's folder has a name that xl cannot read: {error.message}") from None


def _find(name: Path, folders: tuple[Path, ...]) -> Path:
    """Return a file as the first folder that has it has it, else as the last one would."""
    return next((folder / name for folder in folders if (folder / name).exists()), folders[-1] / name)
