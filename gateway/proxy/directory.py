"""Who may do what: the configuration in force, arranged for look-ups; replaced as a whole by a reload.

A key is found by its digest and compared in constant time; unknown and disabled keys are not told apart.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.config import Config, Pool, ResolvedKey, ShareBy, Tenant
from gateway.outcomes import Outcome
from gateway.wire.engine_arguments import EngineTenant
from gateway.wire.errors import RequestFault
from gateway.wire.request import Rights

ANONYMOUS_KEY = "anonymous"
_BY_END_USER: Final = ShareBy.END_USER
_UNKNOWN_KEY = "The API key is not valid. Check the key, or ask the gateway's operator for one."
_NO_KEY = "No API key was sent. Send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'."


@dataclass(frozen=True, slots=True)
class Identity:
    """Who pays: a tenant, and the key that the request came with."""

    tenant: Tenant
    key_id: str

    def flow(self, end_user: str | None) -> str:
        """What the tenant's share is divided by: the key, or the end user where the tenant says so."""
        if end_user and self.tenant.share_by is _BY_END_USER:
            return f"user:{end_user}"
        return self.key_id


class Directory:
    """Tenants, keys, pools and rights of one configuration."""

    def __init__(self, config: Config, salt_secret: bytes | None = None) -> None:
        """Arrange `config`; `salt_secret` keys the tenants' cache salts and lives as long as the process."""
        self.config = config
        self.salt_secret = salt_secret or secrets.token_bytes(32)
        self._keys: dict[bytes, tuple[Identity, ResolvedKey]] = {
            key.digest: (Identity(tenant, key.id), key) for tenant in config.tenants for key in tenant.keys
        }
        self._pools = {name: pool for pool in config.pools for name in pool.names}
        anonymous = next((t for t in config.tenants if t.name == config.anonymous.tenant), None)
        self._anonymous = None if anonymous is None else Identity(anonymous, ANONYMOUS_KEY)
        self._granted: dict[tuple[str, str], Pool] = {}
        self._rights: dict[str, Rights] = {}
        self._payers: dict[str, EngineTenant] = {}

    def identify(self, key: str | None) -> Identity:
        """The identity behind `key`; raises `RequestFault` (401) where there is none."""
        if key is None:
            if self._anonymous is None:
                raise RequestFault(Outcome.UNAUTHENTICATED, _NO_KEY)
            return self._anonymous
        presented = _digest(key)
        identity, known = self._keys.get(presented, (None, None))
        if identity is None or known is None or known.disabled or not hmac.compare_digest(known.digest, presented):
            raise RequestFault(Outcome.UNAUTHENTICATED, _UNKNOWN_KEY)
        return identity

    def is_admin(self, key: str | None) -> bool:
        """True where `key` is the admin key."""
        expected = self.config.admin.digest
        return expected is not None and key is not None and hmac.compare_digest(expected, _digest(key))

    def pool(self, tenant: Tenant, model: str) -> Pool:
        """The pool that serves `model` to `tenant`; raises `RequestFault` (404, as for a model that does not exist)."""
        granted = self._granted.get((tenant.name, model))
        if granted is not None:
            return granted
        pool = self._pools.get(model)
        if pool is None or not tenant.may_use(pool, model):
            known = ", ".join(sorted(self.models(tenant))[:20]) or "none"
            raise RequestFault(
                Outcome.UNKNOWN_MODEL,
                f"The model '{model[:100]}' does not exist or this key may not use it. Models of this key: {known}.",
                "model",
            )
        self._granted[tenant.name, model] = pool
        return pool

    def models(self, tenant: Tenant) -> dict[str, Pool]:
        """Every name that `tenant` may use: models, aliases and adapters."""
        return {name: pool for name, pool in self._pools.items() if tenant.may_use(pool, name)}

    def stand_in(self, tenant: Tenant, pool: Pool, serves: Callable[[str], bool]) -> Pool:
        """`pool`, or where it does not serve the first of its chain of fallbacks that does and that `tenant` may use.

        Where none does it is `pool` itself. The configuration has no ring of fallbacks.
        """
        other: Pool | None = pool
        while other is not None:
            if serves(other.model) and (other is pool or tenant.may_use(other)):
                return other
            other = None if other.fallback is None else self._pools.get(other.fallback)  # none: it comes with a restart
        return pool

    def rights(self, tenant: Tenant) -> Rights:
        """What the tenant's requests may ask for."""
        rights = self._rights.get(tenant.name)
        if rights is None:
            limits = tenant.limits
            rights = self._rights[tenant.name] = Rights(
                allow=frozenset(right.value for right in tenant.allow),
                strict=tenant.strict,
                max_output_tokens=limits.max_output_tokens,
                max_choices=limits.max_choices,
                max_logprobs=limits.max_logprobs,
                max_logit_bias=limits.max_logit_bias,
            )
        return rights

    def payer(self, tenant: Tenant) -> EngineTenant:
        """The tenant under the name that engines know: a keyed hash, which salts their prefix caches too.

        The salt keeps the caches from telling tenants about each other.
        """
        payer = self._payers.get(tenant.name)
        if payer is None:
            mac = hmac.new(self.salt_secret, tenant.name.encode(), hashlib.sha256)
            payer = self._payers[tenant.name] = EngineTenant(mac.hexdigest(), tenant.weight)
        return payer


def _digest(key: str) -> bytes:
    """SHA-256 of the key's bytes as they came: a header's that are not UTF-8 arrive as lone surrogates."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
