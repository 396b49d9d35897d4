"""A service: botocore's model of it, and the emulator's functions for its operations."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel

from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.model import OperationModel

    from .request import Params
    from .world import Region

    Handler = Callable[[Region, Params], Params | None]


@functools.cache
def model_of(service: str) -> ServiceModel:
    """Return botocore's model; reading EC2's takes half a second.

    It comes from a loader of its own, because a client of S3 removes the bucket from the paths in its loader's model.
    """
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@dataclass(frozen=True)
class Operation:
    """A function of the emulator with its model.

    Attributes:
        validates: Whether it checks its parameters before ``DryRun`` stops it, by calling ``commit``.
        locked: Whether it runs with the world's lock held.
    """

    run: Handler
    model: OperationModel
    validates: bool = False
    locked: bool = True


class Service:
    """The emulated operations of a service; a function's name is its operation's name in snake case."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._handlers: dict[str, tuple[Handler, dict[str, bool]]] = {}

    @property
    def model(self) -> ServiceModel:
        return model_of(self.name)

    def operation(self, handler: Handler | None = None, **traits: bool) -> Any:
        """Register a function: ``@EC2.operation``, or ``@EC2.operation(validates=True)``."""
        if handler is None:
            return functools.partial(self.operation, **traits)
        self._handlers[handler.__name__] = (handler, traits)
        return handler

    @functools.cached_property
    def operations(self) -> dict[str, Operation]:
        names = {xform_name(name): name for name in self.model.operation_names}
        return {
            names[snake]: Operation(handler, self.model.operation_model(names[snake]), **traits)
            for snake, (handler, traits) in self._handlers.items()
        }

    def find(self, name: str) -> Operation:
        found = self.operations.get(name)
        if found is None:
            raise AwsError("InvalidAction", f"The action {name} is not valid for this web service.")
        return found


def commit(params: Params) -> None:
    """Stop a dry run here, before anything is changed."""
    if params.get("DryRun"):
        raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
