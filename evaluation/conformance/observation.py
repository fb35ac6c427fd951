"""What one tenant, and all tenants, received in a stretch of time: the numbers that the rules get. PURE."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from evaluation.load.tenants import INPUT_WEIGHT, OUTPUT_WEIGHT, Tally
from evaluation.metrics.statistics import mean


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with an error status, as it came."""

    status: int
    retry_after: str | None
    body: str


@dataclass(frozen=True, slots=True)
class Received:
    """One tenant in one stretch of time.

    `service` and `output_tokens` arrived in it, whenever they were asked for. `run_seconds` and `costs` are of the
    requests that it saw completed: from the first token to the end, and the service of the whole request. The rest is
    about the requests sent in it; one without a token counts in `ttft_seconds` as long as it was watched.
    """

    service: float = 0.0
    output_tokens: float = 0.0
    sent: int = 0
    refusals: tuple[Refusal, ...] = ()
    faults: tuple[str, ...] = ()
    ttft_seconds: tuple[float, ...] = ()
    run_seconds: tuple[float, ...] = ()
    costs: tuple[float, ...] = ()

    @property
    def asked(self) -> float:
        """The service that its requests asked for, by the mean of those that got all of it; infinite if none did."""
        return self.sent * mean(self.costs) if self.costs else math.inf


@dataclass(frozen=True, slots=True)
class Observed:
    """All tenants in one stretch of time."""

    seconds: float
    tenants: Mapping[str, Received]

    @property
    def services(self) -> dict[str, float]:
        """Service by tenant."""
        return {name: received.service for name, received in self.tenants.items()}

    @property
    def total(self) -> float:
        """Service of all."""
        return sum(self.services.values())

    @property
    def output_tokens_per_second(self) -> float:
        """Output tokens of all, per second."""
        return sum(received.output_tokens for received in self.tenants.values()) / self.seconds

    @property
    def sent(self) -> int:
        """Requests of all."""
        return sum(received.sent for received in self.tenants.values())

    @property
    def refusals(self) -> list[Refusal]:
        """Every refusal."""
        return [refusal for received in self.tenants.values() for refusal in received.refusals]

    @property
    def faults(self) -> list[str]:
        """What went wrong with each request that broke."""
        return [fault for received in self.tenants.values() for fault in received.faults]

    def rate(self, tenant: str) -> float:
        """Service of one tenant per second."""
        return self.tenants[tenant].service / self.seconds


def received(tally: Tally, start: float, end: float) -> Received:
    """What the tenant of `tally` saw from `start` to `end`, which is now."""
    records = tally.sent_between(start, end)
    completed = [record for record in tally.records if record.is_complete and start <= (record.ended_at or end) < end]
    return Received(
        service=tally.service.between(start, end),
        output_tokens=tally.tokens.between(start, end),
        sent=len(records),
        refusals=tuple(
            Refusal(record.status, record.retry_after, record.error)
            for record in records
            if record.is_refused and record.ended_at is not None
        ),
        faults=tuple(record.error for record in records if record.has_failed and not record.is_refused),
        ttft_seconds=tuple(
            end - record.sent_at if record.ttft_seconds is None else record.ttft_seconds
            for record in records
            if not record.has_failed
        ),
        run_seconds=tuple(record.run_seconds for record in completed),
        costs=tuple(
            float(INPUT_WEIGHT * record.prompt_tokens + OUTPUT_WEIGHT * record.output_tokens) for record in completed
        ),
    )


def together(parts: Sequence[Received]) -> Received:
    """Several credentials of one tenant as that tenant: counts are added, lists joined."""
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Received))
    return Received(*(sum(column[1:], column[0]) for column in columns))
