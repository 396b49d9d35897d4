"""Why Xen itself ended a domain, from its log (what the toolstack returns as ``hypervisor_log``).

Formats: ``do_guest_trap`` and ``fatal_trap`` in xen/arch/x86/traps.c ("d7v0 Unhandled: vec 14, #PF[0002]", before
Xen 4.17 "d7v0 Unhandled page fault fault/trap [#14, ec=0002]"), ``hvm_triple_fault`` in xen/arch/x86/hvm/hvm.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unibuild.domain.crash import processor
from unibuild.errors import UnibuildError

if TYPE_CHECKING:
    from unibuild.domain.crash.registers import Vcpu
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain

__all__ = ["cause", "triple_faulted"]

_UNHANDLED = r"d{0}v\d+ Unhandled(?:: vec (\d+)| [^\[]*\[#(\d+)), ?(?:ec=|#\w+\[)([0-9a-f]+)\]"
_TRIPLE = r"d{0}v\d+ Triple fault"


def cause(log: str, domid: int, vcpu: Vcpu | None) -> str | None:
    """Return in words why Xen ended the domain; None where its log does not tell.

    Args:
        log: the log, or its end.
        domid: the domain's number.
        vcpu: its processor, which tells the address.
    """
    found = re.findall(_UNHANDLED.format(domid), log)
    if found:
        new, old, code = found[-1]
        rip, cr2 = (vcpu.registers.get(name) for name in ("rip", "cr2")) if vcpu else (None, None)
        vector = int(new or old)
        return processor.explain(processor.name(vector), int(code, 16), rip, None, cr2)
    if re.search(_TRIPLE.format(domid), log):
        where = f" at {vcpu.rip:#x}" if vcpu else ""
        return f"it faulted, and has no code to handle faults (triple fault{where})"
    return None


def triple_faulted(host: Host, domain: Domain) -> bool:
    """Whether a PVH domain that seems to ask for a reboot has crashed: to Xen a triple fault is a request to reboot.

    Where Xen's log cannot be read it did not.
    """
    try:
        log = host.toolstack.hypervisor_log()
    except UnibuildError:
        return False
    return re.search(_TRIPLE.format(domain.domid), log) is not None
