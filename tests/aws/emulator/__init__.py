"""A strict emulator of EC2, EBS direct and related services, as an HTTP server on 127.0.0.1.

It checks signatures, decodes requests and encodes answers by botocore's own service models, and refuses what AWS
refuses. ``Emulator`` is the server, ``World`` its state.
"""

from __future__ import annotations

from .clock import Clock, ManualClock
from .errors import AwsError
from .faults import Faults
from .server import Emulator
from .world import Delay, Quotas, Region, Timing, World

__all__ = ["AwsError", "Clock", "Delay", "Emulator", "Faults", "ManualClock", "Quotas", "Region", "Timing", "World"]
