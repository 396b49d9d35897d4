"""The state of the emulator: an account, its regions and their resources. The services' modules change it."""

from __future__ import annotations

import itertools
import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .clock import Clock
from .errors import AwsError, unknown_id
from .network import Network, add_vpc
from .snapshot import BLOCK, Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .image import Image
    from .instance import Instance
    from .request import Params
    from .s3 import Bucket
    from .signing import Principal
    from .snapshot import Snapshot

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Delay:
    """How long a new resource is not visible: a number of seconds, and a number of calls that ask for it."""

    seconds: float = 0.0
    calls: int = 0


@dataclass
class Timing:
    """The durations in AWS, in seconds on the world's clock; all are zero by default."""

    snapshot_appears: Delay = Delay()
    """Until EBS direct's PutSnapshotBlock no longer says that the new snapshot does not exist."""
    snapshot_completes: float = 0.0
    image_appears: Delay = Delay()
    """Until DescribeImages and RunInstances know an AMI that RegisterImage or CopyImage returned."""
    image_available: float = 0.0
    tags_appear: Delay = Delay()
    """Until a new snapshot or AMI is found by its tags or name; by its id it is found at once."""
    copy_completes: float = 0.0
    """Until the AMI and the snapshots of CopyImage are available."""
    instance_appears: Delay = Delay()
    """Until DescribeInstances knows an instance that RunInstances returned."""
    instance_runs: float = 0.0
    instance_checks: float = 0.0
    """Until the status checks of a running instance say "ok"."""
    console_appears: float = 0.0
    import_completes: float = 0.0
    instance_ends: float = 0.0
    """Until the stop or termination of an instance is complete."""


@dataclass
class Quotas:
    """The quotas; the defaults are the documented ones of a new account."""

    pending_snapshots: int = 100
    puts_per_second: int = 1000
    vcpus: int = 32
    addresses: int = 5


class Unseen:
    """New resources that are not visible everywhere yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, int]] = {}

    def hide(self, name: str, delay: Delay) -> None:
        if delay != Delay():
            self._until[name] = (self._clock.now() + delay.seconds, delay.calls)

    def end(self) -> None:
        """Make all resources visible, as they are after a while."""
        self._until.clear()

    def hides(self, name: str) -> bool:
        """Return whether a resource is still not visible; each call counts."""
        if name not in self._until:
            return False
        until, calls = self._until[name]
        if calls <= 0 and self._clock.now() >= until:
            del self._until[name]
            return False
        self._until[name] = (until, calls - 1)
        return True


@dataclass
class Region:
    """The resources of one region. ``tokens`` has for each ClientToken the parameters and the new id."""

    name: str
    world: World = field(repr=False)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[tuple[str, str], tuple[Any, str]] = field(default_factory=dict)
    kms: dict[str, str] = field(default_factory=dict)
    """KMS keys: their names ("alias/aws/ebs") and their ARNs."""
    instances: dict[str, Instance] = field(default_factory=dict)
    network: Network = field(default_factory=Network)
    templates: dict[str, Params] = field(default_factory=dict)
    scaling_groups: dict[str, Params] = field(default_factory=dict)
    launch_configurations: dict[str, Params] = field(default_factory=dict)
    imports: dict[str, Params] = field(default_factory=dict)
    references: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Resources that name an AMI, by its id: types and ARNs of resources in services that are not emulated."""
    encrypts_by_default: bool = False
    """The account's setting to encrypt every new snapshot and volume."""
    http_tokens_enforced: bool = False
    """The account's setting to require tokens for every instance's metadata service (IMDSv2)."""
    block_snapshot_access: bool = False
    """The account's setting to forbid public snapshots."""

    def __post_init__(self) -> None:
        self.kms["alias/aws/ebs"] = self.arn("kms", "key/" + self.world.hex(8))
        self.unseen = Unseen(self.world.clock)

    @property
    def now(self) -> float:
        return self.world.clock.now()

    @property
    def zones(self) -> list[str]:
        return [f"{self.name}{letter}" for letter in "abc"]

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.name}:{ACCOUNT}:{resource}"

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{self.world.hex(17)}"

    def snapshot(self, snapshot_id: str) -> Snapshot:
        if snapshot_id not in self.snapshots:
            raise unknown_id("Snapshot", snapshot_id)
        return self.snapshots[snapshot_id]

    def image(self, image_id: str) -> Image:
        if image_id not in self.images or self.unseen.hides(image_id):
            raise unknown_id("AMIID", image_id)
        return self.images[image_id]

    @property
    def own_images(self) -> dict[str, Image]:
        """The account's own AMIs, by id."""
        return {name: image for name, image in self.images.items() if image.owner == ACCOUNT}

    def once(self, operation: str, params: Params, make: Callable[[], str], mismatch: AwsError) -> str:
        """Return the id for a ClientToken: that of an earlier call, or of the resource that ``make`` creates now.

        Raises:
            AwsError: ``mismatch``, if the earlier call had other parameters.
        """
        token = params.get("ClientToken")
        asked = {key: value for key, value in params.items() if key not in ("ClientToken", "DryRun")}
        if token is None:
            return make()
        if (operation, token) not in self.tokens:
            self.tokens[operation, token] = (asked, make())
        before, made = self.tokens[operation, token]
        if before != asked:
            raise mismatch
        return made

    def kms_key(self, named: str | None) -> str:
        """Return the ARN of a KMS key by its ARN, id or alias; without a name, that of the account's default key."""
        for alias, arn in self.kms.items():
            if (named or "alias/aws/ebs") in (alias, arn, arn.rpartition("/")[2], self.arn("kms", alias)):
                return arn
        raise AwsError("InvalidKmsKey.NotFound" if named else "KMSKeyNotFoundException", f"There is no key {named}")


class World:
    """An account in all its regions.

    Attributes:
        console: Called with an Instance, returns the text on its console. The instance booted from its ``volume``.
        caller: The caller of the running operation.
        public_ips: The next public and Elastic IPs, by default those of 203.0.113.0/24, which is reserved for
            documentation. Only loopback and documentation addresses are allowed.
        no_capacity: Instance types without free capacity.
        block_public_access: Whether public AMIs are forbidden.
        buckets: The buckets of all regions, by name; ``taken_buckets`` are names that belong to other accounts.
        trusting: Roles that any known caller may assume, with their policies (None: everything).
        sessions: The principals that have assumed a role, by access key.
        roles: Roles for the import service ("vmimport"), with a pattern of the buckets that each may read.
    """

    def __init__(self, clock: Clock | None = None, seed: int = 1) -> None:
        self.clock = clock or Clock()
        self.lock = threading.RLock()
        self.timing = Timing()
        self.quotas = Quotas()
        self.regions: dict[str, Region] = {}
        self.console: Callable[[Instance], str] = lambda instance: ""
        self.caller: Principal
        self.public_ips: Iterator[str] = (f"203.0.113.{number % 254 + 1}" for number in itertools.count())
        self.no_capacity: set[str] = set()
        self.block_public_access = False
        self.buckets: dict[str, Bucket] = {}
        self.taken_buckets: set[str] = set()
        self.roles: dict[str, str] = {}
        self.trusting: dict[str, dict[str, Any] | None] = {}
        self.sessions: dict[str, Principal] = {}
        self._random = random.Random(seed)
        self._blocks: dict[bytes, Block] = {}
        self.seal = self._random.randbytes(16)

    def region(self, name: str) -> Region:
        from .kernels import add_kernels

        with self.lock:
            if name not in self.regions:
                self.regions[name] = Region(name, self)
                add_kernels(self.regions[name])
                add_vpc(self.regions[name], default=True)
            return self.regions[name]

    def new_public_ip(self) -> str:
        found = next(self.public_ips)
        assert found.startswith(("127.", "203.0.113.")), f"{found} may be somebody's"
        return found

    def hex(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def keep(self, block: Block) -> Block:
        """Return the stored block that equals a block, and store it first if there is none."""
        return self._blocks.setdefault(block.digest, block)

    @property
    def stored(self) -> int:
        """The size of all different blocks that were ever put, in bytes."""
        return len(self._blocks) * BLOCK
