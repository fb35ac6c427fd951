"""One hostile tenant: whatever it sends, a modest tenant beside it is served as if it were alone.

The victim asks for 40 % of the throughput that was measured, at an even pace. Beside each attack it has no refusal, at
least 95 % of the service that it has alone, and a first token no later than alone and the longest time for which the
window was full before room came free; what others in its batch add to the engine's steps comes to that. Where the
window has a slack a request waits in the engine besides, for one release more for each sequence of slack. Under first
come, first served a plain flood must fail that. After each attack every worker serves as before, `/ready` has said so
all the time, and what was learned of the victim is what is learned of it alone; that no room, memory, connection,
descriptor or task is kept, the stage and the virtual loop check.

What is shared is what is charged, not time in a place. Let a request of the victim hold a place for t_v seconds and be
charged c_v, one of the attacker t_a and c_a. Where both always wait, both are charged r in a second, and with P places
r * (t_v / c_v + t_a / c_a) = P. Some attacks hold places long for little that is charged, so that 40 % of the
throughput is more than r: beside these the victim asks for less than r. Where it asks for more, it waits for its turn
and is charged as much as the attacker.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import quantiles
from typing import Any

import pytest
from virtual_time import run_in_virtual_time
from whole_gateway import CHAT, COMPLETIONS, Plan, Stage, chat, key_of, question, stage, tenant
from workers_on_stage import ENGINE_CONFIG, EngineWorker, fault

from backend.engine.config import EngineConfig
from backend.engine.faults import FaultKind, FaultScript
from gateway.config import Limits, Window
from gateway.events import RequestDispatched, RequestFinished
from gateway.outcomes import Outcome

TOKENS = 20
DEMAND = 0.4  # of what the engine gives
MEASURED_SECONDS = 2.5
WARM_UP_SECONDS = 0.5
CALLERS = 8
PLACES = 4
WINDOW_TOKENS = 2048
LEAST_SERVICE = 0.95
CURSE = "curse"
MIB = 2**20
WINDOW = Window(sequences=PLACES, slack=0, prefill_tokens=WINDOW_TOKENS)
SLACK = Window(sequences=PLACES, slack=1, prefill_tokens=WINDOW_TOKENS)
PLAN = Plan(tenants=(tenant("mallory", limits=Limits(max_queued=200)), tenant("bob")), window=WINDOW)

Steps = Callable[[Stage], Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True)
class Learned:
    """What the pool has learned of a tenant, as it is used: tokens of a prompt, of the next answer, and a second."""

    prompt_tokens: int
    answer_tokens: int
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What the victim got, and how the attacker's requests ended."""

    asked: int
    whole: int
    service: float
    waits: tuple[float, ...]
    longest_release_seconds: float
    others_step_seconds: float
    learned: Learned
    ends: Mapping[Outcome, int]
    demand: float  # what the victim's requests were charged for each second of its asking
    share: float  # what each of the two is charged in a second where both always wait
    attackers_service: float

    @property
    def late(self) -> float:
        """The 95th percentile of the waits for a first token, in seconds."""
        return quantiles(self.waits, n=20)[-1]

    def allowed(self, alone: "Seen", releases: int = 1) -> float:
        """How late a first token may be, in seconds, where it is as late as `alone` with nobody beside it."""
        return alone.late + releases * self.longest_release_seconds + self.others_step_seconds


# -- attacks


@dataclass(frozen=True, slots=True)
class Attack:
    """What `callers` of the attacker do again and again; some of it ends as `ends` says, or it was no such attack.

    `ends` is None where nothing of it becomes a request. The victim may wait for `releases`. Beside the attack it asks
    at `pace` times its usual pace, below 1 where that would be more than its share.
    """

    steps: Steps
    ends: Outcome | None = Outcome.COMPLETED
    engine: EngineConfig = ENGINE_CONFIG
    callers: int = CALLERS
    pause_seconds: float = 0.02
    releases: int = 1
    pace: float = 1.0

    async def play(self, scene: Stage) -> None:
        """Attack until cancelled."""
        await asyncio.gather(*(self._repeat(scene) for _ in range(self.callers)))

    async def _repeat(self, scene: Stage) -> None:
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.steps(scene)
            await asyncio.sleep(self.pause_seconds)


def asking(body: object, path: str = CHAT) -> Steps:
    """Ask, and read the answer."""
    return lambda scene: scene.ask(body, "mallory", path)


def leaving(body: object, seconds: float, *, reset: bool = True, **options: Any) -> Steps:
    """Ask, read nothing, and leave after `seconds`."""

    async def steps(scene: Stage) -> None:
        client = await scene.open(body, "mallory", **options)
        try:
            await asyncio.sleep(seconds)
        finally:
            if reset:
                client.leave()
            await client.close()

    return steps


async def flood_and_leave(scene: Stage) -> None:
    """Ask twice at once, and take the second request back where it waits."""
    await asyncio.gather(scene.ask(chat(TOKENS), "mallory"), leaving(chat(TOKENS), 0.02, reset=False)(scene))


def unfinished(sent: bytes, piece: bytes, seconds: float = 3.0) -> Steps:
    """Send the beginning of a request, and a piece more now and then, but never its end."""

    async def steps(scene: Stage) -> None:
        client = await scene.connect()
        try:
            client.send_raw(sent)
            for _ in range(int(seconds / 0.25)):
                await asyncio.sleep(0.25)
                client.send_raw(piece)
        finally:
            client.leave()
            await client.close()

    return steps


def stranger(scene: Stage) -> Coroutine[Any, Any, object]:
    """A key that nobody has."""
    return scene.post(CHAT, question(), "vtc-" + "0" * 43)


def failing(**terms: Any) -> EngineConfig:
    """The engine, with a fault for whatever is cursed."""
    return replace(ENGINE_CONFIG, faults=FaultScript((fault(contains=CURSE, **terms),)))


def cursed(ends: Outcome, **terms: Any) -> Attack:
    """Requests that the engine fails at, as `terms` of a fault say."""
    return Attack(asking(chat(TOKENS, prompt=CURSE)), ends, failing(**terms), pause_seconds=0.1)


def hot(ends: Outcome, pace: float = 1.0, *, stream: bool = True, **terms: Any) -> Attack:
    """The same by more callers, who hardly pause, so that they hold all places that they can get."""
    asks = asking(chat(TOKENS, prompt=CURSE, stream=stream))
    return Attack(asks, ends, failing(**terms), callers=12, pause_seconds=0.001, pace=pace)


def head(length: int) -> bytes:
    """The head of a chat of the attacker with a body of `length` bytes."""
    return (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('mallory')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


LONG = "word " * 300
LIES: dict[str, Any] = {"max_tokens": 1900, "stop": ["."], "temperature": 0, "priority": -99}
ATTACKS: Mapping[str, Attack] = {
    "a flood": Attack(asking(chat(TOKENS))),
    "a flood not streamed": Attack(asking(chat(TOKENS, stream=False))),
    "answers of one token": Attack(asking(chat(1, stream=False)), pause_seconds=0.05),
    "long prompts": Attack(asking(chat(1, prompt=LONG))),
    # The next of these goes as soon as one of its sequences has a place, so one waits at the engine: with n sequences
    # up to 2n - 2 beyond the window's places, which are two more releases.
    "several choices": Attack(asking(chat(TOKENS, n=4)), releases=3),
    "lists of prompts": Attack(
        asking({"model": "tiny", "prompt": ["a"] * 18, "max_tokens": 1}, COMPLETIONS), releases=3
    ),
    "the engine answers 500": cursed(Outcome.WORKER_FAILED, kind=FaultKind.REFUSE, status=500),
    "the engine answers 501": cursed(Outcome.WORKER_FAILED, kind=FaultKind.REFUSE, status=501),
    "the engine has no room, 429": cursed(Outcome.CLIENT_GONE_QUEUED, kind=FaultKind.REFUSE, status=429),
    "the engine has no room, 503": cursed(Outcome.CLIENT_GONE_QUEUED, kind=FaultKind.REFUSE, status=503),
    # Nothing of these is charged, and they hold all places: who is never charged must not go first for ever.
    "the engine breaks off at once": hot(Outcome.WORKER_FAILED, kind=FaultKind.CUT),
    # Of these little is charged: only what the gateway guesses of the prompt, and of an answer that it does not see.
    "the engine reports an error at once": hot(Outcome.WORKER_LOST_STREAMING, 0.75, kind=FaultKind.ERROR_EVENT),
    "the engine breaks off a whole answer": hot(Outcome.WORKER_LOST_STREAMING, 0.75, stream=False, kind=FaultKind.CUT),
    "the engine reports no usage": hot(Outcome.COMPLETED, 0.75, kind=FaultKind.NO_USAGE),
    "the engine reports no usage of a whole answer": hot(
        Outcome.COMPLETED, 0.75, stream=False, kind=FaultKind.NO_USAGE
    ),
    "the engine pauses in a stream": hot(Outcome.COMPLETED, 0.25, kind=FaultKind.STALL, after_tokens=3, seconds=1.0),
    "the engine breaks off": cursed(Outcome.WORKER_LOST_STREAMING, kind=FaultKind.CUT, after_tokens=3),
    "the engine reports an error": cursed(Outcome.WORKER_LOST_STREAMING, kind=FaultKind.ERROR_EVENT, after_tokens=3),
    "the engine claims too much": cursed(Outcome.COMPLETED, kind=FaultKind.WRONG_USAGE, usage_factor=1e6),
    "wrong fields": Attack(asking(chat(TOKENS, temperature=[])), Outcome.REJECTED_BY_ENGINE, pause_seconds=0.1),
    "clients that leave": Attack(leaving(chat(200), 0.1), Outcome.CLIENT_GONE_STREAMING),
    "clients that leave at once": Attack(leaving(chat(200), 0.0), Outcome.CLIENT_GONE_WAITING, pause_seconds=0.1),
    "clients that leave the queue": Attack(flood_and_leave, Outcome.CLIENT_GONE_QUEUED),
    "clients that leave an answer that is not streamed": Attack(
        leaving(chat(200, stream=False), 0.1), Outcome.CLIENT_GONE_WAITING
    ),
    "streams that nobody reads": Attack(leaving(chat(100), 2.0, receive_bytes=4096)),
    "slow heads": Attack(unfinished(head(9)[:-2], b"X-More: x\r\n"), None, callers=64),
    "slow bodies": Attack(unfinished(head(10_000), b" "), Outcome.CLIENT_GONE_QUEUED, callers=64),
    "bodies that are announced": Attack(unfinished(head(4 * MIB), b" "), Outcome.BODY_PUSHED_OUT, callers=64),
    "bodies that are too large": Attack(unfinished(head(5 * MIB), b""), Outcome.BODY_TOO_LARGE),
    "padded bodies": Attack(asking(chat(TOKENS, metadata={"padding": "x" * 200_000}))),
    "lies of length": Attack(asking(question("hi", stream=True, **LIES))),
    "wrong models": Attack(asking(question(model="none")), Outcome.UNKNOWN_MODEL, pause_seconds=0.1),
    "wrong keys": Attack(stranger, Outcome.UNAUTHENTICATED, pause_seconds=0.1),
    "utilities": Attack(asking({"model": "tiny", "prompt": "word " * 2_000}, "/tokenize"), pause_seconds=0.1),
    "pages": Attack(lambda scene: scene.get("/v1/models", key_of("mallory")), pause_seconds=0.1),
}


# -- the stage


@dataclass(slots=True)
class Watch:
    """Beside the clients: how long the window was full before room came free, and what `/ready` says."""

    scene: Stage
    releases: list[float] = field(default_factory=list)
    readiness: set[int] = field(default_factory=set)

    async def window(self) -> None:
        """Note each time for which all places were taken, until one came free."""
        scene, loop = self.scene, asyncio.get_running_loop()
        full_since: float | None = None
        known = 0
        while True:
            await scene.when(lambda known=known: len(scene.events) > known)
            news, known = scene.events[known:], len(scene.events)
            if full_since is not None and any(map(is_release, news)):
                self.releases.append(loop.time() - full_since)
                full_since = None
            is_full = scene.in_flight >= PLACES
            if full_since is None or not is_full:
                full_since = loop.time() if is_full else None

    async def ready(self) -> None:
        """Ask `/ready` again and again."""
        while True:
            self.readiness.add((await self.scene.get("/ready")).status)
            await asyncio.sleep(0.25)


def is_release(event: object) -> bool:
    """True for what shows that a full window has room: the end of what was sent, or another sending."""
    return isinstance(event, RequestDispatched) or (isinstance(event, RequestFinished) and bool(event.worker))


async def victim(scene: Stage, per_second: float, seconds: float = MEASURED_SECONDS) -> list[bool]:
    """Ask at an even pace; whether each answer was whole."""
    answers = []
    for _ in range(int(seconds * per_second)):
        answers.append(scene.asking(chat(TOKENS), "bob"))
        await asyncio.sleep(1 / per_second)
    return [answer.status == 200 and answer.is_done for answer in await asyncio.gather(*answers)]


def learned(scene: Stage, name: str) -> Learned:
    """What the pool has learned of tenant `name`."""
    pool = scene.account("tiny")
    return Learned(
        pool.prompts.estimate(name, 100), pool.lengths.expected(name, 2048), pool.speeds.tokens_per_second(name)
    )


async def play(attack: Attack | None, per_second: float, plan: Plan = PLAN) -> Seen:
    """The victim beside the attack, or alone."""
    engine = ENGINE_CONFIG if attack is None else attack.engine
    async with stage(EngineWorker(engine), plan=plan) as scene:
        watch = Watch(scene)
        beside: list[Awaitable[None]] = [watch.window(), watch.ready()]
        assert all(await victim(scene, per_second, WARM_UP_SECONDS))  # a tenant that is known before the attack begins
        tasks = [asyncio.ensure_future(each) for each in (*beside, *([attack.play(scene)] if attack else []))]
        await asyncio.sleep(WARM_UP_SECONDS)
        watch.releases.clear()
        before = len(scene.finished)
        attackers_before = scene.service("mallory")
        whole = await victim(scene, per_second)
        attackers_service = scene.service("mallory") - attackers_before
        assert not any(task.done() for task in tasks), "the attack or the watch is over"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await scene.settled()
        assert watch.readiness == {200}
        assert [worker.state for worker in scene.gateway.workers()] == ["serving"]
        assert {change.state for change in scene.changes} == {"serving"}
        mine = [event for event in scene.finished[before:] if event.tenant == "bob"]
        others = [event for event in scene.finished if event.tenant != "bob"]
        ends = [event.outcome for event in others]
        return Seen(
            len(whole),
            sum(whole),
            sum(event.service for event in mine),
            tuple(event.ttft_seconds for event in mine if event.ttft_seconds is not None),
            max(watch.releases, default=0.0),
            others_step_seconds([event.prompt_tokens for event in others]),
            learned(scene, "bob"),
            {outcome: ends.count(outcome) for outcome in set(ends)},
            sum(event.service for event in mine) / MEASURED_SECONDS,
            PLACES / (seconds_for_a_charge(mine) + seconds_for_a_charge(others)),
            attackers_service,
        )


def seconds_for_a_charge(events: Sequence[RequestFinished]) -> float:
    """Seconds in a place for each unit that is charged; 0 where nothing is."""
    held = [event for event in events if event.worker and event.service]
    seconds = sum(event.duration_seconds - (event.queue_wait_seconds or 0.0) for event in held)
    return seconds / max(1.0, sum(event.service for event in held))


def others_step_seconds(prompts: Sequence[int]) -> float:
    """What others in the batch add to the engine's step under way and to the next, which reads the victim's prompt."""
    cost, others = ENGINE_CONFIG.profile.cost, PLACES - 1
    read = min(WINDOW_TOKENS, others * max(prompts, default=0))
    return 2 * (others * cost.decode_sequence_seconds + read * cost.prefill_token_seconds)


async def capacity() -> float:
    """Answers a second that the engine gives if it always has something to do."""
    async with stage(EngineWorker(), plan=PLAN) as scene:
        crowd = asyncio.create_task(ATTACKS["a flood"].play(scene), name="crowd")
        await asyncio.sleep(WARM_UP_SECONDS)
        before = len(scene.finished)
        await asyncio.sleep(MEASURED_SECONDS)
        after = len(scene.finished)
        crowd.cancel()
        await asyncio.gather(crowd, return_exceptions=True)
        await scene.settled()
    return (after - before) / MEASURED_SECONDS


@pytest.fixture(scope="module")
def pace() -> float:
    """Answers a second that the victim asks for."""
    return DEMAND * run_in_virtual_time(capacity())


@cache
def lone(per_second: float) -> Seen:
    """What the victim gets if nobody else asks."""
    return run_in_virtual_time(play(None, per_second))


@pytest.mark.parametrize("name", ATTACKS)
def test_a_victim_is_served_as_if_it_were_alone(name: str, pace: float) -> None:
    """No refusal, 95 % of the service and more, no wait beyond one release, and nothing is left of the attack."""
    attack = ATTACKS[name]
    alone = lone(attack.pace * pace)
    seen = run_in_virtual_time(play(attack, attack.pace * pace))
    assert seen.whole == seen.asked == alone.asked
    assert seen.service >= LEAST_SERVICE * alone.service
    assert seen.late <= seen.allowed(alone, attack.releases)
    assert (attack.ends in seen.ends) if attack.ends else not seen.ends
    assert seen.learned.prompt_tokens == alone.learned.prompt_tokens
    assert seen.learned.answer_tokens == pytest.approx(alone.learned.answer_tokens, abs=1)
    assert seen.learned.tokens_per_second == pytest.approx(alone.learned.tokens_per_second, rel=0.25)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.pace < 1])
def test_a_victim_that_asks_for_more_than_its_share_is_charged_as_much_as_the_attacker(name: str, pace: float) -> None:
    """At its usual pace; it waits for its turn then, and the attacker is ahead by what the places hold at most."""
    attack = ATTACKS[name]
    seen = run_in_virtual_time(play(attack, pace))
    assert attack.pace * seen.demand < seen.share < seen.demand
    assert seen.whole == seen.asked
    request = seen.service / seen.asked
    assert seen.service >= seen.attackers_service - PLACES * request


def test_each_sequence_of_slack_adds_a_release_within_the_engine(pace: float) -> None:
    """With one sequence of slack a flood delays the victim's first token by two releases at most."""
    alone = lone(pace)
    seen = run_in_virtual_time(play(ATTACKS["a flood"], pace, replace(PLAN, window=SLACK)))
    assert seen.whole == seen.asked
    assert seen.service >= LEAST_SERVICE * alone.service
    assert seen.late <= seen.allowed(alone, 1 + SLACK.slack)


def test_first_come_first_served_fails_the_victim(pace: float) -> None:
    """A plain flood under fcfs: the victim waits for many releases."""
    seen = run_in_virtual_time(play(ATTACKS["a flood"], pace, replace(PLAN, scheduler={"policy": "fcfs"})))
    assert seen.late > seen.allowed(lone(pace))
