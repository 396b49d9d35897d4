"""Neither a test nor a program that it starts reaches another machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest

OTHER = "203.0.113.1"  # an address reserved for documentation
CHILD = f"import socket\nsocket.create_connection(('{OTHER}', 9), timeout=30)"


def test_this_process_reaches_no_other_machine(network_block):
    with pytest.raises(OSError, match="no other machine"):
        socket.create_connection((OTHER, 9), timeout=30)
    with pytest.raises(OSError, match="no other machine"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (OTHER, 9))
    assert network_block.take() == [f"this process: {OTHER}"] * 2


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_program_reaches_no_other_machine(network_block):
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False)
    assert "unreachable" in done.stderr
    [refused] = network_block.take()
    assert refused.endswith(f": {OTHER}")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1"])
def test_this_machine_can_be_reached(network_block, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"{address} is not there")
    with server, socket.create_connection((address, server.getsockname()[1]), timeout=30):
        assert network_block.take() == []
