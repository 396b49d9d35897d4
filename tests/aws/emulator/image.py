"""An EC2 image: a machine image (AMI) or a kernel image (AKI)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .world import ACCOUNT
from .xml_protocol import iso

if TYPE_CHECKING:
    from .request import Params
    from .world import Region


@dataclass(eq=False)
class Image:
    """An image; times are seconds on the world's clock.

    Attributes:
        mappings: Block device mappings, in the shape of the API.
        delay: Seconds after ``created`` during which it is "pending".
        permissions: Launch permissions, in the shape of the API.
        settings: Members that are returned unchanged: BootMode, EnaSupport ...
        protected: The state of its deregistration protection.
        source: Region and id of the AMI that it was copied from.
    """

    id: str
    name: str
    created: float
    description: str = ""
    kind: str = "machine"
    owner: str = ACCOUNT
    owner_alias: str | None = None
    architecture: str = "i386"
    virtualization: str = "paravirtual"
    kernel: str | None = None
    ramdisk: str | None = None
    root_device: str | None = None
    root_type: str = "ebs"
    mappings: list[dict[str, Any]] = field(default_factory=list)
    delay: float = 0.0
    public: bool = False
    permissions: list[dict[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    deprecated: str | None = None
    protected: str = "disabled"
    unprotected: float | None = None
    launched: float | None = None
    source: tuple[str, str] | None = None

    def state(self, now: float) -> str:
        return "available" if now >= self.created + self.delay else "pending"

    def is_deprecated(self, now: float) -> bool:
        return self.deprecated is not None and self.deprecated <= iso(now)

    @property
    def snapshot_ids(self) -> list[str]:
        found = [mapping.get("Ebs", {}).get("SnapshotId") for mapping in self.mappings]
        return [snapshot for snapshot in found if snapshot]

    @property
    def root(self) -> dict[str, Any]:
        """The EBS part of the root device's mapping."""
        return next((m.get("Ebs", {}) for m in self.mappings if m.get("DeviceName") == self.root_device), {})

    def view(self, region: Region) -> Params:
        """Return it in the shape of DescribeImages, without its tags."""
        region_of, source = self.source or (None, None)
        return {
            "ImageId": self.id,
            "Name": self.name,
            "ImageLocation": f"{self.owner_alias or self.owner}/{self.name}",
            "Description": self.description or None,
            "CreationDate": iso(self.created),
            "ImageType": self.kind,
            "OwnerId": self.owner,
            "ImageOwnerAlias": self.owner_alias,
            "State": self.state(region.now),
            "Architecture": self.architecture,
            "VirtualizationType": self.virtualization,
            "Hypervisor": "xen",
            "KernelId": self.kernel,
            "RamdiskId": self.ramdisk,
            "RootDeviceName": self.root_device,
            "RootDeviceType": self.root_type,
            "BlockDeviceMappings": self.mappings,
            "Public": self.public,
            "DeprecationTime": self.deprecated,
            "DeregistrationProtection": self.protected if self.kind == "machine" else None,
            "LastLaunchedTime": iso(self.launched) if self.launched is not None else None,
            "SourceImageId": source,
            "SourceImageRegion": region_of,
            "PlatformDetails": "Linux/UNIX",
            "UsageOperation": "RunInstances",
            **self.settings,
        }
