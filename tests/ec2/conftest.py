"""The fixtures of the emulated AWS."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "aws"))
from aws_fixtures import *  # noqa: F403
