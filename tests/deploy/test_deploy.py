"""unibuild/deploy/host_files.py: a domain's files on their way to the host."""

from unibuild.deploy import host_files
from unibuild.host.local import Local


def copy_to_host(tmp_path, *lines):
    (tmp_path / "k.xen").touch()
    file = tmp_path / "hello.xl"
    file.write_text("\n".join((f"name = 'hello'\nkernel = '{tmp_path}/k.xen'", *lines, "")))
    return host_files.copy_to_host(Local(), file, tmp_path, tmp_path).config.get("vif")


def test_a_network_device_has_the_same_address_at_every_boot(tmp_path):
    first = copy_to_host(tmp_path, "vif = ['bridge=br0', 'bridge=br0']")
    assert first == copy_to_host(tmp_path, "vif = ['bridge=br0', 'bridge=br0']")
    assert len(set(first)) == 2
    assert all(spec.startswith("bridge=br0, mac=00:16:3e:") for spec in first)


def test_an_address_that_is_set_stays(tmp_path):
    assert copy_to_host(tmp_path, "vif = ['mac=00:16:3e:00:00:01,bridge=br0']") == ["mac=00:16:3e:00:00:01,bridge=br0"]


def test_host_folder_belongs_to_one_domain_of_one_project(tmp_path):
    folders = {host_files.host_folder(root, name) for root in (tmp_path, tmp_path / "x") for name in ("hello", "a/b c")}
    assert len(folders) == 4
    assert all("/" not in folder and " " not in folder for folder in folders)
