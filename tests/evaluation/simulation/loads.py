"""Workloads of the simulator's tests, and what a run must satisfy whatever its rules."""

from collections import Counter
from random import Random

from hypothesis import strategies as st

from evaluation.requests import Ending, Request
from evaluation.simulation.result import Result
from evaluation.simulation.run import simulate
from evaluation.simulation.settings import EngineModel, Settings
from gateway.fairness import KvTime, Linear, Profiled

POLICIES = ("vtc", "fcfs", "lcf", "rpm:6", "drr:200")
PREDICTORS = ("none", "moving_average", "quantile", "oracle", "noisy_oracle:50%")
COSTS = (Linear(), Profiled(), KvTime())


def evenly(per_minute: dict[str, float], seconds: float, prompt: int = 256, output: int = 256) -> list[Request]:
    """Each tenant's requests at equal distances."""
    requests = [
        Request((number + 0.5) * 60 / rate, tenant, prompt, output)
        for tenant, rate in per_minute.items()
        for number in range(int(rate * seconds / 60))
    ]
    return sorted(requests, key=lambda request: request.arrival_seconds)


def trace_like(seconds: float) -> list[Request]:
    """Twelve very unequal tenants with lengths of a chat service, a third more than the engine can serve."""
    random = Random(3)
    requests = []
    for rank in range(12):
        at = 0.0
        while (at := at + random.expovariate(1.1 / (rank + 1))) < seconds:
            prompt = min(900, 1 + int(random.lognormvariate(4.0, 1.2)))
            output = min(700, 1 + int(random.lognormvariate(5.3, 0.8)))
            requests.append(Request(at, f"tenant-{rank:02}", prompt, output))
    return sorted(requests, key=lambda request: request.arrival_seconds)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Request], Settings]:
    """A few requests of three tenants with two keys each, and any rules in front of either engine."""
    sizes = st.tuples(
        st.floats(0.0, 3.0).map(lambda at: round(at, 2)),
        st.sampled_from("abc"),
        st.integers(1, 300),
        st.integers(1, 60),
        st.sampled_from(["k1", "k2"]),
        st.integers(0, 40),
        st.sampled_from([None, None, None, 1, 7]),
    )
    requests = [
        Request(at, tenant, prompt, output, key, output + beyond, leaves)
        for at, tenant, prompt, output, key, beyond, leaves in draw(st.lists(sizes, min_size=1, max_size=25))
    ]
    return requests, Settings(
        policy=draw(st.sampled_from(POLICIES)),
        predictor=draw(st.sampled_from(PREDICTORS)),
        cost=draw(st.sampled_from(COSTS)),
        engine=draw(st.sampled_from(EngineModel)),
        slowness=(1.0,) * draw(st.integers(1, 2)),
        weights={"a": draw(st.sampled_from([0.5, 1.0, 3.0]))},
        keys_share=draw(st.booleans()),
        max_queued=draw(st.sampled_from([3, 1_000])),
    )


def check_conserved(requests: list[Request], result: Result, settings: Settings) -> None:
    """Everything ended, in order; what was generated is what the engines made, what clients got, what was charged."""
    due: Counter[str] = Counter()
    for request, served in zip(requests, result.served, strict=True):
        assert served.request is request
        if served.ending is Ending.REFUSED:
            assert served.dispatched_at is None and served.output_tokens == 0
            continue
        takes = min(request.output_tokens, request.leaves_after_tokens or request.output_tokens)
        leaves = takes < request.output_tokens
        assert served.ending is (Ending.CLIENT_LEFT if leaves else Ending.COMPLETED)
        assert served.output_tokens == takes
        assert served.dispatched_at is not None and served.first_token_at is not None
        assert served.last_token_at is not None
        times = (request.arrival_seconds, served.dispatched_at, served.first_token_at, served.last_token_at)
        assert list(times) == sorted(times) and times[3] <= result.ended_at
        due[request.tenant] += settings.cost(request.prompt_tokens, 0, takes)
    generated = sum(served.output_tokens for served in result.served)
    assert sum(tally.output_tokens for tally in result.engines) == generated
    _check_charged(result, due)


def _check_charged(result: Result, due: Counter[str]) -> None:
    charged: Counter[str] = Counter()
    for name, amount in result.charged.items():
        charged[name.partition("/")[0]] += amount
    received = {tenant: sums[-1] for tenant, sums in result.timeline.cumulative().items()}
    for tenant, amount in due.items():
        assert abs(charged[tenant] - amount) < 1e-3
        assert abs(received[tenant] - amount) < 1e-6 * max(1.0, amount)


def play(requests: list[Request], **settings: object) -> Result:
    """A run under these settings."""
    return simulate(requests, Settings(**settings))  # type: ignore[arg-type]
