"""What trouble of the store costs a request for which there is room: nothing while it lasts, then two calls at most.

Three whole gateways before two engines, in virtual time: a wait is exactly what the rules make it. Without trouble no
request of the same load waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest
from uncompiled import needs_sources
from virtual_time import run_in_virtual_time, virtual_loop
from whole_gateway import Plan, Stage, chat, several_gateways
from workers_on_stage import MODEL, EngineWorker

from backend.engine.config import EngineConfig
from gateway.config import Window
from gateway.replicas.outage import Outage
from gateway.replicas.room_book import RoomBook

from .model_store import WAY_SECONDS, ModelStore

GATEWAYS, ENGINES, SEQUENCES = 3, 2, 16
PLAN = Plan(window=Window(sequences=SEQUENCES, slack=0, prefill_tokens=4096))
ENGINE = EngineConfig.of_profile("cpu-tiny", MODEL, max_num_seqs=SEQUENCES)
DISTANCE_SECONDS = (0.018, 0.054)  # between two requests; about nine run at once
BEGINS, ENDS, LASTS = 2.0, 6.5, 10.0  # the trouble, for longer than a lease, and the load
LEASE_SECONDS = 2.0
TWO_CALLS_SECONDS = 2 * 2 * WAY_SECONDS + 1e-6

Trouble = Callable[[ModelStore], None]


@pytest.fixture(autouse=True)
def clock_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands still when its event loop does."""
    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())


def no_trouble(store: ModelStore) -> None:
    """It is well."""


def stopped(store: ModelStore) -> None:
    """It answers nothing for a while."""
    virtual_loop().call_later(BEGINS, setattr, store, "is_silent", True)
    virtual_loop().call_later(ENDS, setattr, store, "is_silent", False)


def killed(store: ModelStore) -> None:
    """Nobody can connect for a while; then an empty one is in its place."""

    def start() -> None:
        store.is_gone = False
        store.lose()

    virtual_loop().call_later(BEGINS, setattr, store, "is_gone", True)
    virtual_loop().call_later(ENDS, start)


def emptied(store: ModelStore) -> None:
    """It forgets everything."""
    virtual_loop().call_later(BEGINS, store.pools.clear)


def failed_over(store: ModelStore) -> None:
    """Another server is in its place, with what it had a little earlier."""
    heir = dict(store.pools)
    virtual_loop().call_later(BEGINS - 0.1, lambda: heir.update(store.snapshot()))
    virtual_loop().call_later(BEGINS, store.lose, heir)


def cut_off(store: ModelStore) -> None:
    """The first gateway does not reach it for a while."""
    virtual_loop().call_later(BEGINS, setattr, store, "deaf_to", "g0")
    virtual_loop().call_later(ENDS, setattr, store, "deaf_to", "")


LASTING = (stopped, killed, cut_off)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a request waited that came at a time of the story."""

    came: float
    seconds: float


async def load(gateways: Sequence[Stage]) -> list[Wait]:
    """Requests that come to `gateways` in turn, and are all answered."""
    loop, random, asked = virtual_loop(), Random(1), []
    began = loop.time()
    while (now := loop.time() - began) < LASTS:
        body = chat(random.randrange(20, 60), prompt=f"{len(asked)} " * 20)
        asked.append((now, gateways[len(asked) % len(gateways)].asking(body)))
        await asyncio.sleep(random.uniform(*DISTANCE_SECONDS))
    waited = []
    for came, task in asked:
        answer = await task
        assert answer.status == 200, answer
        waited.append((came, answer.header("x-request-id")))
    seconds = {grant.request_id: grant.queue_wait_seconds for gateway in gateways for grant in gateway.dispatched}
    return [Wait(came, seconds[name]) for came, name in waited]


def waits(trouble: Trouble, senders: int = GATEWAYS) -> list[Wait]:
    """How long each request waited that came by the first `senders` gateways; no engine had more than its window."""
    found: list[Wait] = []

    async def story() -> None:
        store = ModelStore()
        workers = [EngineWorker(ENGINE) for _ in range(ENGINES)]
        async with several_gateways(GATEWAYS, *workers, plan=PLAN, connect=store.connect) as scenes:
            trouble(store)
            found.extend(await load(scenes[:senders]))
            assert all(worker.engine.witness.max_held <= SEQUENCES for worker in workers)

    run_in_virtual_time(story())
    return found


def longest(found: Sequence[Wait], since: float = 0.0, until: float = LASTS) -> float:
    """The longest wait of requests that came in this time."""
    return max(wait.seconds for wait in found if since <= wait.came < until)


@pytest.mark.parametrize("trouble", [no_trouble, emptied, failed_over, *LASTING])
def test_even_ingress_hardly_waits(trouble: Trouble) -> None:
    """Not at all while the store is away; two calls at most when one that has lost something is there."""
    found = waits(trouble)
    assert longest(found, until=BEGINS) == 0
    if trouble in LASTING:
        assert longest(found, BEGINS, ENDS) == 0
    assert longest(found) <= TWO_CALLS_SECONDS


@pytest.mark.parametrize("trouble", LASTING)
def test_skewed_ingress_does_not_wait_from_the_end_of_the_lease_on(trouble: Trouble) -> None:
    """All requests come by the gateway that does not reach the store: the readings of the engines say what is free."""
    assert longest(waits(trouble, senders=1), BEGINS + LEASE_SECONDS, ENDS) == 0


# -- controls


class DeafInTheLease(Outage):
    """Only readings after the lease count."""

    def read(self, worker: str, window: int, there: int, used: int, *, is_leased: bool) -> None:
        """As said."""
        if not is_leased:
            super().read(worker, window, there, used, is_leased=is_leased)


@needs_sources
def test_without_the_readings_of_the_lease_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: nothing is allowed from the lease's end to the second reading after it."""
    monkeypatch.setattr("gateway.replicas.replica.Outage", DeafInTheLease)
    assert longest(waits(stopped), BEGINS, ENDS) > TWO_CALLS_SECONDS


@needs_sources
def test_if_calls_tell_only_of_what_is_in_use_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: nothing is at hand while a call is under way, or when the store is back."""
    monkeypatch.setattr(RoomBook, "draw", lambda book, limit: book.drop_idle())
    found = waits(stopped)
    assert longest(found, BEGINS, ENDS) > TWO_CALLS_SECONDS or longest(found, ENDS) > TWO_CALLS_SECONDS
