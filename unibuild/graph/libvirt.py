"""A domain as libvirt describes it: from the text of an ``.xl`` through the template ``libvirt.xml.j2``.

Sources: libvirt's documentation of the domain XML, its schema ``domaincommon.rng``, and how its own converter reads an
``.xl`` (src/libxl/xen_xl.c and tests/xlconfigdata).
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.domain.preflight import DEFAULT_MEMORY
from unibuild.errors import InputError
from unibuild.util import templates
from unibuild.xlcfg import cmdline, devices, parser

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Description", "LibvirtDisk", "Vif", "describe", "render"]

_TYPES = {"pv": ("xenpv", "linux"), "pvh": ("xenpvh", "xenpvh")}
_ENDS = {  # libvirt's actions; of xl's only soft-reset is none of them
    "on_poweroff": ("destroy", "restart", "preserve", "rename-restart"),
    "on_reboot": ("destroy", "restart", "preserve", "rename-restart"),
    "on_crash": ("destroy", "restart", "preserve", "rename-restart", "coredump-destroy", "coredump-restart"),
}
_KEYS = (
    "cmdline",
    "disk",
    "extra",
    "kernel",
    "maxmem",
    "maxvcpus",
    "memory",
    "name",
    "ramdisk",
    "root",
    "type",
    "uuid",
    "vcpus",
    "vif",
)
_VIF = ("backend", "bridge", "ip", "mac", "mtu", "script", "vifname")
_DISK = ("access", "backend", "backendtype", "devtype", "format", "target", "vdev")
_BRIDGE = "xenbr0"  # xl's own choice (xl.conf(5), vif.default.bridge)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, "Char"


@dataclass(frozen=True)
class LibvirtDisk:
    """A disk; ``kind`` is ``block`` or ``file``, ``device`` is ``disk`` or ``cdrom``."""

    kind: str
    device: str
    driver: str
    format: str
    target: str
    vdev: str
    backend: str | None
    readonly: bool


@dataclass(frozen=True)
class Vif:
    """A network device; without a ``bridge`` its ``script`` sees to the rest."""

    bridge: str | None
    mac: str | None
    ip: tuple[str, ...]
    script: str | None
    backend: str | None
    vifname: str | None
    mtu: str | None


@dataclass(frozen=True)
class Description:
    """What the template is filled in with.

    ``memory`` and ``maxmem`` are in MiB; ``machine`` and ``os`` are what libvirt calls the domain's type; ``ends`` are
    the actions by the names of their keys. ``left_out`` are what the ``.xl`` says and libvirt has no word for.
    """

    name: str
    uuid: str | None
    memory: int
    maxmem: int
    vcpus: int
    maxvcpus: int
    machine: str
    os: str
    kernel: str
    ramdisk: str | None
    cmdline: str | None
    ends: tuple[tuple[str, str], ...]
    disks: tuple[LibvirtDisk, ...]
    vifs: tuple[Vif, ...]
    left_out: tuple[str, ...]


def describe(text: str, path: str = "the .xl file") -> Description:
    """Return what an ``.xl`` says, as libvirt has it.

    Args:
        text: what the ``.xl`` holds.
        path: its name, for messages.

    Raises:
        XlSyntaxError: xl would refuse it.
        InputError: the domain is neither PV nor PVH.
    """
    config = parser.parse(text, path)
    kind = config.get("type")
    if kind not in _TYPES:
        raise InputError(f"{path}: a domain of type {kind} is described for libvirt only where it is pv or pvh")
    memory, vcpus = _number(config, "memory", DEFAULT_MEMORY), _number(config, "vcpus", 1)
    machine, os = _TYPES[str(kind)]
    left_out = [key for key in config.keys() if key not in (*_KEYS, *_ENDS)]  # noqa: SIM118 (a Config is not a dict)
    ends = [(key, str(config.get(key))) for key in _ENDS if config.get(key) is not None]
    left_out += [f"{key}={action}" for key, action in ends if action not in _ENDS[key]]
    return Description(
        name=str(config.get("name")),
        uuid=_text(config, "uuid"),
        memory=memory,
        maxmem=_number(config, "maxmem", memory),
        vcpus=vcpus,
        maxvcpus=_number(config, "maxvcpus", vcpus),
        machine=machine,
        os=os,
        kernel=str(config.get("kernel")),
        ramdisk=_text(config, "ramdisk"),
        cmdline=cmdline.effective(config) or None,
        ends=tuple((key, action) for key, action in ends if action in _ENDS[key]),
        disks=tuple(_disk(spec, left_out) for spec in _list(config, "disk")),
        vifs=tuple(_vif(number, spec, left_out) for number, spec in enumerate(_list(config, "vif"))),
        left_out=tuple(left_out),
    )


def render(description: Description, project: Path) -> str:
    """Return libvirt's XML of a domain.

    Args:
        description: the domain.
        project: the project's folder; a ``dodo_templates/libvirt.xml.j2`` there goes before unibuild's.

    Raises:
        InputError: a text has a character that no XML can hold; or the template is wrong.
    """
    values = dataclasses.asdict(description)
    del values["left_out"]
    text = templates.render("libvirt.xml.j2", project, **values)
    if found := _NO_XML.search(text):
        raise InputError(
            f"libvirt's XML of {description.name} cannot hold the character U+{ord(found[0]):04X}",
            hint="it is in the name, the command line or the name of a file or device",
        )
    return text


def _number(config: parser.Config, key: str, otherwise: int) -> int:
    value = config.number(key)
    return otherwise if value is None or value < 0 else value


def _text(config: parser.Config, key: str) -> str | None:
    value = config.get(key)
    return None if value is None else str(value)


def _list(config: parser.Config, key: str) -> list[str]:
    value = config.get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def _disk(spec: str, left_out: list[str]) -> LibvirtDisk:
    disk = devices.parse_disk(spec)
    vdev = str(disk["vdev"])
    left_out += [f"{key} of disk {vdev}" for key in disk if key not in _DISK]
    target = str(disk.get("target", ""))
    is_block = target.startswith("/dev/") or disk.get("backendtype") == "phy"
    return LibvirtDisk(
        kind="block" if is_block else "file",
        device=str(disk.get("devtype", "disk")),
        driver="phy" if is_block else "qemu",
        format=str(disk.get("format", "raw")).replace("empty", "raw"),
        target=target,
        vdev=vdev,
        backend=str(disk["backend"]) if "backend" in disk else None,
        readonly=disk.get("access") in ("r", "ro") or disk.get("devtype") == "cdrom",
    )


def _vif(number: int, spec: str, left_out: list[str]) -> Vif:
    vif = {key: str(value) for key, value in devices.parse_vif(spec).items()}
    left_out += [
        f"{key} of vif {number}"
        for key, value in vif.items()
        if key not in _VIF and (key, value) not in (("type", "vif"), ("devid", str(number)))
    ]
    script = vif.get("script")
    is_bridged = script is None or "bridge" in script or "openvswitch" in script
    return Vif(
        bridge=vif.get("bridge", _BRIDGE if is_bridged else None),
        mac=vif.get("mac"),
        ip=tuple(vif.get("ip", "").split()),
        script=script,
        backend=vif.get("backend"),
        vifname=vif.get("vifname"),
        mtu=vif.get("mtu"),
    )
