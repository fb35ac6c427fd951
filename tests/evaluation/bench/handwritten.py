"""Runs of benches written by hand: what each tenant received, what was sampled, what was sent."""

from collections.abc import Mapping, Sequence

from evaluation.bench.probe import GatewayState, Gauges, Sample, TenantState
from evaluation.bench.stage import Run
from evaluation.load.connection import ExchangeRecord
from evaluation.load.series import Span
from evaluation.load.tenants import Tally

WINDOW = Span(100.0, 110.0)


def tally(service: float, tokens: int = 0, records: Sequence[ExchangeRecord] = ()) -> Tally:
    """A tenant that received so much in the middle of the window."""
    received = Tally()
    received.service.add(105.0, service)
    received.tokens.add(105.0, tokens)
    received.records.extend(records)
    return received


def sample(
    queued: Mapping[str, int],
    engines: Sequence[Gauges],
    *,
    window: int = 8,
    spread: float = 1.0,
) -> Sample:
    """The gateway with these queues and a worker for each engine; its bound on the spread is 10."""
    tenants = {name: TenantState(0.0, count, 1) for name, count in queued.items()}
    windows = [window for _ in engines]
    return Sample(105.0, GatewayState(sum(queued.values()), spread, 10.0, tenants, windows), engines)


def run(tallies: Mapping[str, Tally], samples: Sequence[Sample] = ()) -> Run:
    """A run of 10 s with these tenants."""
    return Run(tallies, WINDOW, Span(1000.0, 1010.0), 130.0, samples, ())
