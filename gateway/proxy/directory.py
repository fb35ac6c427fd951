"""Who may do what: the configuration in force, arranged for look-ups; a reload replaces it as a whole.

Each request is judged by one `Identity` of one directory. The identity holds all that this takes, so the parts of two
configurations never mix, even where both use the same name. A key is found by its digest and compared in constant
time; the answer to an unknown key is the same as to a disabled one. If a request carries several keys, those that
belong to nobody are ignored; two known keys are refused, because either could be meant to pay.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.config import Config, ExcessOutput, Pool, ResolvedKey, ShareBy, Tenant
from gateway.outcomes import Outcome
from gateway.wire.engine_arguments import EngineTenant
from gateway.wire.errors import RequestFault
from gateway.wire.request import Rights

ANONYMOUS_KEY: Final = "anonymous"
_OUR_KEYS_BEGIN: Final = "vtc-"
_BY_END_USER: Final = ShareBy.END_USER
_UNKNOWN_KEY: Final = (
    "The API key is not valid. Check the key, which is sent as 'Authorization: Bearer <key>' or 'x-api-key: <key>', "
    "or ask the gateway's operator for one."
)
_TWO_KEYS = "Two API keys of this gateway were sent, in Authorization and x-api-key. Send the one that is to pay."
_NO_KEY: Final = "No API key was sent. Send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'."
_LISTED_MODELS: Final = 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Who pays, and all that requests of this key are judged by, as one configuration says it.

    `models` has a pool for every name that the tenant may use; `payer` is the tenant as engines know it.
    """

    directory: "Directory"
    tenant: Tenant
    key_id: str
    rights: Rights
    models: Mapping[str, Pool]
    payer: EngineTenant

    def flow(self, end_user: str | None) -> str:
        """The flow of a request within its tenant's share: its key, or its end user if the tenant says so."""
        if end_user and self.tenant.share_by is _BY_END_USER:
            return f"user:{end_user}"
        return self.key_id

    def pool(self, model: str) -> Pool:
        """The pool that serves `model`; raises `RequestFault` (404) if there is none, or none for this key."""
        pool = self.models.get(model)
        if pool is None:
            known = ", ".join(sorted(self.models)[:_LISTED_MODELS]) or "none"
            raise RequestFault(
                Outcome.UNKNOWN_MODEL,
                f"The model '{model[:100]}' does not exist or this key may not use it. Models of this key: {known}.",
                "model",
            )
        return pool

    def fallback_for(self, pool: Pool, serves: Callable[[str], bool], awaits: Callable[[str], bool]) -> Pool:
        """`pool` if it serves, else the first in its chain of fallbacks that serves and that the tenant may use.

        If none serves, this is the first for which requests may wait, else `pool` itself.
        """
        return self._first(pool, serves) or self._first(pool, awaits) or pool

    def _first(self, pool: Pool, holds: Callable[[str], bool]) -> Pool | None:
        """The first pool of the chain for which `holds` is true; a configuration's chains have no ring."""
        other: Pool | None = pool
        while other is not None:
            if holds(other.model) and (other is pool or other.model in self.models):
                return other
            other = self.directory.fallback_of(other)
        return None

    def confirm(self, before: "Identity", pools: Mapping[str, str], rights: frozenset[str]) -> None:
        """Raise `RequestFault` if a request that was admitted as `before` would be turned away under this identity.

        `pools` has the pool's model for each name that led the request there; `rights` are those that the request
        uses. The fault is the one that a new request would get: for its key (401), its model (404) or a right (403).
        """
        if self.tenant.name != before.tenant.name:
            raise RequestFault(Outcome.UNAUTHENTICATED, _UNKNOWN_KEY)
        for name, pool in pools.items():
            if self.pool(name).model != pool:
                message = f"The model '{name[:100]}' was given to other workers while the request waited. Retry."
                raise RequestFault(Outcome.UNKNOWN_MODEL, message, "model")
        for right in sorted(rights - self.rights.allow):
            message = f"The request needs the right '{right}', which this tenant no longer has."
            raise RequestFault(Outcome.FORBIDDEN, message)


class Directory:
    """Tenants, keys, pools and rights of one configuration."""

    def __init__(self, config: Config, salt_secret: bytes | None = None) -> None:
        """Arrange `config`; `salt_secret` is the key of the tenants' cache salts and lives as long as the process.

        Without one a key is drawn, which no other gateway has.
        """
        self.config = config
        self.salt_secret = salt_secret or secrets.token_bytes(32)
        self._keys: dict[bytes, tuple[Tenant, ResolvedKey]] = {
            key.digest: (tenant, key) for tenant in config.tenants for key in tenant.keys
        }
        self._pools = {name: pool for pool in config.pools for name in pool.names}
        self._anonymous = next((t for t in config.tenants if t.name == config.anonymous.tenant), None)
        self._identities: dict[bytes, Identity] = {}  # by the digest of a key that this configuration has
        self._models: dict[tuple[str, ...], Mapping[str, Pool]] = {}  # by the value of a tenant's `models`

    def identify(self, keys: Sequence[str]) -> Identity:
        """The identity behind `keys`; raises `RequestFault` if none of them is known (401), or two are (400)."""
        found = [owner for key in keys if (owner := self._owner(_digest(key))) is not None]
        if len(found) > 1:
            raise RequestFault(Outcome.BAD_REQUEST, _TWO_KEYS)
        if found:
            return self._identity(*found[0])
        # SDKs demand a key, so anonymous clients send a placeholder. A key in our own form is no placeholder.
        if self._anonymous is not None and not any(key.startswith(_OUR_KEYS_BEGIN) for key in keys):
            return self._identity(b"", self._anonymous, ANONYMOUS_KEY)
        raise RequestFault(Outcome.UNAUTHENTICATED, _UNKNOWN_KEY if keys else _NO_KEY)

    def _owner(self, presented: bytes) -> tuple[bytes, Tenant, str] | None:
        """The digest, the tenant and the id of the enabled key with the digest `presented`; None if there is none."""
        tenant, known = self._keys.get(presented, (None, None))
        if tenant is None or known is None or known.disabled or not hmac.compare_digest(known.digest, presented):
            return None
        return presented, tenant, known.id

    def _identity(self, presented: bytes, tenant: Tenant, key_id: str) -> Identity:
        identity = self._identities.get(presented)
        if identity is None:
            models, payer = self._usable(tenant), self._payer(tenant)
            identity = Identity(self, tenant, key_id, _rights(tenant), models, payer)
            self._identities[presented] = identity
        return identity

    def is_admin(self, keys: Sequence[str]) -> bool:
        """True if one of the presented `keys` is the admin key."""
        expected = self.config.admin.digest
        return expected is not None and any(hmac.compare_digest(expected, _digest(key)) for key in keys)

    def fallback_of(self, pool: Pool) -> Pool | None:
        """The fallback pool of `pool`; None if it has none."""
        return None if pool.fallback is None else self._pools.get(pool.fallback)

    def _usable(self, tenant: Tenant) -> Mapping[str, Pool]:
        """The pool for every name that the tenant may use: models, aliases and adapters."""
        usable = self._models.get(tenant.models)
        if usable is None:
            usable = {name: pool for name, pool in self._pools.items() if tenant.may_use(pool, name)}
            self._models[tenant.models] = usable
        return usable

    def _payer(self, tenant: Tenant) -> EngineTenant:
        """The tenant as engines know it: its name is a keyed hash, which also salts their prefix caches.

        The salt keeps one tenant from learning by the cache what another one sent.
        """
        mac = hmac.new(self.salt_secret, tenant.name.encode(), hashlib.sha256)
        return EngineTenant(mac.hexdigest(), tenant.weight)


def _rights(tenant: Tenant) -> Rights:
    """What the tenant's requests may ask for."""
    limits = tenant.limits
    return Rights(
        allow=frozenset(right.value for right in tenant.allow),
        strict=tenant.strict,
        max_output_tokens=limits.max_output_tokens,
        cuts_output=limits.excess_output is ExcessOutput.CUT,
        max_choices=limits.max_choices,
        max_logprobs=limits.max_logprobs,
        max_logit_bias=limits.max_logit_bias,
    )


def _digest(key: str) -> bytes:
    """SHA-256 of the key's bytes as they came; bytes that are not UTF-8 arrive as lone surrogates."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
