"""The part of the file that says who may send requests: tenants with their keys, weights, rights and limits."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.config.budgets import BudgetEntry
from gateway.config.choices import ExcessOutput, Right, ShareBy
from gateway.config.credentials import KeySource
from gateway.config.section import Count, Quantity, Section, live, refuse_truth, setting

NAME_PATTERN = r"^[A-Za-z0-9.-][A-Za-z0-9_.-]{0,63}$"
# The bounds stand before the validator, because after it the JSON schema would not show them.
Cap = Annotated[int, Field(ge=1, le=100_000_000_000), BeforeValidator(refuse_truth)]


def _no_credential(name: str) -> str:
    if name.lower() in ("authorization", "x-api-key", "cookie"):
        raise PydanticCustomError(
            "refused", "{message}", {"message": "is a credential", "remedy": "name another header"}
        )
    return name


# The name of the header is shown in the gateway's state.
EndUserHeader = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$"), AfterValidator(_no_credential)]


class TenantKey(KeySource):
    """One key of a tenant."""

    id: str | None = live(
        None,
        "Name of the key in logs: 1 to 64 letters, digits, `_`, `.`, `-`, not starting with `_`; "
        "default `key1`, `key2`, ... by position.",
        pattern=NAME_PATTERN,
    )
    disabled: bool = live(False, "Refuses the key without removing it.")


class Limits(Section):
    """Limits of one tenant; null means no limit."""

    max_in_flight: Cap | None = live(
        None, "Most sequences at the workers of all pools together; beyond it requests wait.", unit="sequences"
    )
    max_queued: Cap | None = live(1000, "Most waiting requests.", unit="requests")
    requests_per_minute: Cap | None = live(None, "Most requests per minute.", unit="requests")
    tokens_per_minute: Cap | None = live(
        None, "Most input and output tokens per minute; the expected output counts at arrival.", unit="tokens"
    )
    max_output_tokens: Cap | None = live(
        None,
        "Most output tokens per sequence, also for a request that states no limit. For one that states more see "
        "`excess_output`.",
        unit="tokens",
    )
    excess_output: ExcessOutput = live(
        ExcessOutput.CUT,
        "For a request that states more than `max_output_tokens`: `cut` answers with at most that many tokens, "
        "`refuse` answers with 400.",
    )
    max_choices: Count = live(4, "Most answers per request (`n`).", unit="sequences", ge=1, le=1024)
    max_logprobs: Count = live(20, "Most `logprobs` per token.", unit="entries", ge=0, le=1_000_000)
    max_logit_bias: Count = live(300, "Most `logit_bias` entries.", unit="entries", ge=0, le=1_000_000)


class TenantDefaults(Section):
    """Settings of each tenant that has none of its own."""

    weight: Quantity = live(1, "Share relative to the other tenants.", ge=0.001, le=1_000_000)
    models: tuple[str, ...] = live(("*",), "Models or aliases the tenant may use; `*` for all.", max_length=10_000)
    share_by: ShareBy = live(
        ShareBy.KEY,
        "Divides the tenant's share among its keys, or among its end users (`user`, `metadata.user_id`).",
    )
    end_user_header: EndUserHeader | None = live(
        None,
        "Header that names the end user and counts before the body's fields. Trust the clients or the proxy that set "
        "it.",
    )
    budgets: tuple[BudgetEntry, ...] = setting(
        (), "What may be used in a period; a tenant's own list replaces that of the defaults.", max_length=20
    )
    limits: Limits = setting(Limits(), "Limits; merged key by key with `tenant_defaults.limits`.")
    allow: frozenset[Right] = live(frozenset(), "Rights to request fields that other tenants may not use.")
    strict: bool = live(False, "Refuses request fields that the gateway does not know.")


class TenantEntry(TenantDefaults):
    """One tenant that shares the workers, with its keys."""

    name: str = live(
        ...,
        "Name in logs and metrics: 1 to 64 letters, digits, `_`, `.`, `-`, not starting with `_`.",
        pattern=NAME_PATTERN,
    )
    keys: tuple[TenantKey, ...] = setting((), "Keys of the tenant.", max_length=10_000)


class Anonymous(Section):
    """Requests without a credential."""

    enabled: bool = live(False, "Accepts requests without a credential.")
    tenant: str | None = live(None, "Name of the tenant that pays for them.")
