"""`python -m emulator` (in tests/aws): an emulator for programs outside of the tests, until its standard input ends.

It prints the variables with which boto3 finds it, one a line.
"""

from __future__ import annotations

import argparse
import sys

from emulator import Emulator


def main() -> None:
    parser = argparse.ArgumentParser(prog="emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each call takes more")
    options = parser.parse_args()
    with Emulator(port=options.port) as emulator:
        emulator.faults.latency = options.latency
        for name, value in emulator.environment().items():
            print(f"{name}={value}", flush=True)
        sys.stdin.read()


main()
