"""The command `unibuild iam-policy`: print the smallest IAM policy that the configuration needs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from unibuild.ec2 import account
from unibuild.settings.loader import load
from unibuild.util.files import write_atomic

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run ``unibuild iam-policy`` with these arguments; return its exit status. AWS is not called.

    Raises:
        AwsError: no region is set.
        FileError: a document cannot be written.
        SettingsError: a setting is wrong.
    """
    from unibuild.aws import iam_policy

    parser = argparse.ArgumentParser(
        prog="unibuild iam-policy", description="Print the smallest IAM policy that this configuration needs, as JSON."
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings for this run")
    parser.add_argument("--region", help="the region of the AMIs; default: the one in the settings")
    parser.add_argument("--no-launch", action="store_true", help="leave out what launch_ami and redeploy need")
    parser.add_argument("--no-clean", action="store_true", help="leave out what `unibuild ami gc` and `rm` need")
    parser.add_argument(
        "--split",
        type=Path,
        metavar="FOLDER",
        help=f"write documents of at most {iam_policy.LIMIT} characters to this folder: policy-1.json ...",
    )
    asked = parser.parse_intermixed_args(argv)
    project = load(Path.cwd(), dict(word.partition("=")[::2] for word in asked.settings), required=False)
    region = account.open_account(project.settings.publish, asked.region).region
    name = account.unikernel_name(project)
    allowed = iam_policy.policy(project.settings, name, region, launch=not asked.no_launch, clean=not asked.no_clean)
    if asked.split:
        for number, document in enumerate(iam_policy.split(allowed), 1):
            path = asked.split / f"policy-{number}.json"
            write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())
            print(path)
        return 0
    print(json.dumps(allowed, indent=2))
    if (length := iam_policy.size(allowed)) > iam_policy.LIMIT:
        print(f"the policy has {length} characters, and a managed policy at most {iam_policy.LIMIT}", file=sys.stderr)
        print("  hint: unibuild iam-policy --split FOLDER writes several documents", file=sys.stderr)
    return 0
