"""The releases that config.ml asks for in its first line."""

from __future__ import annotations

import pytest

from unibuild.errors import MissingError
from unibuild.toolchain.mirage import config_ml


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("(* mirage >= 4.9.0 & < 4.12.0 *)", "4.9.0"),
        ("(* mirage >= 4.9.0 & < 4.12.0 *)", "4.11.1"),
        ("(*mirage>=4.9*)", "4.9.0"),
        ("(* mirage < 3.0 | >= 4.0 *)", "4.0.0"),
        ("(* mirage != 4.8.0 *)", "4.8.1"),
        ("(* mirage is nice *)", "1.0.0"),
        ("(* mirage >= *)", "1.0.0"),
        ("open Mirage (* mirage >= 4.9.0 *)", "1.0.0"),
        ("\n(* mirage >= 4.9.0 *)", "1.0.0"),
        ("", "1.0.0"),
    ],
)
def test_these_may_be_run(line, version):
    config_ml.check_required_release(f"{line}\nopen Mirage\n", version, "/bin/mirage", "config.ml")


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("(* mirage >= 4.9.0 & < 4.12.0 *)", "4.8.2"),
        ("(* mirage >= 4.9.0 & < 4.12.0 *)", "4.12.0"),
        ("(* mirage < 3.0 | >= 4.0 *)", "3.10.8"),
        ("(* mirage = 4.8.0 *)", "4.8.1"),
        ("(* mirage > 4.8 *)", "4.8.0"),
    ],
)
def test_these_may_not(line, version):
    with pytest.raises(
        MissingError, match=rf"^config\.ml asks in its first line for mirage .*, and /bin/mirage is {version}"
    ):
        config_ml.check_required_release(f"{line}\n", version, "/bin/mirage", "config.ml")
