"""Network devices get the numbers that the unikernel opens them by, on the real Xen of the lab."""

import os

import pytest

from unibuild.deploy import boot
from unibuild.graph import xl_file
from unibuild.settings.loader import load

pytestmark = pytest.mark.lab

MACS = {0: "00:16:3e:00:00:00", 5: "00:16:3e:00:00:05"}
XL = f"name = 'hello'\nmemory = 32\nvif = [ 'bridge=xenbr0,mac={MACS[5]}', 'bridge=xenbr0,mac={MACS[0]}' ]\n"
XL_IN = "memory = @MEMORY@\nvif = [ 'bridge=@NETWORK:5@', 'bridge=@NETWORK:0@' ]\n"


def test_a_network_has_the_number_of_its_name(tmp_path, dom0, hello_kernels):
    words = {"host": "lab", "boot.wait": "0.5", "lab.accel": os.environ.get("UNIBUILD_LAB_ACCEL", "auto")}
    (tmp_path / "unibuild.toml").write_text("")
    (tmp_path / "made.xl").write_text(XL)
    (tmp_path / "made.xl.in").write_text(XL_IN)
    project, path = load(tmp_path, words, {}), tmp_path / "hello.xl"
    path.write_text(xl_file.render(project, hello_kernels.pvh, tmp_path / "made.xl", tmp_path / "made.xl.in"))
    boot.boot(project, path, hello_kernels.pvh)
    domid = dom0.toolstack.find(name="hello").domid
    devices = f"/local/domain/{domid}/device/vif"
    macs = {number: dom0.run(["xenstore-read", f"{devices}/{number}/mac"]).text.strip() for number in MACS}
    assert macs == MACS
