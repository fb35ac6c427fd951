"""What a request brings the engine in `vllm_xargs`: the client's own arguments, and the gateway's for the queue.

An engine that orders its own queue is told here who pays and with which weight. These names are the gateway's: what a
client writes there is dropped, also at an engine that does not order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

ARGUMENTS = "vllm_xargs"
TENANT, WEIGHT = "vtc_tenant", "vtc_weight"


@dataclass(frozen=True, slots=True)
class EngineTenant:
    """Who pays, for an engine that orders its own queue: `name` says nothing to whoever reads the engine's log."""

    name: str
    weight: float


def take_arguments(fields: dict[str, object]) -> dict[str, object] | None:
    """The client's own arguments, taken out of `fields`, None where it gave none; that it may is checked already."""
    own = fields.pop(ARGUMENTS, None)
    if own is None:
        return None
    if not isinstance(own, dict):
        raise RequestFault(Outcome.BAD_REQUEST, f"'{ARGUMENTS}' must be an object.", ARGUMENTS)
    return {name: value for name, value in own.items() if name not in (TENANT, WEIGHT)}


def with_tenant(own: Mapping[str, object] | None, tenant: EngineTenant) -> dict[str, object]:
    """The client's `own` arguments, and `tenant`."""
    return {**(own or {}), TENANT: tenant.name, WEIGHT: tenant.weight}
