"""Service and demand over time, and how far apart tenants were: the published evaluation's measures.

- A request's cost is spread evenly from its first token to its last; what a tenant gets at t is its cost per second
  in a window of 60 s centred on t. What it asks for is the cost of the requests that arrive in that window.
- The difference at t is the sum over the tenants of min(best service - own service, |own demand - own service|):
  nobody counts as short by more than it asked for.
- A refused request asks for nothing, as in the published tables: the difference alone flatters a policy that refuses.
  `count_refused` counts it as demand that was not met.
- In the published tables of a profiled cost the demand is still in tokens, whatever service is measured in.
- The windows [a, b) of one curve are additive: what lies in two adjacent windows lies in their union. A span without
  length counts at its moment, in the window that it opens.
Times are seconds of the run, costs are those of the cost function given.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from evaluation.metrics.statistics import mean, variance
from evaluation.requests import Ending, Request, Served
from gateway.fairness.cost import CostFunction, Linear

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Span:
    """`cost` spread evenly over the seconds from `start` to `end`."""

    start: float
    end: float
    cost: float

    def until(self, at: float) -> float:
        """The part of the cost that lies before `at`."""
        if at > self.end:
            return self.cost
        if at <= self.start:
            return 0.0
        return self.cost * (at - self.start) / (self.end - self.start)


class Curve:
    """The sum of many spans. A look-up costs a binary search and the spans that cross the moment."""

    __slots__ = ("_before", "_ends", "_longest", "_spans")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        """Order the spans once; they do not change afterwards."""
        self._spans = sorted(spans, key=lambda span: span.end)
        self._ends = [span.end for span in self._spans]
        self._before = list(accumulate((span.cost for span in self._spans), initial=0.0))
        self._longest = max((span.end - span.start for span in self._spans), default=0.0)

    @property
    def total(self) -> float:
        """The cost of all spans."""
        return self._before[-1]

    def until(self, at: float) -> float:
        """The cost before `at`."""
        over = bisect_left(self._ends, at)
        # A span that ends later than this has not begun.
        ahead = bisect_left(self._ends, at + self._longest, lo=over)
        return self._before[over] + sum(span.until(at) for span in self._spans[over:ahead])

    def between(self, start: float, end: float) -> float:
        """The cost in the window [start, end)."""
        return self.until(end) - self.until(start)

    def rate(self, at: float) -> float:
        """Cost per second in the window centred on `at`."""
        return self.between(at - WINDOW_SECONDS / 2, at + WINDOW_SECONDS / 2) / WINDOW_SECONDS


# The 19 ticks of the published figures over ten minutes.
FIGURE_TICKS = tuple(float(tick) for tick in range(30, 571, 30))
# The published tables have 19 ticks too, but their windows lie later: the ten minutes less a warm-up of 30 s in
# twentieths, each moved by the warm-up (plot_revision.py of the artifact). Only with these are the printed rows of the
# policies that leave nothing to chance met within 1 %.
TABLE_TICKS = tuple(30 + (600 - 30) / 20 * step for step in range(1, 20))
LINEAR = Linear()


def cost_received(served: Served, cost: CostFunction = LINEAR) -> float:
    """The cost of what the engine did for a request: nothing before its first token."""
    if served.first_token_at is None:
        return 0.0
    return cost(served.request.prompt_tokens, 0, served.output_tokens)


def tokens_wanted(request: Request) -> int:
    """The output that the client would take: up to its own limit, or until it leaves."""
    limits = (request.output_tokens, request.max_output_tokens, request.leaves_after_tokens)
    return min(limit for limit in limits if limit is not None)


def cost_wanted(request: Request, cost: CostFunction = LINEAR) -> float:
    """The cost of what the client asks for."""
    return cost(request.prompt_tokens, 0, tokens_wanted(request))


@dataclass(frozen=True, slots=True)
class Service:
    """What every tenant got and asked for, over one run."""

    received: dict[str, Curve]
    demanded: dict[str, Curve]

    @property
    def tenants(self) -> list[str]:
        """Every tenant that sent a request, in order of name."""
        return sorted(self.demanded)

    def rates(self, at: float) -> dict[str, float]:
        """What each tenant got around `at`, cost per second."""
        return {tenant: self.received[tenant].rate(at) for tenant in self.tenants}

    def demands(self, at: float) -> dict[str, float]:
        """What each tenant asked for around `at`, cost per second."""
        return {tenant: self.demanded[tenant].rate(at) for tenant in self.tenants}

    def difference(self, at: float) -> float:
        """How short the tenants were of the best served one around `at`, summed, cost per second."""
        rates = self.rates(at)
        demands = self.demands(at)
        best = max(rates.values(), default=0.0)
        return sum(min(best - rate, abs(demands[tenant] - rate)) for tenant, rate in rates.items())


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference over several ticks: largest, mean and variance (of the whole population)."""

    maximum: float
    average: float
    variance: float


def measure_service(
    records: Iterable[Served],
    cost: CostFunction = LINEAR,
    *,
    demand_cost: CostFunction | None = None,
    count_refused: bool = False,
) -> Service:
    """The curves of a run. `demand_cost` measures what is asked for where that is not `cost`."""
    received: defaultdict[str, list[Span]] = defaultdict(list)
    demanded: defaultdict[str, list[Span]] = defaultdict(list)
    for served in records:
        request = served.request
        arrived = request.arrival_seconds
        if served.first_token_at is not None and served.last_token_at is not None:
            span = Span(served.first_token_at, served.last_token_at, cost_received(served, cost))
            received[request.tenant].append(span)
        asks = count_refused or served.ending is not Ending.REFUSED
        demanded[request.tenant] += [Span(arrived, arrived, cost_wanted(request, demand_cost or cost))] if asks else []
    return Service(
        {tenant: Curve(received[tenant]) for tenant in demanded},
        {tenant: Curve(spans) for tenant, spans in demanded.items()},
    )


def measure_difference(service: Service, ticks: Sequence[float] = TABLE_TICKS) -> Difference:
    """The three figures of the published tables, over `ticks`."""
    values = [service.difference(tick) for tick in ticks]
    return Difference(max(values), mean(values), variance(values))


def throughput(records: Iterable[Served], end_seconds: float) -> float:
    """Input and output tokens of the completed requests, per second of the run."""
    tokens = sum(
        served.request.prompt_tokens + served.output_tokens for served in records if served.ending is Ending.COMPLETED
    )
    return tokens / end_seconds
