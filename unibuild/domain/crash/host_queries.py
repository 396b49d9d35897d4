"""Query a host about a crashed domain, within time limits; a query without an answer is not an error.

Formats of Xen's log: ``do_guest_trap`` and ``fatal_trap`` in xen/arch/x86/traps.c ("d7v0 Unhandled: vec 14,
#PF[0002]", before Xen 4.17 "d7v0 Unhandled page fault fault/trap [#14, ec=0002]"), ``hvm_triple_fault`` in
xen/arch/x86/hvm/hvm.c.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from unibuild.domain.crash.registers import exception_name, explain_exception
from unibuild.errors import CommandError, NoAnswerError, UnibuildError

if TYPE_CHECKING:
    from unibuild.domain.crash.registers import Vcpu
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Diagnostic, Domain

__all__ = ["BoundedQueries", "cause", "triple_faulted"]

QUERY_TIMEOUT = 10.0  # seconds for one query
BUDGET = 30.0  # seconds for all queries


class BoundedQueries:
    """Query a host, and record in ``missing`` which queries failed, each as a sentence.

    Args:
        host: the host.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._until = time.monotonic() + BUDGET
        self.missing: list[str] = []

    def ask(self, diagnostic: Diagnostic) -> str:
        """Return the answer to a query; if it fails, record that and return ""."""
        try:
            left = self.left()
            return diagnostic.query(left)
        except CommandError as error:
            output = error.output.strip().splitlines()
            why = output[-1] if output else f"it failed with exit code {error.returncode}"
        except NoAnswerError:
            why = f"no answer within {left:.0f} s"
        except UnibuildError as error:
            why = error.message
        self.missing.append(f"{diagnostic.name} on {self.host.name}: {why}")
        return ""

    def left(self) -> float:
        """Return the seconds that the next query may take.

        Raises:
            UnibuildError: no time is left.
        """
        left = min(QUERY_TIMEOUT, self._until - time.monotonic())
        if left <= 0:
            raise UnibuildError(f"not queried: {self.host.name} has already taken {BUDGET:g} s")
        return left


_UNHANDLED = r"d{0}v\d+ Unhandled(?:: vec (\d+)| [^\[]*\[#(\d+)), ?(?:ec=|#\w+\[)([0-9a-f]+)\]"
_TRIPLE = r"d{0}v\d+ Triple fault"


def cause(log: str, domid: int, vcpu: Vcpu | None) -> str | None:
    """Return in words why Xen crashed the domain; None if its log does not show it.

    Args:
        log: the log, or its end.
        domid: the domain's number.
        vcpu: its processor, for the address.
    """
    found = re.findall(_UNHANDLED.format(domid), log)
    if found:
        new, old, code = found[-1]
        rip, cr2 = (vcpu.registers.get(name) for name in ("rip", "cr2")) if vcpu else (None, None)
        vector = int(new or old)
        return explain_exception(exception_name(vector), int(code, 16), rip, None, cr2)
    if re.search(_TRIPLE.format(domid), log):
        where = f" at {vcpu.rip:#x}" if vcpu else ""
        return f"it faulted and has no fault handler (triple fault{where})"
    return None


def triple_faulted(host: Host, domain: Domain) -> bool:
    """Return whether a PVH domain that seems to ask for a reboot crashed: Xen treats a triple fault as such a request.

    Return False if Xen's log cannot be read.
    """
    try:
        log = host.toolstack.hypervisor_log()
    except UnibuildError:
        return False
    return re.search(_TRIPLE.format(domain.domid), log) is not None
