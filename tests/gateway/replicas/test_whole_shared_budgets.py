"""Three whole gateways hold a budget together: with their store, without it, and after a restart."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from raw_client import Answer
from virtual_time import passing_time, virtual_loop, virtual_time
from whole_gateway import CHAT, Plan, Stage, question, several_gateways, tenant
from workers_on_stage import CPU_TINY, EngineWorker

from gateway.config import BudgetEntry, Ledger, Prices, Replicas, Window, WithoutStore
from gateway.outcomes import Outcome

from .model_store import ModelStore

GATEWAYS, AMOUNT = 3, 1800


@pytest.fixture(autouse=True)
def clock_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands still when its event loop does."""
    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())


def plan(folder: Path, amount: float = AMOUNT, unit: str = "tokens", **terms: Any) -> Plan:
    """Alice with a budget in a day; `terms` are further terms of the plan."""
    budget = BudgetEntry.model_validate({"amount": amount, "unit": unit, "period": "day"})
    return Plan(
        tenants=(tenant("alice", 2, budgets=(budget,)),),
        window=Window(sequences=16, slack=1, prefill_tokens=8192),
        ledger=Ledger(folder=folder),
        **terms,
    )


@asynccontextmanager
async def fleet(
    folder: Path, store: ModelStore, amount: float = AMOUNT, unit: str = "tokens", **terms: Any
) -> AsyncIterator[Sequence[Stage]]:
    """Three gateways, each with a ledger of its own."""
    agreed = plan(folder, amount, unit, **terms)
    async with (
        passing_time(),
        several_gateways(GATEWAYS, EngineWorker(CPU_TINY), plan=agreed, connect=store.connect) as scenes,
    ):
        yield scenes


def charged(scenes: Sequence[Stage]) -> int:
    """Tokens that alice was charged by all."""
    return sum(event.prompt_tokens + event.output_tokens for scene in scenes for event in scene.finished)


async def asked(scenes: Sequence[Stage], requests: int = 100, **fields: Any) -> list[Answer]:
    """Requests at once, spread over the gateways."""
    bodies = (question(f"What is {number} and why?", **fields) for number in range(requests))
    calls = [scenes[number % len(scenes)].ask(body, path=CHAT) for number, body in enumerate(bodies)]
    answers = await asyncio.gather(*calls)
    for scene in scenes:
        await scene.settled()
    return answers


def _is_cut(answer: Answer) -> bool:
    return b'"finish_reason":"length"' in answer.body.replace(b'": "', b'":"')


@virtual_time
async def test_a_hundred_at_once_at_three_gateways_for_ten_ones_worth(tmp_path: Path) -> None:
    """What all are charged stays within the budget and is nearly all of it; few answers are cut."""
    async with fleet(tmp_path, ModelStore()) as scenes:
        answers = await asked(scenes)
        served = [answer for answer in answers if answer.status == 200]
        used = charged(scenes)
        assert used <= AMOUNT
        assert used >= 0.97 * AMOUNT
        assert len(served) >= 7
        cut = [answer for answer in served if _is_cut(answer)]
        assert len(cut) <= max(1, 0.15 * len(served))
        assert {answer.status for answer in answers} == {200, 429}


@virtual_time
async def test_requests_that_come_in_bursts_use_a_budget_up(tmp_path: Path) -> None:
    """After each burst no gateway holds anything. None waits for ever, and the last are told that it is used up."""
    async with fleet(tmp_path, ModelStore(), 6000) as scenes:
        statuses = {200}
        while 200 in statuses:
            statuses = {answer.status for answer in await asked(scenes, 8, max_tokens=200)}
            await asyncio.sleep(1.0)
        assert 0.9 * 6000 <= charged(scenes) <= 6000
        assert {event.outcome for scene in scenes for event in scene.finished} == {
            Outcome.COMPLETED,
            Outcome.BUDGET_USED_UP,
        }


PRICES = Prices(prompt=100.0, output=400.0)  # of a million tokens
MONEY = 0.4


@virtual_time
async def test_three_gateways_share_a_budget_of_cost_units(tmp_path: Path) -> None:
    """The pool's cost counts, as the ledgers have it; the engine is told so few tokens that it is not passed."""
    async with fleet(tmp_path, ModelStore(), 3000, "cost_units") as scenes:
        await asked(scenes)
        assert 0.97 * 3000 <= sum(event.service for scene in scenes for event in scene.finished) <= 3000


@virtual_time
async def test_three_gateways_share_a_budget_of_money(tmp_path: Path) -> None:
    """Prices of prompts and answers count, to a millionth of what one request costs."""
    async with fleet(tmp_path, ModelStore(), MONEY, "money", pool={"prices": PRICES}) as scenes:
        await asked(scenes)
        paid = [
            event.prompt_tokens * PRICES.prompt + event.output_tokens * PRICES.output
            for scene in scenes
            for event in scene.finished
        ]
        assert 0.97 * MONEY <= sum(paid) / 1e6 <= MONEY


@virtual_time
async def test_gateways_that_are_to_refuse_without_the_store_do(tmp_path: Path) -> None:
    """After a lease without the store nothing new is taken; with the store the rest of the budget is used."""
    store = ModelStore()
    terms = Replicas(store="unix:///stage", without_store=WithoutStore.REFUSE)
    async with fleet(tmp_path, store, replicas=terms) as scenes:
        await asked(scenes, 3, max_tokens=50)
        before, store.is_silent, store.giving_up_seconds = charged(scenes), True, 0.03
        await asyncio.sleep(terms.lease_seconds + 1.0)
        assert {answer.status for answer in await asked(scenes, 30)} == {503}
        assert charged(scenes) == before
        store.is_silent = False
        await asyncio.sleep(terms.lease_seconds + 1.0)
        await asked(scenes)
        assert 0.97 * AMOUNT <= charged(scenes) <= AMOUNT


@virtual_time
async def test_gateways_that_share_nothing_pass_the_budget(tmp_path: Path) -> None:
    """Control: each has a store of its own."""
    stores = iter([ModelStore() for _ in range(3 * GATEWAYS * 4)])
    made: dict[str, ModelStore] = {}

    def connect(replicas: Any) -> Any:
        return made.setdefault(replicas.name, next(stores)).connect(replicas)

    store = ModelStore()
    store.connect = connect  # type: ignore[method-assign]
    async with fleet(tmp_path, store) as scenes:
        await asked(scenes)
        assert charged(scenes) > 1.5 * AMOUNT


@pytest.mark.parametrize("lose", [None, ModelStore.lose], ids=["store stays", "store is lost"])
@virtual_time
async def test_after_a_restart_of_all_what_was_used_counts(
    lose: Callable[[ModelStore], None] | None, tmp_path: Path
) -> None:
    """Half of the budget is used before, the rest after; the store may have forgotten everything meanwhile."""
    store = ModelStore()
    async with fleet(tmp_path, store, AMOUNT) as scenes:
        await asked(scenes, 6, max_tokens=200)
        before = charged(scenes)
    if lose is not None:
        lose(store)
    async with fleet(tmp_path, store, AMOUNT) as scenes:
        await asked(scenes)
        assert 0.97 * AMOUNT <= before + charged(scenes) <= AMOUNT


@virtual_time
async def test_without_the_store_gateways_go_on_with_what_they_hold(tmp_path: Path) -> None:
    """The store falls silent while requests come, and answers again; what is left is used then."""
    store = ModelStore()
    async with fleet(tmp_path, store, 20_000) as scenes:
        await asked(scenes, 9, max_tokens=50)
        store.is_silent, store.giving_up_seconds = True, 0.03  # no two timers of one moment
        before = charged(scenes)
        running = asyncio.ensure_future(asked(scenes, 60, max_tokens=100))
        await asyncio.sleep(4.0)
        alone = charged(scenes)
        assert alone > before
        store.is_silent = False
        answers = await running
        assert {answer.status for answer in answers} == {200}
        assert alone < charged(scenes) <= 20_000


@virtual_time
async def test_a_store_that_loses_all_while_requests_run_gives_nothing_twice(tmp_path: Path) -> None:
    """All tell it again what was used and what they hold."""
    store = ModelStore()
    async with fleet(tmp_path, store) as scenes:
        running = asyncio.ensure_future(asked(scenes))
        for _ in range(3):
            await asyncio.sleep(0.4)
            store.lose()
        await running
        assert 0.97 * AMOUNT <= charged(scenes) <= AMOUNT
