"""The host is looked at, and refuses, for real."""

import pytest

from unibuild import kernel as kernels
from unibuild.domain import preflight
from unibuild.errors import DomainError
from unibuild.xlcfg import parser

pytestmark = pytest.mark.lab

OTHER = "aaaaaaaa-2222-3333-4444-555555555555"


@pytest.fixture
def other(dom0, tmp_path, hello_kernels):
    """A domain that writes to a disk of the host."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    path = dom0.put(disk, folder="preflight")
    text = f"kernel = '{dom0.put(hello_kernels.pv)}'\ntype = 'pv'\nmemory = 32\ndisk = ['{path},raw,xvda,w']\n"
    file = tmp_path / "other.xl"
    file.write_text(f"{text}vif = ['bridge=xenbr0,mac=00:16:3e:00:00:09']\n")
    dom0.toolstack.create_paused(dom0.put(file, folder="preflight"), name="preflight-other", uuid=OTHER)
    yield path
    domain = dom0.toolstack.find(uuid=OTHER)
    if domain:
        dom0.toolstack.destroy(domain)
    dom0.discard("preflight")


def look(dom0, kernel, *lines, replaced=()):
    config = parser.parse("\n".join(("name = 'preflight'", *lines)))
    return preflight.check(dom0, config, kernel=kernels.inspect(kernel), disks=(), replaced=replaced)


def test_problems_on_a_real_host(dom0, hello_kernels):
    with pytest.raises(DomainError, match="lab cannot take preflight for 4 reasons") as error:
        look(
            dom0,
            hello_kernels.pv,
            "type = 'pvh'",
            "memory = 4096",
            "vif = ['bridge=br7', 'bridge=xenbr0,script=vif-nosuch']",
            "pci = ['00:03.0']",
        )
    hint = error.value.hint
    for part in ('in a domain of type "pvh"', "needs 4096 MiB", "vif-nosuch", "IOMMU"):
        assert part in hint


def test_a_disk_and_an_address_in_use(dom0, hello_kernels, other):
    lines = ("type = 'pv'", "memory = 32", f"disk = ['{other},raw,xvdb,w']", "vif = ['mac=00:16:3e:00:00:09']")
    with pytest.raises(DomainError, match="for 2 reasons") as error:
        look(dom0, hello_kernels.pv, *lines)
    assert f"preflight-other on lab uses {other}, the disk xvdb of preflight" in error.value.hint
    assert "preflight-other on lab has the MAC address 00:16:3e:00:00:09" in error.value.hint
    seen = look(dom0, hello_kernels.pv, *lines, replaced=(OTHER,))
    assert 2 * 258 <= seen.free < 1024, "two domains with the 256 MiB of Mirage do not fit"
    assert seen.facts["xen_major"] == "4"
