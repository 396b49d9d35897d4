"""A missing disk is reported before the old domain is stopped."""

import pytest

from unibuild.deploy import boot
from unibuild.errors import DomainError
from unibuild.settings.loader import load


@pytest.fixture
def start(tmp_path, xen):
    (tmp_path / "unibuild.toml").write_text("")

    def run(host: str, *lines: str) -> None:
        kernel = xen.kernel("say up", "stay")
        project = load(tmp_path, {"host": host, "boot.wait": "0.2"}, {})
        boot.boot(project, xen.xl_file(kernel, *lines), kernel)

    return run


@pytest.mark.parametrize("host", ["local", "ssh://there"])
def test_missing_disk_is_reported_before_the_old_domain_is_removed(start, xen, host):
    start(host)
    before = xen.domains()
    with pytest.raises(DomainError) as error:
        start(host, "disk = [ 'vdev=xvdb, target=/nowhere/disk.img' ]")
    assert error.value.message == f"neither {host} nor this machine has /nowhere/disk.img for the disk xvdb of hello"
    assert error.value.hint.splitlines() == [
        'create it (`truncate -s 16M FILE`), or set another: [xl.disk.xvdb] target = "..."',
        "the old hello runs on",
    ]
    assert xen.domains() == before


@pytest.mark.parametrize(
    "disk", ["vdev=xvdb, target=/dev/null", "vdev=xvdb, script=block-nbd, target=/nowhere", "vdev=xvdb, cdrom"]
)
def test_disks_that_are_not_missing_files_are_accepted(start, xen, disk):
    start("local", f"disk = [ '{disk}' ]")
    assert list(xen.domains())
