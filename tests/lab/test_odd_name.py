"""A domain with a name that is not a plain word, on the real xl and XenStore of the lab."""

import os

import pytest

from unibuild.deploy import boot, destroy
from unibuild.domain import ownership
from unibuild.graph import xl_file
from unibuild.settings.loader import load
from unibuild.xlcfg.edit import quote

pytestmark = pytest.mark.lab

NAME = 'www.caf\u00e9 it\'s "v2"+' + "x" * 170


def test_a_domain_of_an_odd_name_is_booted_and_destroyed(tmp_path, dom0, hello_kernels):
    (tmp_path / "unibuild.toml").write_text('host = "lab"\n[boot]\nconsole = "none"\ngrace = 0\n')
    generated, path = tmp_path / "dom.xl", tmp_path / "patched.xl"
    generated.write_text(f"name = {quote(NAME)}\nmemory = '0x20'\n")
    project = load(tmp_path, {"lab.accel": os.environ.get("UNIBUILD_LAB_ACCEL", "auto")}, {})
    path.write_text(xl_file.render(project, hello_kernels.pv, generated))
    boot.boot(project, path, hello_kernels.pv)
    (domain,) = [domain for domain in dom0.toolstack.list_domains() if domain.domid]
    assert (domain.name, domain.memory) == (NAME, 32)
    assert dom0.run(["xenstore-list", "/unibuild/lock"]).text.split() == [ownership.node(NAME)]
    destroy.destroy(project)
    assert not [domain for domain in dom0.toolstack.list_domains() if domain.domid]
