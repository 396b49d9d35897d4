"""Launch AMIs in the emulator, in the test's own process or in a process that can be killed."""

from __future__ import annotations

import contextlib
import http.server
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import warm_cli

from unibuild.aws import inventory
from unibuild.aws.launch import records
from unibuild.ec2.account import open_account
from unibuild.ec2.launch import locked_launch
from unibuild.settings.loader import load, state_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ami_project import AmiProject
    from emulator.calls import Call

RUN = """
import sys
from pathlib import Path
from unibuild.aws import inventory
from unibuild.settings.loader import load
from unibuild.ec2.account import open_account
from unibuild.ec2.launch import locked_launch

project = load(Path.cwd())
aws = open_account(project.settings.publish)
ami = next(one for one in inventory.list_amis(aws, aws.region) if one.id == sys.argv[1])
with locked_launch(project, aws, aws.region) as launch:
    launch.run(ami, replace=True, terminate=False)
"""


class Launches:
    """The launches of a project in us-east-1."""

    def __init__(self, project: AmiProject) -> None:
        self.project, self.aws = project, project.aws
        self.ready('console = "^ready$"')
        self.aws.world.console = lambda instance: "booting\nready\n"

    def ready(self, text: str, launch: str = "") -> None:
        build = '[build]\nkernel = "hello.xen"\n[publish]\nverify = "none"\n'
        self.project.settings(f"{build}[boot.ready]\n{text}\n[launch]\n{launch}\n")

    def kernel(self, data: bytes) -> None:
        """Make the project's Makefile build this kernel."""
        (self.project.root / "made.xen").write_bytes(data)
        (self.project.root / "Makefile").write_text("hello.xen: made.xen\n\tcp made.xen $@\n")

    def run(self, image: str, *, replace: bool = False, terminate: bool = False) -> None:
        project = load(self.project.root)
        aws = open_account(project.settings.publish)
        ami = next(one for one in inventory.list_amis(aws, aws.region) if one.id == image)
        with locked_launch(project, aws, aws.region) as launch:
            launch.run(ami, replace=replace, terminate=terminate)

    def killed(self, image: str, operation: str, moment: str) -> None:
        """Redeploy an AMI in a process that is killed before or after AWS does an operation."""
        program = subprocess.Popen([sys.executable, "-c", RUN, image], cwd=self.project.root, text=True)

        def watch(call: Call, now: str) -> None:
            if call.operation == operation and now == moment:
                program.kill()
                program.wait()

        self.aws.faults.watch = watch
        assert program.wait(200) == -signal.SIGKILL
        self.aws.faults.watch = None

    def goal(self, *words: str, code: int = 0) -> str:
        """Run a goal of unibuild and return its output."""
        found, output = warm_cli.run("unibuild", *words, cwd=self.project.root)
        assert found == code, output
        return output

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``unibuild`` in a new process."""
        argv = [str(Path(sys.executable).parent / "unibuild"), *words]
        return subprocess.Popen(
            argv,
            cwd=self.project.root,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def record(self) -> records.RegionLaunches:
        return records.load(state_dir(self.project.root), "us-east-1")

    @property
    def alive(self) -> dict[str, str]:
        """The AMIs of the running and starting instances, by instance id."""
        region = self.aws.region()
        return {
            name: one.image.id
            for name, one in region.instances.items()
            if one.state(region.now) in ("pending", "running")
        }

    def tags(self, name: str) -> dict[str, str]:
        return self.aws.region().tags[name]

    def leads_to(self, address: str) -> str | None:
        return self.aws.region().network.addresses[address].instance


@contextlib.contextmanager
def page(address: str) -> Iterator[int]:
    """Serve HTTP at a loopback address; yield the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
