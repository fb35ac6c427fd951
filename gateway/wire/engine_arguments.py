"""Writes `vllm_xargs`: the client's own arguments, and the gateway's for an engine that orders its own queue.

The gateway tells such an engine which tenant pays and with which weight. The names of these two arguments are
reserved: the gateway drops what a client writes there, even if the engine does not order its queue.
"""

from dataclasses import dataclass
from typing import Final

import orjson

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault
from gateway.wire.json_body import write_json

ARGUMENTS: Final = "vllm_xargs"
TENANT, WEIGHT = "vtc_tenant", "vtc_weight"


@dataclass(frozen=True, slots=True)
class EngineTenant:
    """Who pays, for an engine that orders its own queue; `name` reveals nothing to a reader of the engine's log."""

    name: str
    weight: float


def take_arguments(fields: dict[str, object]) -> bytes | None:
    """Remove the client's own arguments from `fields` and return them as JSON; None if there are none.

    The caller has checked that the tenant may send arguments. Raises `RequestFault` if they are no object.
    """
    own = fields.pop(ARGUMENTS, None)
    if own is None:
        return None
    if not isinstance(own, dict):
        raise RequestFault(Outcome.BAD_REQUEST, f"'{ARGUMENTS}' must be an object.", ARGUMENTS)
    return write_json({name: value for name, value in own.items() if name not in (TENANT, WEIGHT)})


def with_tenant(own: bytes | None, tenant: EngineTenant) -> bytes:
    """The client's `own` arguments together with those that name `tenant`, as JSON."""
    ours = orjson.dumps({TENANT: tenant.name, WEIGHT: tenant.weight})
    return ours if own is None or own == b"{}" else own[:-1] + b"," + ours[1:]
