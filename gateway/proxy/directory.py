"""Who may do what: the configuration in force, arranged for look-ups; replaced as a whole by a reload.

What a request is judged by is one `Identity` of one directory: it holds all of it, so that nothing of another
configuration can get in, and nothing is kept by a name that two configurations share. A key is found by its digest and
compared in constant time; unknown and disabled keys are not told apart. Of several keys in one request those that are
nobody's count for nothing; two of ours are refused: either could be meant to pay.
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

ANONYMOUS_KEY = "anonymous"
_OUR_KEYS_BEGIN: Final = "vtc-"
_BY_END_USER: Final = ShareBy.END_USER
_UNKNOWN_KEY = (
    "The API key is not valid. Check the key, which is sent as 'Authorization: Bearer <key>' or 'x-api-key: <key>', "
    "or ask the gateway's operator for one."
)
_TWO_KEYS = "Two API keys of this gateway were sent, in Authorization and x-api-key. Send the one that is to pay."
_NO_KEY = "No API key was sent. Send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'."
_LISTED_MODELS = 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Who pays, and all that requests of this key are judged by: one configuration's word, frozen.

    `models` are the pools by every name that the tenant may use, `payer` is the tenant as engines know it.
    """

    directory: "Directory"
    tenant: Tenant
    key_id: str
    rights: Rights
    models: Mapping[str, Pool]
    payer: EngineTenant

    def flow(self, end_user: str | None) -> str:
        """What the tenant's share is divided by: the key, or the end user where the tenant says so."""
        if end_user and self.tenant.share_by is _BY_END_USER:
            return f"user:{end_user}"
        return self.key_id

    def pool(self, model: str) -> Pool:
        """The pool that serves `model`; raises `RequestFault` (404, as for a model that does not exist)."""
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
        """`pool`, or where it does not serve the first of its chain of fallbacks that does and that the tenant may use.

        Where none serves it is the first for which requests may wait, else `pool` itself.
        """
        return self._first(pool, serves) or self._first(pool, awaits) or pool

    def _first(self, pool: Pool, holds: Callable[[str], bool]) -> Pool | None:
        """The configuration has no ring of fallbacks."""
        other: Pool | None = pool
        while other is not None:
            if holds(other.model) and (other is pool or other.model in self.models):
                return other
            other = self.directory.fallback_of(other)
        return None

    def confirm(self, before: "Identity", pools: Mapping[str, str], rights: frozenset[str]) -> None:
        """Let a request run that was let in as `before`; raises `RequestFault` where it would be turned away now.

        `pools` has the pool by each name by which it got at one, `rights` are those that it uses: what a reload has
        taken is told as to a new request, key (401), model (404) or right (403).
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
        """Arrange `config`; `salt_secret` keys the tenants' cache salts and lives as long as the process."""
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
        """The identity behind the presented `keys`; raises `RequestFault` where there is none (401), or two (400)."""
        found = [owner for key in keys if (owner := self._owner(_digest(key))) is not None]
        if len(found) > 1:
            raise RequestFault(Outcome.BAD_REQUEST, _TWO_KEYS)
        if found:
            return self._identity(*found[0])
        # SDKs demand a key, so clients that need none present a placeholder; one of our form was meant to be a key.
        if self._anonymous is not None and not any(key.startswith(_OUR_KEYS_BEGIN) for key in keys):
            return self._identity(b"", self._anonymous, ANONYMOUS_KEY)
        raise RequestFault(Outcome.UNAUTHENTICATED, _UNKNOWN_KEY if keys else _NO_KEY)

    def _owner(self, presented: bytes) -> tuple[bytes, Tenant, str] | None:
        """Whose key has the digest `presented`, and the key's name."""
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
        """True where one of the presented `keys` is the admin key."""
        expected = self.config.admin.digest
        return expected is not None and any(hmac.compare_digest(expected, _digest(key)) for key in keys)

    def fallback_of(self, pool: Pool) -> Pool | None:
        """The pool that stands in for `pool`."""
        return None if pool.fallback is None else self._pools.get(pool.fallback)

    def _usable(self, tenant: Tenant) -> Mapping[str, Pool]:
        """Every name that the tenant may use: models, aliases and adapters."""
        usable = self._models.get(tenant.models)
        if usable is None:
            usable = {name: pool for name, pool in self._pools.items() if tenant.may_use(pool, name)}
            self._models[tenant.models] = usable
        return usable

    def _payer(self, tenant: Tenant) -> EngineTenant:
        """The tenant under the name that engines know: a keyed hash, which salts their prefix caches too.

        The salt keeps the caches from telling tenants about each other.
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
    """SHA-256 of the key's bytes as they came: a header's that are not UTF-8 arrive as lone surrogates."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
