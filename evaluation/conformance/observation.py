"""What one tenant, and all of them, received in a stretch of time: the numbers that the rules are given. PURE."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.load.connection import RequestRecord
from evaluation.load.tenants import INPUT_WEIGHT, OUTPUT_WEIGHT, Tally
from evaluation.metrics import mean


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
        """The service that its requests asked for, by the mean of those that got all; infinite where none did."""
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
    broken = [record for record in records if record.has_failed and not record.is_refused]
    completed = [record for record in tally.records if record.is_complete and start <= (record.ended_at or end) < end]
    return Received(
        service=tally.service.between(start, end),
        output_tokens=tally.tokens.between(start, end),
        sent=len(records),
        refusals=tuple(_refusal(record) for record in records if record.is_refused and record.ended_at is not None),
        faults=tuple(record.error for record in broken),
        ttft_seconds=tuple(_wait(record, end) for record in records if not record.has_failed),
        run_seconds=tuple(_run(record) for record in completed),
        costs=tuple(_cost(record) for record in completed),
    )


def together(parts: Sequence[Received]) -> Received:
    """Several credentials of one tenant as that tenant."""
    return Received(
        service=sum(part.service for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        sent=sum(part.sent for part in parts),
        refusals=tuple(refusal for part in parts for refusal in part.refusals),
        faults=tuple(fault for part in parts for fault in part.faults),
        ttft_seconds=tuple(wait for part in parts for wait in part.ttft_seconds),
        run_seconds=tuple(run for part in parts for run in part.run_seconds),
        costs=tuple(cost for part in parts for cost in part.costs),
    )


def _refusal(record: RequestRecord) -> Refusal:
    return Refusal(record.status, record.retry_after, record.error)


def _cost(record: RequestRecord) -> float:
    return INPUT_WEIGHT * record.prompt_tokens + OUTPUT_WEIGHT * record.output_tokens


def _wait(record: RequestRecord, end: float) -> float:
    return end - record.sent_at if record.ttft_seconds is None else record.ttft_seconds


def _run(record: RequestRecord) -> float:
    if record.ended_at is None or record.first_token_at is None:
        return 0.0
    return record.ended_at - record.first_token_at
