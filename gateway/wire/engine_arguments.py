"""What a request brings the engine in `vllm_xargs`: the client's own arguments, and the gateway's for the queue.

An engine that orders its own queue is told here who pays and with which weight. These names are the gateway's: what a
client writes there is dropped, also at an engine that does not order.
"""

from dataclasses import dataclass

import orjson

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault
from gateway.wire.json_body import write_json

ARGUMENTS = "vllm_xargs"
TENANT, WEIGHT = "vtc_tenant", "vtc_weight"


@dataclass(frozen=True, slots=True)
class EngineTenant:
    """Who pays, for an engine that orders its own queue: `name` says nothing to whoever reads the engine's log."""

    name: str
    weight: float


def take_arguments(fields: dict[str, object]) -> bytes | None:
    """The client's own arguments as JSON, out of `fields`, None where it gave none; that it may is checked already."""
    own = fields.pop(ARGUMENTS, None)
    if own is None:
        return None
    if not isinstance(own, dict):
        raise RequestFault(Outcome.BAD_REQUEST, f"'{ARGUMENTS}' must be an object.", ARGUMENTS)
    return write_json({name: value for name, value in own.items() if name not in (TENANT, WEIGHT)})


def with_tenant(own: bytes | None, tenant: EngineTenant) -> bytes:
    """The client's `own` arguments, and `tenant`."""
    told = orjson.dumps({TENANT: tenant.name, WEIGHT: tenant.weight})
    return told if own is None or own == b"{}" else own[:-1] + b"," + told[1:]
