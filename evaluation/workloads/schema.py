"""A workload's file as its author writes it: every key with its type, bound, unit, default and meaning.

The models are the one source for validation and for the tables of docs/workloads.md. `generate` makes a workload
of a file that is right.
"""

from collections import Counter
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from evaluation.workloads.arrivals import MAX_SECONDS, Arrivals, Scattered
from evaluation.workloads.lengths import MAX_LENGTH_TOKENS, Lengths, refused
from gateway.config.section import Count, Quantity, Section, setting
from gateway.config.tenants import NAME_PATTERN

# A request takes about 150 bytes: so many take some 300 MB, and minutes to draw.
MAX_REQUESTS = 2_000_000
# The longest name of a tenant and of a key, less the longest number after it.
_NAME = r"^[A-Za-z0-9.-][A-Za-z0-9_.-]{0,56}$"


class Disconnects(Section):
    """Clients that leave in the middle of their answer."""

    share: Quantity = setting(..., "The share of requests whose client leaves early.", gt=0, le=1)
    after_tokens: Lengths = setting(
        ..., "How many tokens it takes before; a client whose answer is shorter stays.", unit="tokens"
    )


class TenantFile(Section):
    """One tenant, or several of one description."""

    name: str = setting(..., "Letters, digits, `.`, `_`, `-`; at most 57.", pattern=_NAME)
    copies: Annotated[Count, Field(ge=1, le=10_000)] = setting(
        1, "Tenants of this description; above 1 they are called `NAME-1`, `NAME-2` and so on."
    )
    weight: Quantity = setting(1.0, "Its share of a busy engine, against the other weights.", gt=0, le=1e6)
    arrivals: Arrivals = setting(..., "When its requests arrive, a mapping with `kind`.")
    prompt: Lengths = setting(..., "Tokens of its prompts: a whole number, or a mapping with `kind`.", unit="tokens")
    output: Lengths = setting(..., "Tokens of its answers: a whole number, or a mapping with `kind`.", unit="tokens")
    max_output_tokens: Annotated[Count, Field(ge=1, le=MAX_LENGTH_TOKENS)] | None = setting(
        None, "What it states as `max_tokens`; default: each answer's true length.", unit="tokens"
    )
    keys: Annotated[Count, Field(ge=1, le=100_000)] = setting(
        1, "Over how many keys it spreads its requests, one after the other: `NAME/1`, `NAME/2` and so on."
    )
    disconnects: Disconnects | None = setting(None, "Clients that leave in the middle of their answer.")

    @model_validator(mode="after")
    def _maximum_is_true(self) -> "TenantFile":
        if self.max_output_tokens is not None and self.max_output_tokens < self.output.longest:
            raise refused(
                f"states at most {self.max_output_tokens} tokens, its answers have up to {self.output.longest}",
                f"use at least {self.output.longest} for `max_output_tokens`, or shorter answers",
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tenants that this describes."""
        if self.copies == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(1, self.copies + 1))


class WorkloadFile(Section):
    """The whole file. `tenant_defaults` has been merged into the tenants before it is read."""

    name: str = setting(..., "Letters, digits, `.`, `_`, `-`.", pattern=NAME_PATTERN)
    description: str = setting(..., "What it shows, in one sentence.", min_length=1, max_length=500)
    source: str = setting("", "Where its numbers are from.", max_length=500)
    seconds: Quantity = setting(..., "How long requests arrive.", unit="seconds", gt=0, le=MAX_SECONDS)
    seed: Count = setting(1, "Which of the possible draws; `--seed` replaces it.", ge=0, le=2**63)
    tenants: tuple[TenantFile, ...] = setting(..., "Who sends.", min_length=1)

    @field_validator("tenants", mode="after")
    @classmethod
    def _names_differ(cls, tenants: tuple[TenantFile, ...]) -> tuple[TenantFile, ...]:
        count = Counter(name for tenant in tenants for name in tenant.names)
        name, times = count.most_common(1)[0]
        if times > 1:
            raise refused(f"has the tenant {name} twice", "give every tenant a name of its own")
        return tenants

    @model_validator(mode="after")
    def _fits(self) -> "WorkloadFile":
        expected = sum(tenant.copies * tenant.arrivals.expected(self.seconds) for tenant in self.tenants)
        if expected > MAX_REQUESTS:
            raise refused(f"makes {expected:.0f} requests", f"lower rates or seconds: at most {MAX_REQUESTS}")
        for tenant in self.tenants:
            if isinstance(tenant.arrivals, Scattered) and tenant.arrivals.from_second >= self.seconds:
                raise refused(f"ends before {tenant.name} begins", "let it last longer than every `from_second`")
        return self
