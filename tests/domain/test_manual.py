"""The arguments in a unikernel's manual page."""

from pathlib import Path

import pytest

from unibuild.deploy.argument_check import parse_help

PAGE = Path(__file__).with_name("manual_page.txt").read_bytes()  # of a Mirage 4.11 unikernel with a network


def test_manual_page_of_mirage():
    names = parse_help(b"Solo5: Bindings version v0.12.1\r\n" + PAGE.replace(b"\n", b"\r\n"))
    assert names == {
        *("--port", "--accept-router-advertisements", "--interface", "--ipv4", "--ipv4-gateway", "--ipv4-only"),
        *("--ipv6", "--ipv6-gateway", "--ipv6-only", "-l", "--logs", "--allocation-policy", "--backtrace"),
        *("--custom-major-ratio", "--custom-minor-max-size", "--custom-minor-ratio", "--gc-verbosity"),
        *("--gc-window-size", "--major-heap-increment", "--max-space-overhead", "--minor-heap-size"),
        *("--randomize-hashtables", "--space-overhead", "--stack-limit", "--delay", "--help", "--name"),
    }


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("       -v  Be verbose, or not --at-all", {"-v"}),
        ("       -l LEVEL, --logs=LEVEL", {"-l", "--logs"}),
        ("       -i [ID)], --id[=ID)] (default=10) (absent=0 or TEST_ID env)", {"-i", "--id"}),
        ("       (Deprecated) --old=VAL", {"--old"}),
        ("       --dns-servers=IP,IP (absent=--none, --at-all)", {"--dns-servers"}),
        ("       --a-name-that-is-long=VALUE,\n       --another=VALUE", {"--a-name-that-is-long", "--another"}),
        ("           --text-that-explains", set()),
        ("       a paragraph", set()),
    ],
)
def test_labels(label, names):
    assert parse_help(f"OPTIONS\n{label}\n\n       --help[=FMT]\n".encode()) == names | {"--help"}


@pytest.mark.parametrize("said", [b"", b"hello\n       --port=INT\n", PAGE[:1000]])
def test_incomplete_page_gives_no_arguments(said):
    assert parse_help(said) is None
