"""EC2: each module has the operations on one kind of resource, and registers them on import."""

from __future__ import annotations

from emulator.service import Service

EC2 = Service("ec2")

from . import (  # noqa: E402
    addresses,  # noqa: F401
    groups,  # noqa: F401
    image_life,  # noqa: F401
    images,  # noqa: F401
    imports,  # noqa: F401
    instances,  # noqa: F401
    launch,  # noqa: F401
    network,  # noqa: F401
    settings,  # noqa: F401
    snapshots,  # noqa: F401
    tags,  # noqa: F401
    templates,  # noqa: F401
    types,  # noqa: F401
)
