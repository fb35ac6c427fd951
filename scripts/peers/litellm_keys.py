"""The tenants' keys for LiteLLM, without a database: its custom authentication hook."""

import os

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth

TENANTS = {
    os.environ["KEY_ALICE"]: "alice",
    os.environ["KEY_ALICE_2"]: "alice",
    os.environ["KEY_BOB"]: "bob",
}
EACH = int(os.environ["SLOTS"]) // 2
IS_DYNAMIC = "LITELLM_DYNAMIC" in os.environ


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """The key's tenant as a team: half of the engine's slots for each key, or a priority for the dynamic limiter."""
    if api_key not in TENANTS:
        raise ValueError("unknown key")
    tenant = TENANTS[api_key]
    if IS_DYNAMIC:
        return UserAPIKeyAuth(api_key=api_key, team_id=tenant, metadata={"priority": tenant})
    return UserAPIKeyAuth(api_key=api_key, team_id=tenant, max_parallel_requests=EACH)
