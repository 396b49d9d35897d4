"""unibuild/graph/graph.py: the graph of a project as plain values."""

import json

import pytest

from unibuild.errors import KernelError, SettingsError
from unibuild.graph import graph as graphs
from unibuild.settings.loader import load


@pytest.fixture
def graph_of(tree):
    """Return a function that gives the graph of the tree, with more settings in its ``unibuild.toml``."""

    def compute(more=""):
        tree.write("unibuild.toml", '[build]\nkernel = "hello.xen"\n' + more)
        return graphs.graph(load(tree.root, {}, {}))

    return compute


def stage(graph, name):
    return next(found for found in graph.stages if found.name == name)


def test_a_project_without_configure_and_depend_has_neither(graph_of):
    assert [found.name for found in graph_of().stages] == ["build", "xl"]


def test_a_host_that_can_be_none_is_refused_before_anything_runs(graph_of, tree):
    with pytest.raises(SettingsError, match=r"\bfoo\b"):
        graphs.graph(load(tree.root, {"host": "foo"}, {}))


def test_a_kernel_of_the_wrong_type_is_called_by_its_own_name(graph_of, tree, hello_kernels):
    graph = graph_of('[xl]\ntype = "pvh"\n')
    tree.write(".unibuild/hello.xen", "")
    graph.kernel.write_bytes(hello_kernels.pv.read_bytes())
    with pytest.raises(KernelError, match=f"^{tree.root}/hello.xen is a PV kernel"):
        graph.render()


def test_all_steps_in_their_order(graph_of):
    more = 'configure = ["sh", "configure"]\ndepend = "depend"\n'
    assert [found.name for found in graph_of(more).stages] == ["configure", "depend", "build", "xl"]


def test_computing_it_writes_nothing(graph_of, tree):
    graph_of()
    assert not (tree.root / ".unibuild").exists()


def test_the_kernel_in_the_tree_and_the_copy_are_what_the_build_leaves(graph_of, tree):
    targets = (str(tree.root / "hello.xen"), str(tree.root / ".unibuild" / "hello.xen"))
    assert stage(graph_of(), "build").watch.targets == targets


@pytest.mark.parametrize("more", ["", '[xl]\nfile = "own.xl"\n'])
def test_the_xl_is_made_of_the_copy_and_of_the_users_own_file(graph_of, tree, more):
    graph = graph_of(more)
    watch = stage(graph, "xl").watch
    assert watch.made == (str(tree.root / ".unibuild" / "hello.xen"),)
    assert watch.inputs == ((str(tree.root / "own.xl"),) if more else ())
    assert graph.start == (tree.root / "own.xl" if more else None)


def test_the_files_are_called_as_the_domain_is(graph_of, tree):
    tree.write("unibuild.toml", "")
    graph = graphs.graph(load(tree.root, {"name": "www", "build.kernel": "k"}, {}))
    assert (graph.kernel.name, graph.xl.name) == ("www.xen", "www.xl")


def test_the_settings_of_the_xl_have_names(graph_of):
    output = stage(graph_of("[xl]\nmemory = 64\n"), "xl").watch.fingerprint
    assert json.loads(output["xl.memory"]) == 64


def test_a_setting_that_the_xl_has_no_use_for_leaves_it_alone(graph_of):
    assert stage(graph_of(), "xl").watch.fingerprint == stage(graph_of("[boot]\nwait = 3\n"), "xl").watch.fingerprint


@pytest.mark.parametrize("more", ["[xl]\nset = { maxvcpus = 2 }\n", '[xl.vif.0]\nbridge = "br0"\n'])
def test_any_setting_of_the_xl_counts(graph_of, more):
    assert stage(graph_of(), "xl").watch.fingerprint != stage(graph_of(more), "xl").watch.fingerprint
