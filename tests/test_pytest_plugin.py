"""The fixture `domain`, in separate pytest runs, on a stand-in for a Xen host."""

import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester, tree, xen, hello_kernels):
    """Put a test file into a project and run it; ``script`` is the kernel's behaviour."""
    shutil.copy(hello_kernels.pv, tree.root / "base.bin")
    tree.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n\techo built >> log\n")
    tree.write("unibuild.toml", 'name = "hello"\n' + tree.read("unibuild.toml"))

    def run(script: list[str], tests: str, *options: str) -> pytest.RunResult:
        (xen.world / "script").write_text("\n".join(script) + "\n")
        tree.write("tests/test_it.py", tests)
        return pytester.runpytest_subprocess(
            *("-W", "error", "-p", "no:cacheprovider", "--strict-markers", "--unibuild-host", "local"),
            *options,
            tree.root / "tests",
        )

    run.tree = tree
    return run


def test_a_test_in_python(run, xen):
    done = run(
        ["say hello from hello", "say ready", "echo", "say bye", "poweroff"],
        """
        import pytest

        def test_keys(domain):
            assert domain.expect("hello from (.*)")[1] == "hello"
            assert domain.lines[0] == "hello from hello"
            domain.send("a")
            domain.expect("key 97")
            domain.send("q")
            end = domain.wait_end()
            assert (end.why, end.is_good, domain.crash) == ("powered off", True, None)
            assert domain.lines[-1] == "bye"

        @pytest.mark.unikernel(memory=48)
        def test_several(domain, boot_domain):
            other = boot_domain(args=["a=b"])
            assert other.name != domain.name
            other.expect("ready")
        """.replace("\n        ", "\n"),
    )
    done.assert_outcomes(passed=2)
    assert run.tree.log == ["built"]
    assert xen.domains() == {}
    assert len([call for call in xen.calls("xl") if call[0] == "create"]) == 3


def test_failure_shows_the_console(run, xen):
    done = run(
        ["say hello from hello", "crash"],
        """
        def test_it(domain):
            domain.expect("hello frum")
        """.replace("\n        ", "\n"),
    )
    done.assert_outcomes(failed=1)
    done.stdout.re_match_lines(
        [
            r'E +AssertionError: hello-test-\w+ crashed before it printed "hello frum"; closest line: hello from hello',
            r"-+ console of hello-test-\w+ -+",
            "hello from hello",
            r"\[the whole console: .*/\.unibuild/test/test_it\.log\]",
        ]
    )
    assert xen.domains() == {}


def test_wait_times_out(run):
    done = run(
        ["say hello", "stay"],
        """
        import pytest

        def test_it(domain):
            with pytest.raises(AssertionError, match='ran for 0.3 s before it printed "bye"$'):
                domain.expect("bye", timeout=0.3)
            with pytest.raises(AssertionError, match="ran for 0.3 s before it ended"):
                domain.wait_end(timeout=0.3)
        """.replace("\n        ", "\n"),
    )
    done.assert_outcomes(passed=1)


def test_failed_build_is_an_error_with_its_message(run):
    run.tree.write("main.c", "")
    run.tree.write("Makefile", "hello.xen:\n\tfalse\n")
    done = run([], "def test_it(domain): pass\n")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*`make` failed with exit code*"])


def test_project_is_found_by_option_and_by_marker(run, tmp_path):
    tests = tmp_path / "elsewhere" / "test_far.py"
    tests.parent.mkdir()
    tests.write_text("def test_it(domain): domain.expect('hello')\n")
    marked = tests.with_name("test_marked.py")
    marked.write_text(
        "import pytest\n@pytest.mark.unikernel(project='../hello')\ndef test_it(domain): domain.expect('hello')\n"
    )
    run(["say hello", "stay"], "", "--unibuild-project", str(run.tree.root), tests).assert_outcomes(passed=1)
    run(["say hello", "stay"], "", marked).assert_outcomes(passed=1)


def test_term_leaves_no_domain(run, xen):
    (xen.world / "script").write_text("say hello\nstay\n")
    run.tree.write("tests/test_it.py", "def test_it(domain): domain.expect('never', timeout=60)\n")
    log = run.tree.root / ".unibuild/test/test_it.log"
    program = run.tree.start("pytest", "-p", "no:cacheprovider", "--unibuild-host", "local", "tests")
    deadline = time.monotonic() + 60
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.send_signal(signal.SIGTERM)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 143, output
    assert xen.domains() == {}


def test_plugin_imports_nothing_until_it_is_used():
    seen = "import pytest, sys; old = set(sys.modules); import unibuild.pytest_plugin; print(*set(sys.modules) - old)"
    new = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in new if not name.startswith("unibuild")} == set()
    assert sorted(new) == ["unibuild", "unibuild.pytest_plugin"]
