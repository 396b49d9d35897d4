"""What `xl list -v` of Xen 4.17 prints, and how it is parsed."""

import pytest

from unibuild.host import xl
from unibuild.host.local import Local

HEAD = (
    "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID"
    "                            Reason-Code\tSecurity Label\n"
)
ROW = "%-40s %5d %5d %5d     %s  %8.1f b87c5087-8248-4d69-b40c-cd1bafbbdce0 %8s %16s\n"


@pytest.mark.parametrize(
    ("name", "state", "reason", "expected"),
    [
        ("t", "--p---", "-", (None, False, True)),
        ("hello", "-b----", "-", (None, False, False)),
        ("hello", "---s--", "0", (0, True, False)),
        ("hello", "---sc-", "3", (3, True, False)),
        ("two words 3 4", "r----d", "-", (None, True, False)),
        ("(null)", "------", "-", (None, False, False)),
    ],
)
def test_row_of_xl_list(name, state, reason, expected):
    (domain,) = xl.parse_list(HEAD + ROW % (name, 14, 32, 1, state, 1.5, reason, "-"))
    assert (domain.name, domain.domid, domain.memory) == (name, 14, 32)
    assert (domain.reason, domain.has_ended, domain.is_paused) == expected


def test_xl_commands(xen):
    host, uuid = Local(), "b87c5087-8248-4d69-b40c-cd1bafbbdce0"
    host.toolstack.create_paused(str(xen.xl_file(xen.kernel("stay"))), name="hello", uuid=uuid)
    domain = host.toolstack.find(name="hello")
    assert (domain, domain.is_paused) == (host.toolstack.find(uuid=uuid), True)
    host.toolstack.unpause(domain)
    assert not host.toolstack.find(uuid=uuid).is_paused
    host.toolstack.destroy(domain)
    host.toolstack.destroy(domain)
    assert host.toolstack.find(uuid=uuid) is None


@pytest.mark.parametrize(
    ("commandline", "available"),
    [("dom0_mem=256M", 512), ("x dom0_mem=min:1G,max:2G y", 512), ("", 640), ("nodom0_mem=1M", 640)],
)
def test_memory_that_dom0_can_give_back_is_available_too(xen, commandline, available):
    (xen.world / "xen-commandline").write_text(commandline)
    assert Local().toolstack.free_memory(Local().toolstack.info(), Local().toolstack.list_domains()) == available
