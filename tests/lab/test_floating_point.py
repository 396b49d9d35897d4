"""A PVH domain that uses floating point registers alongside dom0: Xen preserves the registers of both."""

import pytest

pytestmark = pytest.mark.lab

UUID = "f10a7000-0000-4000-8000-000000000001"
ROUNDS = 20  # of 3 programs; with lazy FPU switching about every tenth program crashes
STORM = f"""
round=0
while [ $round -lt {ROUNDS} ]; do
  round=$((round + 1))
  sh -c true || echo "sh: $?"
  busybox ls / >/dev/null || echo "ls: $?"
  xenstore-read domid >/dev/null || echo "xenstore-read: $?"
done 2>&1
dmesg | grep -E 'segfault|general protection|traps:'
"""


@pytest.fixture
def console(dom0, float_kernel, tmp_path):
    """Boot the kernel; return what reads its console."""
    file = tmp_path / "float.xl"
    file.write_text(f"name = 'float'\ntype = 'pvh'\nkernel = '{dom0.put(float_kernel)}'\nmemory = 32\n")
    dom0.toolstack.create_paused(dom0.put(file), name="float", uuid=UUID)
    dom0.toolstack.unpause(dom0.toolstack.find(uuid=UUID))
    return lambda: dom0.run(["cat", "/var/log/xen/console/guest-float.log"]).text


def test_programs_in_dom0_and_the_domain_keep_their_registers(dom0, console):
    before = console().count("turn")
    assert dom0.run(["sh", "-c", STORM], check=False).text == ""
    assert console().count("turn") > before
    assert "changed" not in console()
