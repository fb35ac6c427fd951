"""Three whole gateways hold every limit of a tenant together, with their store and without it.

The store is the model of its script, in virtual time. The engine is the witness of what is in flight.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from virtual_time import run_in_virtual_time, virtual_loop
from whole_gateway import COMPLETIONS, Plan, Stage, exactly, several_gateways, tenant
from workers_on_stage import CPU_TINY, MODEL, EngineWorker

from gateway.config import Limits, Window
from gateway.store.sharing import Connect

from .model_store import ModelStore

GATEWAYS, CLIENTS = 3, 6
SECONDS = 5.0
GONE_AT_SECONDS = 2.1  # while requests run, and not all places in flight are on their way to another gateway
STUCK_SECONDS = 120.0
MOST = 1.02
TOKENS = 10  # of each request on average, prompt and answer
LIMITS = {
    "flight": Limits(max_in_flight=4),
    "queue": Limits(max_queued=3),
    "requests": Limits(requests_per_minute=60),
    "tokens": Limits(tokens_per_minute=60 * TOKENS),
}

FIELDS = {
    "flight": "max_in_flight",
    "queue": "max_queued",
    "requests": "requests_per_minute",
    "tokens": "tokens_per_minute",
}


@pytest.fixture
def clock_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands still when its event loop does."""
    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())


class Watch:
    """What was seen of the tenant at all gateways."""

    def __init__(self, scenes: Sequence[Stage]) -> None:
        self._scenes = scenes
        self.statuses: Counter[int] = Counter()
        self.served_without_store = 0
        self.most_queued = 0
        self.most_in_flight = 0
        self.most_held: Counter[str] = Counter()  # by limit, at all gateways together, as they show it
        self.most_taken: Counter[str] = Counter()
        self.refusing: set[str] = set()
        self.tokens = 0

    async def flood(self, scene: Stage, until: float, number: int) -> None:
        """Send one request after the other, some longer than others."""
        loop = asyncio.get_running_loop()
        body = {"model": MODEL, "prompt": [1] * (TOKENS // 2 - number), **exactly(TOKENS // 2 + number)}
        while loop.time() < until:
            answer = await scene.ask(body, path=COMPLETIONS)
            self.statuses[answer.status] += 1
            self.served_without_store += answer.status == 200 and loop.time() > until - 1.0
            if answer.status != 200:
                await asyncio.sleep(0.1)

    async def look(self, until: float) -> None:
        """Count what waits and runs, again and again."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            self.most_queued = max(self.most_queued, sum(scene.queued for scene in self._scenes))
            self.most_in_flight = max(self.most_in_flight, sum(scene.in_flight for scene in self._scenes))
            self._look_at_limits()
            await asyncio.sleep(0.005)

    def _look_at_limits(self) -> None:
        held: Counter[str] = Counter()
        for scene in self._scenes:
            shared = scene.gateway.replicas()
            assert shared is not None
            for each in shared.limits:
                held[each.limit] += each.held
                self.most_taken |= Counter({each.limit: each.taken})
                self.refusing |= {each.limit} if each.is_refusing else set()
        self.most_held |= held


async def flooded(
    kind: str, connect: Connect, lose_store: Callable[[], object], find_store: Callable[[], object]
) -> Watch:
    """Three gateways flooded by one tenant with a limit of this kind; in the middle of it the store is lost."""
    window = Window(sequences=2 if kind == "queue" else 64, slack=0)
    plan = Plan(tenants=(tenant("alice", limits=LIMITS[kind]),), window=window)
    async with (
        asyncio.timeout(STUCK_SECONDS),
        several_gateways(GATEWAYS, EngineWorker(CPU_TINY), plan=plan, connect=connect) as scenes,
    ):
        loop, watch = asyncio.get_running_loop(), Watch(scenes)
        until = loop.time() + SECONDS
        loop.call_later(GONE_AT_SECONDS, lose_store)
        floods = [watch.flood(scene, until, number % 4) for scene in scenes for number in range(CLIENTS)]
        await asyncio.gather(watch.look(until), *floods)
        find_store()
        watch.most_in_flight = max(watch.most_in_flight, scenes[0].witness.max_held)
        watch.tokens = sum(event.prompt_tokens + event.output_tokens for scene in scenes for event in scene.finished)
    return watch


def judge(kind: str, watch: Watch) -> None:
    """The limit was used, and it was not passed, and the gateways show that."""
    minutes = 1 + SECONDS / 60  # a full bucket, and its refill
    field = FIELDS[kind]
    most = getattr(LIMITS[kind], field)
    assert 0.8 * most <= watch.most_taken[field] <= most
    assert 0 < watch.most_held[field] <= most
    assert watch.refusing == ({field} - {"max_in_flight"})
    assert set(watch.statuses) <= {200, 429}
    match kind:
        case "flight":
            assert watch.most_in_flight == 4
            assert watch.served_without_store > 0
        case "queue":
            assert watch.most_queued == 3
            assert watch.statuses[429] > 0
        case "requests":
            assert 60 <= watch.statuses[200] <= MOST * 60 * minutes
        case _:
            assert 0.8 * 60 * TOKENS <= watch.tokens <= MOST * 60 * TOKENS * minutes


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.usefixtures("clock_of_the_story")
def test_three_gateways_hold_a_limit(kind: str) -> None:
    """Never more than the limit in all, before and after the store falls silent."""

    async def story() -> None:
        store = ModelStore()
        judge(
            kind,
            await flooded(
                kind,
                store.connect,
                lambda: setattr(store, "is_silent", True),
                lambda: setattr(store, "is_silent", False),
            ),
        )

    run_in_virtual_time(story())


@pytest.mark.parametrize("kind", ["flight", "requests"])
@pytest.mark.usefixtures("clock_of_the_story")
def test_gateways_that_share_nothing_pass_the_limit(kind: str) -> None:
    """Control: each has a store of its own."""

    async def story() -> None:
        watch = await flooded(kind, lambda replicas: ModelStore().connect(replicas), int, int)
        assert watch.most_in_flight > 4 if kind == "flight" else watch.statuses[200] > MOST * 65

    run_in_virtual_time(story())
