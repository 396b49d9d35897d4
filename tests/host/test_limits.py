"""Every command on a host has a time limit; a question is asked again, and what may have been done is not."""

import itertools
import os
import subprocess
from pathlib import Path

import pytest

from unibuild.errors import LostError, NoAnswerError, ProgramDiedError
from unibuild.host import base, exchange, ssh
from unibuild.host.exchange import Call, HostChild, Limits, Progress
from unibuild.host.frame import Frame, quote
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh
from unibuild.util import process

LONG = Limits(100.0, 100.0)
SHORT = Limits(0.3, 100.0)


@pytest.fixture(params=[lambda: Local(uid=0), lambda: Ssh("there")], ids=["local", "ssh"])
def host(request, xen):
    return request.param()


@pytest.fixture
def faulty(xen):
    """Let xl do something else, at each call or only at the first one."""

    def make(script: str, *, once: bool = False) -> None:
        program, real = xen.world / "bin" / "xl", xen.world / "bin" / "real-xl"
        program.rename(real)
        again = f'test -e {xen.world}/done && exec {real} "$@"; touch {xen.world}/done; ' if once else ""
        program.write_text(f'#!/bin/sh\necho "$1" >>{xen.world}/asked\n{again}{script}\n')
        program.chmod(0o755)

    return make


def limited(host, monkeypatch, *limits: Limits) -> None:
    given = itertools.chain(limits, itertools.repeat(limits[-1]))
    monkeypatch.setattr(host, "limits", lambda *_, **__: next(given))


def asked(xen) -> list[str]:
    return (xen.world / "asked").read_text().split()


def test_unanswered_query_is_repeated(host, faulty, monkeypatch, xen):
    faulty("exec sleep 600", once=True)
    limited(host, monkeypatch, SHORT, LONG)
    assert host.toolstack.list_domains()[0].domid == 0
    assert asked(xen) == ["list", "list"]


def test_query_without_any_answer_is_an_error(host, faulty, monkeypatch):
    faulty("exec sleep 600")
    limited(host, monkeypatch, SHORT)
    with pytest.raises(NoAnswerError, match=f"`xl list -v` on {host.name} did not answer within 0.3 s, twice"):
        host.toolstack.list_domains()


def test_action_is_not_repeated(host, faulty, monkeypatch, xen):
    faulty("exec sleep 600")
    limited(host, monkeypatch, SHORT)
    with pytest.raises(NoAnswerError, match="xl unpause 7"):
        host.run(["xl", "unpause", "7"])
    assert asked(xen) == ["unpause"]


def test_killed_program_is_reported_instead_of_the_connection(host, faulty, xen):
    faulty("echo 'corrupted double-linked list' >&2; kill -ABRT $$")
    with pytest.raises(ProgramDiedError, match=r"`xl create x` on .* signal 6 \(SIGABRT\): corrupted double") as error:
        host.run(["xl", "create", "x"])
    assert (error.value.signal, asked(xen)) == (6, ["create"])


def test_query_with_a_killed_program_is_repeated(host, faulty, xen):
    faulty("kill -SEGV $$", once=True)
    assert host.toolstack.list_domains()[0].domid == 0
    assert asked(xen) == ["list", "list"]


def test_hanging_connection_is_replaced(xen, monkeypatch):
    program, real = xen.world / "bin" / "ssh", xen.world / "bin" / "real-ssh"
    program.rename(real)
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" -G "*|*" -O "*) exec {real} "$@";; esac\n'
        f'test -e {xen.world}/done && exec {real} "$@"; touch {xen.world}/done; exec sleep 600\n'
    )
    program.chmod(0o755)
    host = Ssh("there")
    limited(host, monkeypatch, Limits(100.0, 0.3), LONG)
    assert host.run(["true"], root=False).returncode == 0
    assert [call[call.index("-O") + 1] for call in xen.calls("ssh") if "-O" in call] == ["stop"]


def test_waiting_is_reported(host, faulty, xen, wait_in_shell):
    faulty(wait_in_shell(xen.world / "go"), once=True)
    told = []

    def show(what: str | None) -> None:
        told.append(what)
        (xen.world / "go").touch()

    host.show_waiting(show, after=0.0)
    host.run(["xl", "list", "-v"])
    assert told == [f"`xl list -v` on {host.name}", None]


def test_stalled_copy_is_aborted(xen, monkeypatch, tmp_path):
    (xen.world / "bin" / "dd").write_text("#!/bin/sh\nexec sleep 600\n")
    (xen.world / "bin" / "dd").chmod(0o755)
    (tmp_path / "kernel").write_text("kernel")
    monkeypatch.setattr(ssh, "_STALL", 0.3)
    with pytest.raises(NoAnswerError, match=f"the copy of {tmp_path}/kernel on ssh://there"):
        Ssh("there").put(tmp_path / "kernel")


def test_progress_extends_the_time_limit():
    child = Local(uid=0).start(["sh", "-c", "sleep 1; echo whole"], root=False)
    count = itertools.count()
    exchange.exchange(child, SHORT, Progress(mark=lambda: next(count)), data=None, lend=False)
    assert bytes(child.out.data) == b"whole\n"


def test_a_connection_that_breaks_in_the_middle_is_lost(xen):
    frame = Frame()
    argv = ["sh", "-c", quote(frame.program("echo half; kill -9 $$"))]
    call = Call(argv, ["xl", "create"], frame)
    popen = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0)
    with HostChild(popen, call, Ssh("there").answer) as child, pytest.raises(LostError, match="broke"):
        child.finish(60.0)


@pytest.mark.parametrize("argv", [["xl", "create", "x"], ["xl", "destroy", "1"], ["mv", "a", "b"], ["tar", "-x"]])
def test_an_action_has_more_time_than_a_question(argv):
    assert not base.is_question(argv)
    assert base.limit(argv) > base.limit(["xl", "list", "-v"]) == 30.0


def test_standard_input_arrives_complete(host):
    data = os.urandom(300_000)
    assert host.run(["cat"], input=data, root=False).stdout == data


def test_command_that_ignores_its_input_ends(host):
    assert host.run(["true"], input=bytes(300_000), root=False).returncode == 0


def test_remote_commands_run_in_the_c_locale(xen, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert Ssh("there").run(["sh", "-c", "echo $LC_ALL"], root=False).text == "C\n"


def test_a_program_outside_of_the_usual_folders_is_found(xen):
    assert Ssh("there").locate(["xl", "nosuch"]) == {"xl": f"{xen.world}/bin/xl"}
    assert Local().locate(["xl", "nosuch"]) == {"xl": f"{xen.world}/bin/xl"}
    assert Path(process.need("xl")) == xen.world / "bin/xl"
