"""The .xl of every version becomes one that today's xl takes, with each device where the unikernel looks for it."""

from __future__ import annotations

import pytest
import warm_cli

from unibuild.xlcfg.parser import parse

CONFIG = """open Mirage

let main = main "Unikernel.Main" (network @-> network @-> block @-> job)
let () = register "hello" [ main $ netif "0" $ netif "1" $ block_of_file "disk.img" ]
"""
SETTINGS = """host = "lab"
[xl.vif.1]
bridge = "back"
[xl.disk."disk.img"]
target = "/data.img"
[boot.args]
hello = "a b"
"""
VERSIONS = [
    ("2.6.1", "pv"),
    ("2.9.1", "pv"),
    ("3.6.0", "pv"),
    ("3.8.1", "pv"),
    ("3.10.8", "pvh"),
    ("4.0.0", "pvh"),
    ("4.11.1", "pvh"),
]


@pytest.mark.parametrize(("version", "kind"), VERSIONS)
def test_the_xl_of_a_version(unikernel, version, kind):
    unikernel.write("config.ml", CONFIG)
    unikernel.write("unibuild.toml", SETTINGS)
    code, output = warm_cli.run("unibuild", "xl", cwd=unikernel.root)
    assert code == 0, output
    config = parse((unikernel.root / ".unibuild/hello.xl").read_text())
    assert config.get("type") == kind
    assert config.get("builder") is None
    assert config.get("kernel") == f"{unikernel.root}/.unibuild/hello.xen"
    assert config.get("vif") == ["bridge=br1", "bridge=back"]
    assert config.get("disk") == ["format=raw, vdev=xvdb, access=rw, target=/data.img"]
    assert config.get("cmdline") == r"--hello=a\ b"


@pytest.mark.parametrize("version", ["4.11.1"])
def test_a_network_that_mirage_gets_later_makes_the_xl_stale(unikernel):
    unikernel.write("unibuild.toml", SETTINGS)
    unikernel.write("config.ml", CONFIG.replace(' $ netif "1"', ""))
    code, output = warm_cli.run("unibuild", "xl", cwd=unikernel.root)
    assert code == 0, output  # [xl.vif.1] adds one
    unikernel.write("config.ml", CONFIG.replace('netif "1"', 'netif "7"'))
    code, output = warm_cli.run("unibuild", "xl", cwd=unikernel.root)
    assert code == 0, output
    config = parse((unikernel.root / ".unibuild/hello.xl").read_text())
    assert config.get("vif") == ["bridge=br1", "bridge=back, devid=7"]
