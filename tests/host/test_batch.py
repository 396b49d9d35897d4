"""Several commands in one exchange."""

import pytest

from unibuild.errors import FileError, HostError, LostError, MissingError, NoAnswerError, ProgramDiedError
from unibuild.host.batch import BatchStep
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh


def sh(script: str, *args: str, **how) -> BatchStep:
    return BatchStep(("sh", "-c", script, "sh", *args), root=False, **how)


@pytest.fixture(params=["local", "ssh"])
def host(request, xen):
    return Local(uid=0) if request.param == "local" else Ssh("there")


def test_each_command_has_its_own_output_and_status(host):
    steps = [sh("echo out; echo err >&2"), sh('printf %s "$1"; exit 3', "a 'b'\n$c\x1e !", may_fail=True), sh("true")]
    first, second, third = host.run_all(steps)
    assert (first.returncode, first.stdout, first.stderr) == (0, b"out\n", b"err\n")
    assert (second.returncode, second.stdout) == (3, b"a 'b'\n$c\x1e !")
    assert (third.returncode, third.stdout, third.stderr) == (0, b"", b"")


def test_a_failure_ends_the_batch(host, tmp_path):
    done = host.run_all([sh("exit 7"), sh("touch $1", str(tmp_path / "ran"))])
    assert [one.returncode for one in done] == [7]
    assert not (tmp_path / "ran").exists()


def test_the_input_is_that_of_the_first_command(host, tmp_path):
    data = tmp_path / "data"
    data.write_bytes(b"x" * 300_000)
    first, second = host.run_all([sh("cat"), sh("cat")], uploads=[data])
    assert (first.stdout, second.stdout) == (data.read_bytes(), b"")


def test_each_of_the_first_commands_has_its_own_input(host, tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"s" * 3000)
    large.write_bytes(b"l" * 300_000)
    done = host.run_all([sh("dd bs=1 count=3000"), sh("cat"), sh("cat")], uploads=[small, large])
    assert [one.stdout for one in done] == [small.read_bytes(), large.read_bytes(), b""]


@pytest.mark.parametrize("names", [["gone"], ["there", "gone"]], ids=len)
def test_an_input_that_cannot_be_read_is_an_error(host, tmp_path, names):
    (tmp_path / "there").write_text("x")
    with pytest.raises(FileError):
        host.run_all([sh("dd bs=1 count=1"), sh("cat")], uploads=[tmp_path / name for name in names])


def test_a_batch_is_one_exchange(xen):
    host = Ssh("there")
    host.run_all([BatchStep(("xl", "list")), BatchStep(("xl", "info")), sh("true")])
    assert len(xen.remote()) == 1
    assert [call[-1] for call in xen.calls("sudo")] == ["list", "info"]


def test_sudo_runs_the_program_itself_and_no_shell(xen):
    Ssh("there").run_all([BatchStep(("xl", "list")), BatchStep(("xenstore-write", "/unibuild/a", "b"))])
    assert [call[2].rpartition("/")[2] for call in xen.calls("sudo")] == ["xl", "xenstore-write"]


def test_a_program_that_is_missing_is_named(xen):
    (xen.world / "bin" / "xl").unlink()
    with pytest.raises(MissingError, match="the program xl is not installed on ssh://there"):
        Ssh("there").run_all([sh("true"), BatchStep(("xl", "list"))])


def test_sudo_that_refuses_one_command_is_an_error(xen):
    xen.refuse("sudo", "sudo: a password is required")
    with pytest.raises(HostError, match="sudo"):
        Ssh("there").run_all([sh("true"), BatchStep(("xl", "list"), may_fail=True)])


def test_a_program_that_died_is_named(host):
    with pytest.raises(ProgramDiedError) as error:
        host.run_all([sh("true"), sh("kill -ABRT $$"), sh("true")])
    assert error.value.signal == 6


def test_each_command_has_its_own_time(host):
    steps = [sh("true"), BatchStep(("sleep", "600"), root=False, seconds=0.3), sh("true")]
    with pytest.raises(NoAnswerError, match=f"`sleep 600` on {host.name}") as error:
        host.run_all(steps)
    assert error.value.seconds == 0.3


def test_progress_is_reported(host):
    done = []
    host.run_all([sh("true"), sh("true")], on_done=done.append)
    assert (done[-1], done) == (2, sorted(done))


@pytest.fixture
def cut(xen, tmp_path):
    """Return a command that kills the shell of its batch the first time that it runs."""
    return sh('test -e "$1" || { touch "$1"; kill -9 "$PPID" $(ps -o ppid= -p "$PPID"); }', str(tmp_path / "cut"))


def test_questions_are_asked_again_when_their_shell_died(cut):
    assert [one.text for one in Ssh("there").run_all([sh("echo a"), cut, sh("echo b")], question=True)] == [
        "a\n",
        "",
        "b\n",
    ]


def test_what_may_have_been_done_is_not_done_again(cut, tmp_path):
    with pytest.raises(LostError):
        Ssh("there").run_all([sh("echo >>$1", str(tmp_path / "log")), cut])
    assert (tmp_path / "log").read_text() == "\n"


def test_a_shell_that_runs_nothing_is_an_error(xen):
    (xen.world / "bin" / "sh").write_text("#!/bin/true\n")
    (xen.world / "bin" / "sh").chmod(0o755)
    with pytest.raises(HostError):
        Ssh("there").run_all([sh("true")])


def test_debug_output_has_the_time_of_each_exchange(xen, monkeypatch, capfd):
    monkeypatch.setenv("UNIBUILD_DEBUG", "1")
    host = Ssh("there")
    host.run(["xl", "info"])
    host.run_all([BatchStep(("xl", "list")), BatchStep(("xl", "dmesg"))])
    lines = [line.split(" ms on ssh://there: ") for line in capfd.readouterr().err.splitlines()]
    assert [commands for _, commands in lines] == ["`xl info`", "`xl list`, `xl dmesg`"]
    assert all(int(ms) >= 0 for ms, _ in lines)
