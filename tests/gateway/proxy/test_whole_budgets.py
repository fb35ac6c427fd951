"""Budgets of the whole gateway: never passed, used nearly to the end, whatever API asks, however many at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from raw_client import Answer
from uncompiled import needs_sources
from virtual_time import passing_time, virtual_time
from whole_gateway import CHAT, COMPLETIONS, Plan, Stage, key_of, question, stage, tenant
from workers_on_stage import CPU_TINY, MODEL, EngineWorker, fault, faults

from backend.engine.api import chat as chat_api
from backend.engine.faults import FaultKind
from gateway.accounts import Budget, Claim
from gateway.config import BudgetEntry, Ledger, Right, ShareBy, Window
from gateway.events import BudgetThreshold
from gateway.outcomes import Outcome
from gateway.usage import Usage

RESPONSES, MESSAGES, EMBEDDINGS = "/v1/responses", "/v1/messages", "/v1/embeddings"
USED_UP = Outcome.BUDGET_USED_UP

Bodies = Callable[[int], dict[str, Any]]


def plan(folder: Path, *budgets: BudgetEntry, **terms: Any) -> Plan:
    """Alice with these budgets beside bob, who has none, in front of sixteen slots."""
    return Plan(
        tenants=(tenant("alice", 2, budgets=budgets, **terms), tenant("bob")),
        window=Window(sequences=16, slack=1, prefill_tokens=8192),
        ledger=Ledger(folder=folder),
    )


def budget(amount: float, **said: Any) -> BudgetEntry:
    """A budget of tokens in a day, unless `said` otherwise."""
    return BudgetEntry.model_validate({"amount": amount, "period": "day", **said})


@asynccontextmanager
async def kept_stage(plan: Plan) -> AsyncIterator[Stage]:
    """A stage whose ledger writes in a thread of its own, while time goes on."""
    async with passing_time(), stage(EngineWorker(CPU_TINY), plan=plan) as scene:
        yield scene


def budgets_of(scene: Stage) -> list[Budget]:
    """Every budget that was used."""
    return list(scene.budgets.accounts.all())


def charged(scene: Stage, of: str = "alice") -> int:
    """Tokens that a tenant was charged."""
    return sum(event.prompt_tokens + event.output_tokens for event in scene.finished if event.tenant == of)


def _asked(number: int, **fields: Any) -> dict[str, Any]:
    return question(f"What is {number} and why?", **fields)


def _is_cut(answer: Answer) -> bool:
    """True if the engine says that the output limit ended the answer."""
    ends = (b'"finish_reason":"length"', b'"stop_reason":"max_tokens"', b'"reason":"max_output_tokens"')
    body = answer.body.replace(b'": "', b'":"')
    return any(end in body for end in ends)


CASES: dict[str, tuple[str, Bodies]] = {
    "streamed": (CHAT, lambda number: _asked(number, stream=True)),
    "whole": (CHAT, _asked),
    "two choices": (CHAT, lambda number: _asked(number, n=2)),
    "completions": (COMPLETIONS, lambda number: {"model": MODEL, "prompt": f"Tell {number}", "max_tokens": 2000}),
    "messages": (MESSAGES, lambda number: _asked(number, max_tokens=2000)),
    "responses": (RESPONSES, lambda number: {"model": MODEL, "input": f"What is {number}?"}),
    "chunks": (CHAT, lambda number: _asked(number, stream=True)),
}


@pytest.mark.parametrize("case", CASES)
@virtual_time
async def test_a_hundred_at_once_for_ten_ones_worth(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is charged stays within the budget and is nearly all of it; the engine ends the few answers that are cut."""
    path, body = CASES[case]
    if case == "chunks":
        monkeypatch.setattr(chat_api, "Work", partial(_in_fours, chat_api.Work))
    amount = 1800 if case != "two choices" else 4500
    async with kept_stage(plan(tmp_path, budget(amount))) as scene:
        answers = await asyncio.gather(*(scene.ask(body(number), path=path) for number in range(100)))
        await scene.settled()
        served = [answer for answer in answers if answer.status == 200]
        used = charged(scene)
        assert used <= amount
        assert used >= 0.97 * amount
        assert used == budgets_of(scene)[0].tally.settled
        assert budgets_of(scene)[0].tally.reservations == 0
        assert len(served) >= 7
        told = [answer for answer in served if answer.header("x-vtc-max-output-tokens")]
        cut = [answer for answer in told if _is_cut(answer)]
        assert len(cut) <= max(1, 0.15 * len(served))
        assert [answer for answer in served if _is_cut(answer)] == cut
        assert {event.outcome for event in scene.finished} == {Outcome.COMPLETED, USED_UP}
        assert {answer.status for answer in answers} == {200, 429}


def _in_fours(make: Any, *values: Any, **fields: Any) -> Any:
    """Work whose answer comes in chunks of four tokens."""
    return make(*values, **(fields | {"stream_interval": 4}))


@virtual_time
async def test_embeddings_are_counted_by_their_prompts(tmp_path: Path) -> None:
    """They generate nothing, so that a prompt that fits runs; the last ones are counted exactly."""
    async with kept_stage(plan(tmp_path, budget(500))) as scene:
        bodies = [{"model": MODEL, "input": f"{number:02d}" + "x" * 48} for number in range(100)]
        answers = await asyncio.gather(*(scene.ask(body, path=EMBEDDINGS) for body in bodies))
        await scene.settled()
        assert charged(scene) == 500
        assert sum(answer.status == 200 for answer in answers) == 10


async def _use_up(scene: Stage) -> None:
    """Take all of a budget that is smaller than a request wants."""
    while (await scene.ask(_asked(0))).status == 200:
        pass


def _refused(answer: Answer) -> dict[str, Any]:
    """The error of a refusal by a budget, whose headers are right."""
    assert answer.status == 429
    assert answer.header("x-should-retry") == "false"
    assert answer.header("retry-after") is None
    error: dict[str, Any] = answer.json["error"]
    return error


@virtual_time
async def test_a_refusal_says_what_was_used_and_when_it_starts_again(tmp_path: Path) -> None:
    """In the form of the API, and so that an SDK does not sleep; other tenants go on."""
    async with kept_stage(plan(tmp_path, budget(300, period="month", zone="Asia/Kolkata"))) as scene:
        await _use_up(scene)
        answer = await scene.ask(_asked(1))
        error = _refused(answer)
        assert error["type"] == error["code"] == "insufficient_quota"
        used = int(budgets_of(scene)[0].tally.settled)
        assert f"of 300 tokens {used} are used" in error["message"]
        assert "-01T00:00:00+05:30" in error["message"]
        assert answer.header("x-vtc-limited-by") == "budget:tenant:tokens:month"
        messages = await scene.ask(_asked(1, max_tokens=10), path=MESSAGES)
        assert _refused(messages)["type"] == "rate_limit_error"
        assert (await scene.ask(_asked(1), "bob")).status == 200


@virtual_time
async def test_a_key_that_waits_for_its_budget_holds_up_no_other_key(tmp_path: Path) -> None:
    """A request waits while its key's budget is reserved; those of the tenant's other key pass it by."""
    async with kept_stage(plan(tmp_path, budget(600, per="key"))) as scene:
        long = {"max_tokens": 500, "min_tokens": 500}
        running = scene.asking(_asked(1, **long))
        await scene.until(lambda: scene.in_flight)
        waiting = scene.asking(_asked(2, **long))
        await scene.until(lambda: scene.queued)
        other = await scene.post(CHAT, _asked(3, max_tokens=5), key_of("alice", 2))
        assert other.status == 200
        assert not running.done()
        assert not waiting.done()
        assert (await running).status == 200
        assert _refused(await waiting)["code"] == "insufficient_quota"
        await scene.settled()


@virtual_time
async def test_a_request_that_waits_gets_what_comes_back(tmp_path: Path) -> None:
    """A reservation that was not used makes room for the next in line, who is not refused meanwhile."""
    async with kept_stage(plan(tmp_path, budget(1100))) as scene:
        running = scene.asking(_asked(1, max_tokens=1000))
        await scene.until(lambda: scene.in_flight)
        waiting = scene.asking(_asked(2, max_tokens=300))
        await scene.until(lambda: scene.queued)
        assert [(await each).status for each in (running, waiting)] == [200, 200]
        await scene.settled()
        assert charged(scene) <= 1100


@virtual_time
async def test_end_users_have_budgets_of_their_own(tmp_path: Path) -> None:
    """One that has used up its own leaves the others theirs; whoever names nobody draws on none of them."""
    terms = plan(tmp_path, budget(200, per="end_user"), share_by=ShareBy.END_USER)
    async with kept_stage(terms) as scene:
        answers = await asyncio.gather(*(scene.ask(_asked(number, user="erika")) for number in range(10)))
        assert {answer.status for answer in answers} == {200, 429}
        assert (await scene.ask(_asked(1, user="max"))).status == 200
        assert (await scene.ask(_asked(1))).status == 200
        await scene.settled()
        assert all(each.tally.settled <= 200 for each in budgets_of(scene))


@virtual_time
async def test_thresholds_are_told_once(tmp_path: Path) -> None:
    """At 80 and at 100 per cent, as events and as lines of the log."""
    async with kept_stage(plan(tmp_path, budget(1500))) as scene:
        for number in range(40):
            await scene.ask(_asked(number, max_tokens=100))
        told = [event for event in scene.events if isinstance(event, BudgetThreshold)]
        assert [(each.tenant, each.percent, each.unit, each.amount) for each in told] == [
            ("alice", 80, "tokens", 1500.0),
            ("alice", 100, "tokens", 1500.0),
        ]
        lines = scene.end_log()
        assert lines.count('"event":"budget threshold"') == lines.count('"event":"budget used up"') == 1


@virtual_time
async def test_what_was_used_survives_a_restart(tmp_path: Path) -> None:
    """A gateway that starts again has the same left, by tenant, by key and by end user."""
    terms = plan(
        tmp_path,
        budget(5000),
        budget(4000, per="key", unit="cost_units"),
        budget(3000, per="end_user", period="month"),
        share_by=ShareBy.END_USER,
    )
    async with kept_stage(terms) as scene:
        await asyncio.gather(*(scene.ask(_asked(number, user=f"u{number % 2}")) for number in range(8)))
        await scene.settled()
        before = {each.owner: each.left for each in budgets_of(scene)}
    assert len(before) == 4
    async with kept_stage(terms) as scene:
        await scene.ask(_asked(1, user="u0", max_tokens=1))
        await scene.ask(_asked(1, user="u1", max_tokens=1))
        await scene.settled()
        used = {each.owner: each.left + _just_used(scene, each) for each in budgets_of(scene)}
    assert used == before


def _just_used(scene: Stage, budget: Budget) -> float:
    """What this life of the gateway has charged to a budget."""
    events = [event for event in scene.finished if event.tenant == budget.owner.tenant]
    if budget.owner.end_user:
        events = [event for event in events if event.end_user == budget.owner.end_user]
    if budget.owner.key:
        return sum(event.service for event in events)
    return sum(event.prompt_tokens + event.output_tokens for event in events)


@virtual_time
async def test_a_reload_changes_amounts_at_once(tmp_path: Path) -> None:
    """A higher amount lets those run who wait; without a budget nobody waits any more."""
    async with kept_stage(plan(tmp_path, budget(700))) as scene:
        running = scene.asking(_asked(1, max_tokens=600, min_tokens=600))
        await scene.until(lambda: scene.in_flight)
        waiting = [scene.asking(_asked(number, max_tokens=300, min_tokens=300)) for number in (2, 3)]
        await scene.until(lambda: scene.queued == 2)
        config = scene.gateway.config
        for budgets, left in ((budget(1100),), 1), ((), 0):
            alice = config.tenants[0].model_copy(update={"budgets": budgets})
            scene.reload(config.model_copy(update={"tenants": (alice, *config.tenants[1:])}))
            await scene.until(lambda left=left: scene.queued == left)
        assert [(await each).status for each in (running, *waiting)] == [200] * 3
        await scene.settled()


@virtual_time
async def test_a_new_period_begins_for_those_who_wait(tmp_path: Path) -> None:
    """Whoever waits when the hour is over draws on the new one; what runs belongs to the old one."""
    async with kept_stage(plan(tmp_path, budget(700, period="hour"))) as scene:
        budgets, clock = scene.budgets, scene.budgets.wall_clock
        running = scene.asking(_asked(1, max_tokens=600, min_tokens=600))
        await scene.until(lambda: scene.in_flight)
        waiting = scene.asking(_asked(2, max_tokens=600, min_tokens=600))
        await scene.until(lambda: scene.queued)
        budgets.wall_clock = lambda: clock() + 3600
        budgets.close()
        budgets.begin_periods()
        await scene.until(lambda: not scene.queued)
        assert [(await each).status for each in (running, waiting)] == [200, 200]
        await scene.settled()
        assert budgets_of(scene)[0].tally.settled == scene.last.prompt_tokens + 600


@virtual_time
async def test_an_engine_that_cannot_count_leaves_the_bound_of_bytes(tmp_path: Path) -> None:
    """Tools of Responses are in no question; the request runs all the same, and within the budget."""
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]
    async with kept_stage(plan(tmp_path, budget(1500))) as scene:
        bodies = [{"model": MODEL, "input": f"Do {number}.", "tools": tools} for number in range(40)]
        answers = await asyncio.gather(*(scene.ask(body, path=RESPONSES) for body in bodies))
        await scene.settled()
        assert {answer.status for answer in answers} == {200, 429}
        assert 0 < charged(scene) <= 1500
        assert "/tokenize" not in {sent.path for sent in scene.sent}


@needs_sources
@virtual_time
async def test_charging_at_the_end_passes_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without reservations a hundred requests at once use several times the amount."""

    def charge(claim: Claim, usage: Usage | None) -> None:
        for each in claim.budgets:
            each.tally.settled += 0 if usage is None else usage.prompt_tokens + usage.output_tokens

    monkeypatch.setattr(Claim, "reserve", lambda claim: None)
    monkeypatch.setattr(Claim, "settle", charge)
    async with kept_stage(plan(tmp_path, budget(1800))) as scene:
        await asyncio.gather(*(scene.ask(_asked(number, stream=True)) for number in range(100)))
        await scene.settled()
        assert charged(scene) > 1.3 * 1800


@virtual_time
async def test_an_attempt_that_fails_costs_no_budget(tmp_path: Path) -> None:
    """The request is sent again, reserves anew and is charged once."""
    refuse = faults(fault(FaultKind.REFUSE, nth=1, status=500))
    async with passing_time(), stage(EngineWorker(refuse), plan=plan(tmp_path, budget(5000))) as scene:
        assert (await scene.ask(_asked(1, max_tokens=50))).status == 200
        await scene.settled()
        (one,) = budgets_of(scene)
        assert scene.last.attempts == 2
        assert one.tally.settled == charged(scene)
        assert one.tally.reservations == 0


@virtual_time
async def test_clients_that_leave_give_their_reservation_back(tmp_path: Path) -> None:
    """While they stream, while they wait for the budget, and while their prompt is counted."""
    async with kept_stage(plan(tmp_path, budget(1500))) as scene:
        for turns in range(40):
            asking = [scene.asking(_asked(number, stream=True)) for number in range(4)]
            await scene.turn(turns)
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        await scene.settled()
        assert all(each.tally.reservations == 0 for each in budgets_of(scene))
        assert charged(scene) <= 1500


@virtual_time
async def test_what_cannot_be_shortened_is_refused_near_the_end(tmp_path: Path) -> None:
    """Beam search, `min_tokens` above what is left, and an image, of which nobody knows how long it is."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}
    bodies = [
        question("Hi", use_beam_search=True, n=2, max_tokens=300),
        question("Hi", max_tokens=900, min_tokens=800),
        {"model": MODEL, "messages": [{"role": "user", "content": [image]}], "max_tokens": 5},
    ]
    rights = frozenset({Right.BEAM_SEARCH})
    async with kept_stage(plan(tmp_path, budget(600), allow=rights)) as scene:
        assert [(await scene.ask(body)).status for body in bodies] == [429, 429, 429]
        assert (await scene.ask(question("Hi", max_tokens=900, min_tokens=100))).status == 200
        await scene.settled()
    async with kept_stage(plan(tmp_path / "more", budget(100_000), allow=rights)) as scene:
        assert (await scene.ask(bodies[1])).status == 200
        await scene.settled()


@virtual_time
async def test_a_ledger_that_works_again_is_read(tmp_path: Path) -> None:
    """A budget that refuses while the ledger is lost serves once it is found; one that allows counts meanwhile."""
    (tmp_path / "file").touch()
    strict, lax = budget(5000, on_ledger_loss="refuse"), budget(5000)
    tenants = (tenant("alice", budgets=(strict,)), tenant("bob", budgets=(lax,)))
    lost = replace(plan(tmp_path / "file" / "ledger"), tenants=tenants)
    async with kept_stage(lost) as scene:
        refused = await scene.ask(_asked(1))
        assert (refused.status, refused.json["error"]["code"]) == (503, "no_ledger")
        assert (await scene.ask(_asked(1), "bob")).status == 200
        assert not scene.budgets.is_read
        (tmp_path / "file").unlink()
        while (await scene.ask(_asked(1))).status == 503:
            await scene.turn()
        assert not scene.budgets.is_read, "nobody knows what bob had used"
        await scene.settled()


@virtual_time
async def test_a_period_that_ends_soon_is_worth_waiting_for(tmp_path: Path) -> None:
    """Half a minute before the hour an SDK is told to wait for it."""
    async with kept_stage(plan(tmp_path, budget(300, period="hour"))) as scene:
        scene.budgets.wall_clock = lambda: 1_796_043_570.0  # 2026-11-30T12:59:30Z
        await _use_up(scene)
        answer = await scene.ask(_asked(1))
        assert (answer.status, answer.header("retry-after")) == (429, "30")
        assert answer.header("x-should-retry") is None
