from __future__ import annotations

import json
import socket
import threading

import pytest

from unibuild.errors import LabError
from unibuild.lab.qmp import Monitor

USERNET = """\
Hub -1 (n0):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[HOST_FORWARD]  11       127.0.0.1 40383       10.0.2.15    22     0     0\r
  TCP[ESTABLISHED]   13       127.0.0.1 51000       10.0.2.15    22     0     0\r
  TCP[HOST_FORWARD]  12       127.0.0.1  8080       10.0.2.50    80     0     0\r
"""


@pytest.fixture
def qemu(tmp_path):
    """A QEMU that greets, and answers each command from a list; what it was sent is in ``qemu.sent``."""

    class Qemu:
        path = tmp_path / "qmp"
        answers: list[object]
        sent: list[object]

        def serve(self):
            with listener, listener.accept()[0] as connection, connection.makefile("rb") as lines:
                connection.sendall(b'{"QMP": {}}\n')
                for answer in [{"return": {}}, *self.answers]:
                    self.sent.append(json.loads(lines.readline()))
                    connection.sendall(b'{"event": "STOP"}\n' + json.dumps(answer).encode() + b"\n")

        def __call__(self, *answers):
            self.answers, self.sent = list(answers), []
            self.thread.start()
            return Monitor(self.path)

    found = Qemu()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(found.path))
    listener.listen()
    found.thread = threading.Thread(target=found.serve)
    yield found
    found.thread.join(10)


def test_a_result_is_found_among_events(qemu):
    with qemu({"return": {"status": "running"}}) as monitor:
        assert monitor.run("query-status") == {"status": "running"}
    assert qemu.sent[1] == {"execute": "query-status"}


def test_underscores_become_hyphens(qemu):
    with qemu({"return": ""}) as monitor:
        monitor.run("human-monitor-command", command_line="info status")
    assert qemu.sent[1]["arguments"] == {"command-line": "info status"}


def test_refused_command_is_an_error(qemu):
    refused = {"error": {"class": "GenericError", "desc": "no such thing"}}
    with qemu(refused) as monitor, pytest.raises(LabError, match="QEMU refuses migrate: no such thing"):
        monitor.run("migrate")


def test_vanished_qemu_is_reported(qemu):
    with qemu() as monitor, pytest.raises(LabError, match="disappeared during query-status"):
        monitor.run("query-status")


def test_missing_qemu_is_reported(tmp_path):
    with pytest.raises(LabError, match="does not answer"):
        Monitor(tmp_path / "nowhere")


def test_failed_migration_is_reported(qemu):
    failed = {"status": "failed", "error-desc": "disk full"}
    going_on = {"status": "active"}
    with qemu({"return": going_on}, {"return": failed}) as monitor, pytest.raises(LabError, match="disk full"):
        monitor.migrated()


def test_forwards_are_read(qemu):
    with qemu({"return": USERNET}) as monitor:
        assert monitor.forwards() == {40383: "10.0.2.15:22", 8080: "10.0.2.50:80"}


def test_a_forward_that_is_there_stays(qemu):
    with qemu({"return": USERNET}) as monitor:
        monitor.forward(8080, "10.0.2.50:80")
    assert len(qemu.sent) == 2


def test_a_forward_moves(qemu):
    with qemu({"return": USERNET}, {"return": "host forwarding removed\r\n"}, {"return": ""}) as monitor:
        monitor.forward(8080, "10.0.2.51:80")
    lines = [sent["arguments"]["command-line"] for sent in qemu.sent[2:]]
    assert lines == ["hostfwd_remove n0 tcp:127.0.0.1:8080", "hostfwd_add n0 tcp:127.0.0.1:8080-10.0.2.51:80"]


def test_disk_is_unplugged_only_once_released(qemu):
    there, in_use = {"return": [{"node-name": "d1-0a", "drv": "raw"}]}, {"error": {"desc": "Node d1-0a is in use"}}
    asked, gone = {"error": {"desc": "Device d1-0a is already in the process of unplug"}}, {"return": {}}
    with qemu(gone, there, in_use, asked, there, gone, gone, {"return": []}) as monitor:
        assert [monitor.unplug("d1-0a") for _ in range(3)] == [False, True, True]
    assert [sent["execute"] for sent in qemu.sent[1:4]] == ["device_del", "query-named-block-nodes", "blockdev-del"]
