"""The world of the emulator: an account, its regions, and what is in them. The services' modules act on it."""

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
    """How long something is not to be seen after it was made: so many seconds, and so many questions."""

    seconds: float = 0.0
    calls: int = 0


@dataclass
class Timing:
    """How long AWS takes, in seconds on the world's clock; nothing takes time unless a test says so."""

    snapshot_appears: Delay = Delay()
    """Until EBS direct's PutSnapshotBlock no longer says that the new snapshot does not exist."""
    snapshot_completes: float = 0.0
    image_appears: Delay = Delay()
    """Until DescribeImages and RunInstances know an AMI that RegisterImage or CopyImage returned."""
    image_available: float = 0.0
    tags_appear: Delay = Delay()
    """Until a new snapshot or AMI is found by its tags or its name; by its id it is."""
    copy_completes: float = 0.0
    """Until the AMI and the snapshots of CopyImage are there."""
    instance_appears: Delay = Delay()
    """Until DescribeInstances knows what RunInstances returned."""
    instance_runs: float = 0.0
    instance_checks: float = 0.0
    """Until the status checks of a running instance say "ok"."""
    console_appears: float = 0.0
    import_completes: float = 0.0
    instance_ends: float = 0.0
    """Until an instance that is stopped or terminated is so."""


@dataclass
class Quotas:
    """What AWS allows; the defaults are those of a new account's documentation."""

    pending_snapshots: int = 100
    puts_per_second: int = 1000
    vcpus: int = 32
    addresses: int = 5


class Unseen:
    """Things that were made, and are not to be seen everywhere yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, tuple[float, int]] = {}

    def hide(self, name: str, delay: Delay) -> None:
        if delay != Delay():
            self._until[name] = (self._clock.now() + delay.seconds, delay.calls)

    def end(self) -> None:
        """Let everything be seen, as it is after a while."""
        self._until.clear()

    def hides(self, name: str) -> bool:
        """Tell whether it is still not to be seen; each question counts."""
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
    """What is in one region. ``tokens`` remembers ClientTokens: what was asked, and the id that was made."""

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
    """What names an AMI, by its id: types and ARNs of resources that no service of the emulator has."""
    encrypts_by_default: bool = False
    """The account's setting that every new snapshot and volume is encrypted."""
    http_tokens_enforced: bool = False
    """The account's setting that every instance asks its metadata service with tokens (IMDSv2)."""
    block_snapshot_access: bool = False
    """Snapshots may not be shared with all."""

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
        """The AMIs of the account itself, by id."""
        return {name: image for name, image in self.images.items() if image.owner == ACCOUNT}

    def once(self, operation: str, params: Params, make: Callable[[], str], mismatch: AwsError) -> str:
        """Return the id that a ClientToken stands for: of an earlier call, or what ``make`` makes now.

        Raises:
            AwsError: ``mismatch``, where the earlier call had other parameters.
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
        """Return the ARN of a KMS key by its ARN, id or alias; the account's default key where none is named."""
        for alias, arn in self.kms.items():
            if (named or "alias/aws/ebs") in (alias, arn, arn.rpartition("/")[2], self.arn("kms", alias)):
                return arn
        raise AwsError("InvalidKmsKey.NotFound" if named else "KMSKeyNotFoundException", f"There is no key {named}")


class World:
    """An account in all its regions.

    Attributes:
        console: What an instance has said on its console: called with the Instance, returns text. Its ``volume`` is
            what it was booted from.
        caller: Who is calling; only while an operation runs.
        public_ips: The public and Elastic IPs that come next; of 203.0.113.0/24, which is for documentation only, where
            a test gives no others. Only loopback addresses and those for documentation are given out.
        no_capacity: Instance types of which there are none left.
        block_public_access: AMIs may not be shared with all.
        buckets: By name, those of all regions; ``taken_buckets`` are names that others have.
        trusting: Roles that whoever has keys may assume, with their policies (None: everything).
        sessions: Who has assumed one, by access key.
        roles: What the import service may assume ("vmimport"), with a pattern of the buckets that each may read.
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
        """Return the one of equal blocks that is kept."""
        return self._blocks.setdefault(block.digest, block)

    @property
    def stored(self) -> int:
        """Bytes of all the different blocks that were ever put."""
        return len(self._blocks) * BLOCK
