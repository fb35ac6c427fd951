"""Tokens that nobody metered are noticed; those that another replica metered, and was late to tell of, are not."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_in_virtual_time

from gateway.events import Event, RequestFinished, TokensUnmetered
from gateway.fairness.snapshot import TicketSnapshot
from gateway.outcomes import Outcome
from gateway.watch.reconciliation import DELAY_SECONDS, PERIOD_SECONDS, Reconciliation
from gateway.workers import EngineSample

STEP_SECONDS = 0.25
CALL_STEPS = 2  # between two calls of a replica to the store


class Replica:
    """One gateway with one long answer at the worker `w`, and what it has heard of the other."""

    def __init__(self) -> None:
        self.tokens = 0
        self.events: list[Event] = []
        self.reconciliation = Reconciliation(self.events.append, self._in_flight)
        self.reported = 0

    def _in_flight(self) -> list[TicketSnapshot]:
        return [TicketSnapshot("r", "t", "p", "running", 1.0, "w", 10, self.tokens)]

    def end(self) -> None:
        """The answer ends, and another begins."""
        self.reconciliation.observe(
            RequestFinished(
                *("r", "/v1/completions", "t", "k", "p", "m", "w", Outcome.COMPLETED, 200, True, 1),
                *(10, 0, self.tokens, 1.0, 0.1, 0.2, 0.01, 0.02, 0.001, 1.0),
            )
        )
        self.tokens = 0


class Stage:
    """Two replicas, an engine, and a store that each replica calls twice a second."""

    def __init__(self) -> None:
        self.replicas = [Replica(), Replica()]
        self.engine_tokens = 0.0
        self.has_store = True
        self._steps = 0

    async def run(self, seconds: float, tokens: Callable[[float], tuple[int, int, int]]) -> None:
        """So many seconds, in which `tokens` says of each how many tokens come a second: two replicas', nobody's."""
        for step in range(round(seconds / STEP_SECONDS)):
            await asyncio.sleep(STEP_SECONDS)
            *shares, foreign = (round(each * STEP_SECONDS) for each in tokens(step * STEP_SECONDS))
            self._steps += 1
            for place, (replica, share) in enumerate(zip(self.replicas, shares, strict=True)):
                replica.tokens += share
                if self.has_store and (self._steps + place) % CALL_STEPS == 0:
                    self._call(replica)
            self.engine_tokens += sum(shares) + foreign
            if self._steps % 2 == 0:
                self._read()

    def _call(self, replica: Replica) -> None:
        """The store tells what the other one has reported, which may be half a second old, as may be its count."""
        (other,) = (each for each in self.replicas if each is not replica)
        replica.reconciliation.others_metered("w", other.reported)
        replica.reported = replica.reconciliation.totals()["w"]

    def _read(self) -> None:
        sample = EngineSample(asyncio.get_running_loop().time(), 1, 0, output_tokens=self.engine_tokens)
        for replica in self.replicas:
            replica.reconciliation.take("p", "w", sample)

    @property
    def shares(self) -> list[float | None]:
        return [replica.reconciliation.share("w") for replica in self.replicas]

    @property
    def events(self) -> list[Event]:
        return [event for replica in self.replicas for event in replica.events]


RATES = st.sampled_from([0, 40, 400, 4000])


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 30), RATES, RATES), min_size=9, max_size=14))
def test_what_another_replica_metered_is_not_unmetered(parts: list[tuple[int, int, int]]) -> None:
    """However the load comes and goes, and wherever, both replicas together have metered everything."""

    async def story() -> None:
        stage = Stage()
        for seconds, one, two in parts:
            await stage.run(seconds, lambda _, rates=(one, two, 0): rates)
            stage.replicas[0].end()
        assert stage.events == []
        assert all(share is None or share == pytest.approx(0.0) for share in stage.shares)

    run_in_virtual_time(story())


def test_bursts_that_end_a_period_raise_no_alarm() -> None:
    """Of tokens that the other replica metered in the last two seconds nobody has heard yet, however many they are."""

    async def story() -> None:
        stage = Stage()
        await stage.run(DELAY_SECONDS + 0.5, lambda _: (0, 1, 0))
        for minute in range(5):
            await stage.run(PERIOD_SECONDS - 1, lambda _: (0, 1, 0))
            await stage.run(1, lambda _, burst=3000 * 3**minute: (0, burst, 0))
        assert stage.events == []

    run_in_virtual_time(story())


def test_what_nobody_metered_is_noticed_by_each_replica() -> None:
    """Foreign traffic beyond a tenth is told once, by each, as large as it is but for what may not be known yet."""

    async def story() -> None:
        stage = Stage()
        await stage.run(4 * PERIOD_SECONDS, lambda _: (300, 500, 200))
        for replica in stage.replicas:
            (event,) = replica.events
            assert isinstance(event, TokensUnmetered)
            assert 0.12 < event.share <= 0.2
        await stage.run(2 * PERIOD_SECONDS, lambda _: (300, 500, 0))
        for replica in stage.replicas:
            assert replica.events[1:] == [TokensUnmetered("p", "w", 0.0)]

    run_in_virtual_time(story())


def test_without_the_store_nothing_is_compared() -> None:
    """What the others meter is then unknown; the next comparison begins when they are heard of again."""

    async def story() -> None:
        stage = Stage()
        await stage.run(1.5 * PERIOD_SECONDS, lambda _: (400, 400, 0))
        assert stage.shares == [0.0, 0.0]
        stage.has_store = False
        await stage.run(4 * PERIOD_SECONDS, lambda _: (400, 400, 0))
        assert stage.shares == [None, None]
        stage.has_store = True
        await stage.run(4 * PERIOD_SECONDS, lambda _: (400, 400, 0))
        assert stage.shares == [0.0, 0.0]
        assert stage.events == []

    run_in_virtual_time(story())


def test_a_store_that_was_emptied_begins_the_comparison_anew() -> None:
    """A total that falls is compared with nothing."""

    async def story() -> None:
        stage = Stage()
        await stage.run(1.5 * PERIOD_SECONDS, lambda _: (400, 400, 0))
        for replica in stage.replicas:
            replica.reconciliation.others_metered("w", 0)
        assert stage.shares == [None, None]
        await stage.run(3 * PERIOD_SECONDS, lambda _: (400, 400, 0))
        assert stage.events == []

    run_in_virtual_time(story())


def test_a_replicas_own_total_never_falls() -> None:
    """Not when requests end at fewer tokens than were counted, and not when the worker leaves and comes back."""

    async def story() -> None:
        replica = Replica()
        replica.tokens = 100
        assert replica.reconciliation.totals()["w"] == 100
        replica.tokens = 90
        replica.end()
        await asyncio.sleep(1)
        assert replica.reconciliation.totals()["w"] == 100
        replica.reconciliation.forget("w")
        replica.tokens = 20
        await asyncio.sleep(1)
        assert replica.reconciliation.totals()["w"] == 110

    run_in_virtual_time(story())


def test_what_an_engine_generates_is_added_up() -> None:
    """From the first reading on; an engine that started again begins at zero, another one where it stands."""

    async def story() -> None:
        reconciliation = Reconciliation(lambda event: None, lambda: ())
        for tokens in (100.0, 130.0, 130.0, 20.0, 25.0):
            reconciliation.take("p", "w", EngineSample(0.0, 1, 0, output_tokens=tokens))
        assert reconciliation.generated.totals["w"] == 30 + 20 + 5
        reconciliation.forget("w")
        reconciliation.take("p", "w", EngineSample(0.0, 1, 0, output_tokens=1000.0))
        reconciliation.take("p", "w", EngineSample(0.0, 1, 0))
        assert reconciliation.generated.totals["w"] == 55

    run_in_virtual_time(story())
