"""EC2: each module has the operations of one kind of thing; to import them is to register them."""

from __future__ import annotations

from emulator.service import Service

EC2 = Service("ec2")

from . import addresses, image_life, images, imports, instances, launch, network, snapshots, tags, templates, types  # noqa: E402, F401
