"""`unibuild test` from the build to the exit code, on a stand-in for a Xen host."""

import http.server
import json
import shutil
import signal
import threading
import time
from xml.etree import ElementTree

import pytest


@pytest.fixture
def project(tree, xen, hello_kernels):
    """A tree with a build that copies a real kernel; `does` is the kernel's behaviour."""
    shutil.copy(hello_kernels.pv, tree.root / "base.bin")
    tree.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n\techo built >> log\n")
    tree.write("unibuild.toml", 'name = "hello"\n' + tree.read("unibuild.toml"))
    return tree


@pytest.fixture
def does(xen):
    def does(*script: str) -> None:
        (xen.world / "script").write_text("\n".join(script) + "\n")

    return does


@pytest.fixture
def test(project):
    """Write the ``[test]`` tables and run them."""

    def test(toml: str, *words: str, code: int = 0) -> str:
        project.write("unibuild.toml", project.read("unibuild.toml") + toml)
        return project.run("unibuild", "test", "--host", "local", *words, code=code)

    return test


@pytest.fixture(autouse=True)
def nothing_is_left(project, xen):
    """Check that each test leaves no domain, no copy of a file and no file of unibuild in the project."""
    yield
    assert [domain["name"] for domain in xen.domains().values() if "-test-" in domain["name"]] == []
    assert [path.name for path in (project.root / ".unibuild" / "test").glob("*-test-*")] == []


def test_three_lines_of_toml(test, does, project, xen):
    does("say hello", "say Solo5: solo5_exit(0) called", "poweroff")
    output = test('[test.boots]\nconsole = ["hello"]\nexit = 0\n')
    assert "ok      boots" in output
    assert output.endswith("test: 1 of 1 passed\n")
    assert project.read(".unibuild/test/boots.log").splitlines()[0].endswith(" hello")
    assert not (project.root / ".unibuild" / "domain.json").exists()


def test_failure_shows_expected_and_actual_output(test, does):
    does("say hello world", "say bye", "poweroff")
    output = test('[test.boots]\nconsole = ["hello wirld"]\n[test.other]\nconsole = ["bye"]\n', code=1)
    assert "failed  boots" in output
    assert 'it powered off before it printed "hello wirld"\n          closest line: hello world\n' in output
    assert "| bye" in output and ".unibuild/test/boots.log" in output
    assert "ok      other" in output and output.endswith("1 of 2 passed\n")


def test_crash_fails_the_test(test, does):
    does("say hello", "crash")
    assert "it crashed" in test('[test.boots]\nconsole = ["hello"]\n', code=1)
    assert "ok" in test("", "boots", "test.boots.exit=crash")


def test_failure_shows_the_crash_on_the_console(test, does):
    does(
        "say Solo5: trap: type=#PF ec=0x2 rip=0x1089c5 rsp=0x3ffe50 rflags=0x10002", "say Solo5: trap: cr2=0x0", "crash"
    )
    output = test("", code=1)
    assert "it crashed\n          " in output and "0x1089c5" in output.partition("| Solo5")[0]


def test_host_all_is_refused(test):
    assert "one host at a time" in test("", "--host", "all", code=2)


def test_project_without_tests_has_one(test, does):
    does("say hello", "poweroff")
    assert "ok      boots" in test("")
    does("say hello", "crash")
    assert "failed  boots" in test("", code=1)


def test_timeout_fails_the_test(test, does):
    does("say hello", "stay")
    assert '0.5 s passed before it printed "bye"' in test('[test.boots]\nconsole = ["bye"]\ntimeout = 0.5\n', code=1)


def test_only_named_tests_run(test, does):
    does("say hello", "poweroff")
    output = test('[test.one]\nconsole = ["hello"]\n[test.two]\nconsole = ["hello"]\n', "two")
    assert "two" in output and "one," not in output
    assert "did you mean `two`?" in test("", "twe", code=2)


def test_arguments_of_a_test_apply_to_it_alone(test, does, project, xen):
    does("say hello", "poweroff")
    test('[xl]\ncmdline = "a=b"\n[test.one]\nargs = ["c=d"]\n[test.two]\n')
    assert "a=b" in project.read(".unibuild/hello.xl")
    assert len([call for call in xen.calls("xl") if call[0] == "create"]) == 2


def test_running_domain_is_left_alone(test, does, project, xen):
    does("say hello", "stay")
    project.run("unibuild", "boot", "host=local", "boot.console=none")
    before, record = xen.domains(), project.read(".unibuild/domain.json")
    test('[test.boots]\nconsole = ["hello"]\n')
    assert (xen.domains(), project.read(".unibuild/domain.json")) == (before, record)


def test_writable_disk_is_a_copy(test, does, project, xen):
    does("say hello", "poweroff")
    project.write("data.img", "dear")
    output = test('[xl.disk.xvda]\ntarget = "data.img"\n[test.one]\n[test.two]\n')
    assert output.endswith("2 of 2 passed\n")
    assert project.read("data.img") == "dear"
    created = [call for call in xen.calls("xl") if call[0] == "create"]
    assert len(created) == 2
    assert [path.name for path in (project.root / ".unibuild/test").iterdir() if path.suffix != ".log"] == []


def test_http_and_tcp_answers(test, does):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/" else 404)
            self.end_headers()
            self.wfile.write(b"hello from http")

        def log_message(self, *_):
            pass

    does("say up", "stay")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        port = server.server_port
        wants = f'[boot.ready]\naddress = "127.0.0.1"\n[test.serves]\nhttp = [{{ port = {port}, body = "from http" }}'
        try:
            assert "ok" in test(wants + f', {{ port = {port}, path = "/no", status = 404 }}]\n')
            assert "does not match" in test("", f'test.serves.http=[{{ port = {port}, body = "other" }}]', code=1)
        finally:
            server.shutdown()


def test_results_as_json_and_junit(test, does, project):
    does("say hello", "poweroff")
    test('[test.a]\nconsole = ["hello"]\n[test.b]\nconsole = ["no"]\n', "--junit", "t.xml", "--json", "t.json", code=1)
    assert [case.get("name") for case in ElementTree.fromstring(project.read("t.xml")).iter("testcase")] == ["a", "b"]
    assert [one["outcome"] for one in json.loads(project.read("t.json"))["tests"]] == ["passed", "failed"]


def test_json_is_alone_on_standard_output(project, does):
    does("say hello", "poweroff")
    output = project.run("sh", "-c", f"{project.bin}/unibuild test --host local --json - 2>/dev/null")
    assert json.loads(output)["passed"] is True


def test_test_that_cannot_run_is_an_error(test, does, project, xen):
    output = test("[xl]\nmemory = 4096\n[test.boots]\n[test.more]\n", "--junit", "t.xml", code=5)
    assert "error   boots" in output and "error   more" in output
    assert ElementTree.fromstring(project.read("t.xml")).get("errors") == "2"


def test_failed_build_has_its_own_exit_code(test, project):
    project.write("Makefile", "hello.xen:\n\tfalse\n")
    assert "test:" not in test("", code=1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_leaves_nothing(project, does, xen, number, code):
    does("say hello", "stay")
    project.write("unibuild.toml", project.read("unibuild.toml") + '[test.boots]\nconsole = ["never"]\n')
    program = project.start("unibuild", "test", "--host", "local")
    deadline = time.monotonic() + 60
    while not (xen.domains() and (project.root / ".unibuild/test/boots.log").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.send_signal(number)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == code, output
    assert xen.domains() == {}


READY = '[boot.ready]\nconsole = "^ready$"\n'


def test_ready_is_part_of_a_test(test, does):
    does("say hello", "say ready", "stay")
    assert "ok      one" in test(READY + "[test.one]\nready_within = 20\n")
    does("say hello", "stay")
    output = test("", "test.one.ready_within=0.5", code=1)
    assert "failed  one" in output and "it was not ready" in output


def test_test_of_the_shutdown_does_not_wait_for_readiness(test, does):
    does("say hello", "poweroff")
    assert "ok      one" in test(READY + "[test.one]\nexit = 0\n")


def test_ready_within_needs_a_readiness_table(test):
    assert "[boot.ready] does not define" in test("[test.one]\nready_within = 1\n", code=2)


def test_next_run_removes_what_a_killed_run_left(test, does, project, xen):
    does("say hello", "stay")
    project.write("unibuild.toml", project.read("unibuild.toml") + '[test.boots]\nconsole = ["bye"]\n')
    killed = project.start("unibuild", "test", "--host", "local")
    deadline = time.monotonic() + 60
    while not any(domain["started"] for domain in xen.domains().values()):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    (left,) = (domain["name"] for domain in xen.domains().values())
    does("say bye", "poweroff")
    output = test("")
    assert f"unibuild: removed {left} from local, left by a killed test run" in output
    assert (xen.domains(), xen.store("/unibuild/domains")) == ({}, {})
