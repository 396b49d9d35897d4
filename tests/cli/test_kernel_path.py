"""unibuild/cli/kernel_path.py: goals for a kernel without a project, named by its path."""

import shutil

import pytest


@pytest.fixture
def folder(xen, hello_kernels, tmp_path):
    """A folder with nothing but two kernels, which power off at once."""
    (xen.world / "script").write_text("poweroff\n")
    folder = tmp_path / "release 1"
    folder.mkdir()
    for name in ("www.xen", "dns.xen"):
        shutil.copy(hello_kernels.pvh, folder / name)
    return folder


@pytest.fixture
def call(tree, folder):
    """Run unibuild in the folder, on this machine."""

    def call(*words, code=0):
        return tree.run("unibuild", *words, code=code, cwd=folder, UNIBUILD_HOST="local")

    return call


def projects(tmp_path):
    return sorted((tmp_path / "cache/unibuild/kernels").iterdir())


def test_kernel_boots_from_a_folder_with_nothing_else(call, folder):
    assert "unibuild: www powered off" in call("boot", "www.xen")
    assert "unibuild: dns powered off" in call("boot", f"{folder}/dns.xen")
    assert sorted(path.name for path in folder.iterdir()) == ["dns.xen", "www.xen"]


def test_domain_is_that_of_the_xl_next_to_the_kernel(call, folder, xen):
    (folder / "www.xl").write_text("name = 'site'\nkernel = 'www.xen'\ntype = 'pvh'\nmemory = 64\n")
    assert "unibuild: site powered off" in call("boot", "www.xen")
    assert "unibuild: site powered off" in call("boot", "www.xl", "--force")


def test_words_after_two_dashes_are_the_unikernels_arguments(call, tmp_path):
    call("xl", "www.xen", "--", "--port=80", "--help")
    (project,) = projects(tmp_path)
    assert "--port=80 --help" in (project / ".unibuild/www.xl").read_text()
    for words in (("status",), ("plan", "xl"), ("xl", "--dry-run"), ("--dry-run", "xl"), ("xl", "-h")):
        call(*words, "www.xen")
        assert "--help" in (project / "unibuild.toml").read_text()
    call("xl", "www.xen")
    assert "--help" not in (project / ".unibuild/www.xl").read_text()


def test_changed_kernel_is_out_of_date(call, folder):
    call("xl", "www.xen")
    assert "up to date" in call("xl", "www.xen")
    with (folder / "www.xen").open("ab") as file:
        file.write(b"\n")
    assert f"build: {folder}/www.xen changed" in call("xl", "www.xen")


def test_each_kernel_has_a_project_of_its_own(call, tmp_path):
    call("build", "www.xen")
    call("build", "./dns.xen")
    call("build", "dns.xen")
    assert [project.name.rpartition("-")[0] for project in projects(tmp_path)] == ["dns", "www"]


def test_project_is_the_same_however_the_path_is_spelled(call, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    call("build", "www.xen")
    call("--host", "local", "build", f"../{folder.name}/www.xen")
    call("--force", "build", f"{tmp_path}/link/www.xen")
    assert len(projects(tmp_path)) == 1


def test_two_xl_files_of_one_kernel_are_two_projects(call, folder, tmp_path):
    for name in ("web", "api"):
        (folder / f"{name}.xl").write_text(f"name = '{name}'\nkernel = '../{folder.name}/www.xen'\n")
        assert f"unibuild: {name} powered off" in call("boot", f"{name}.xl")
    assert len(projects(tmp_path)) == 2


def test_domain_outlives_its_kernels_file(call, folder, xen):
    (xen.world / "script").write_text("stay\n")
    call("boot", "www.xen", "boot.wait=0.1")
    (folder / "www.xen").unlink()
    assert "www" in call("status", "www.xen")
    call("destroy", "www.xen")
    assert xen.domains() == {}


def test_files_on_the_command_line_are_those_of_the_current_folder(call, folder, tmp_path):
    (folder / "my.xl").write_text("memory = 48\n")
    call("xl", "www.xen", "xl.file=my.xl")
    (project,) = projects(tmp_path)
    assert "memory = 48" in (project / ".unibuild/www.xl").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("boot", "none.xen"),
        ("boot", "www.xen", "dns.xen"),
        ("boot", "--", "--port=80"),
        ("boot", "empty.xl"),
        ("boot", "\udcff.xen"),
        ("boot", "www.xen", "--", "\udcff"),
    ],
)
def test_wrong_kernel_is_wrong_input(call, folder, words):
    (folder / "empty.xl").write_text("memory = 64\n")
    shutil.copy(folder / "www.xen", bytes(folder) + b"/\xff.xen")
    assert call(*words, code=2).startswith("error: ")
