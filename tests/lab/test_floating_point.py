"""A PVH domain that uses floating point registers alongside dom0: Xen preserves the registers of both."""

import pytest

pytestmark = pytest.mark.lab

CYCLES = 20  # of a domain's life; with lazy FPU switching about every tenth program crashes
STRESS = """
cycle=0
while [ $cycle -lt $3 ]; do
  cycle=$((cycle + 1))
  : >$2
  xl create -q $1 || echo "xl create: $?"
  round=0
  while [ $round -lt 3 ] || { [ $round -lt 300 ] && ! grep -q turn $2; }; do
    round=$((round + 1))
    sh -c true || echo "sh: $?"
    busybox ls / >/dev/null || echo "ls: $?"
    xenstore-read domid >/dev/null || echo "xenstore-read: $?"
  done
  grep -q turn $2 || echo "no line of the kernel"
  grep changed $2
  xl destroy float || echo "xl destroy: $?"
done 2>&1
dmesg | grep -E 'segfault|general protection|traps:'
"""


@pytest.fixture
def domain(dom0, float_kernel, tmp_path):
    """Put the kernel and its .xl file on dom0; return the file's path there."""
    file = tmp_path / "float.xl"
    file.write_text(f"name = 'float'\ntype = 'pvh'\nkernel = '{dom0.put(float_kernel)}'\nmemory = 32\n")
    return dom0.put(file)


def test_programs_in_dom0_and_the_domains_keep_their_registers(dom0, domain):
    log = "/var/log/xen/console/guest-float.log"
    assert dom0.run(["sh", "-c", STRESS, "stress", domain, log, str(CYCLES)], check=False).text == ""
