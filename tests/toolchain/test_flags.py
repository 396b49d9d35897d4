"""Which arguments a release of mirage takes."""

from __future__ import annotations

import pytest

from unibuild.errors import SettingsError
from unibuild.toolchain.mirage import flags


@pytest.mark.parametrize(
    ("version", "args"),
    [
        ("4.11.1", ("--no-depext", "--no-dhcp", "-o", "out", "--anything=else")),
        ("4.4.2", ("--ipv4=10.0.0.2/24", "-l", "*:debug", "--dhcp")),
        ("2.6.1", ("--no-opam", "--no-depext")),
        ("1.1.3", ("--no-opam",)),
    ],
)
def test_what_a_release_has_is_taken(version, args):
    flags.refuse(args, version, "")


def test_what_config_ml_names_is_its_own():
    flags.refuse(("--ipv4=1",), "4.11.1", 'let ipv4 = Key.create "ipv4" arg\n')
    with pytest.raises(SettingsError):
        flags.refuse(("--ipv4=1",), "4.11.1", '(* "ipv4" *)\n')


@pytest.mark.parametrize(
    ("args", "output"),
    [((), None), (("-o", "a"), "a"), (("-oa",), "a"), (("--output=a.b", "-x"), "a.b"), (("--output", "a"), "a")],
)
def test_the_output_is_the_argument_of_o(args, output):
    assert flags.output_name(args) == output


@pytest.mark.parametrize("flag", flags.FLAGS, ids=lambda flag: flag.names[0])
def test_the_ranges_are_right(flag):
    assert all(first < end for first, end in flag.ranges)
    assert flag.has(flag.ranges[0][0])
    assert not flag.has(flag.ranges[-1][1])
