"""A tenant's rates hold in the whole gateway, and every answer tells what is left of them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from burst import ALL, MESSAGES, PLAN, RATE, burst
from raw_client import Answer
from virtual_time import virtual_time
from whole_gateway import CHAT, MODEL, Stage, exactly, key_of, question, stage, tenant, with_gateway
from workers_on_stage import CPU_TINY, INSTANT, EngineWorker

from backend.engine.config import EngineConfig
from gateway.clients.rate_headers import RATE_HEADERS
from gateway.config import Limits

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("engine", [INSTANT, CPU_TINY], ids=["instant", "slow"])
@pytest.mark.parametrize("name", ALL)
@virtual_time
async def test_a_burst_is_held_to_the_rate(name: str, engine: EngineConfig) -> None:
    """At every endpoint, whole or streamed, from a cold start."""
    async with stage(EngineWorker(engine), plan=PLAN) as scene:
        await burst([scene], name)


@virtual_time
async def test_after_a_restart_an_answer_is_expected_once_more() -> None:
    """What was learned is lost with the process; it is guessed again, and not as nothing."""
    for _ in range(2):
        async with stage(EngineWorker(CPU_TINY), plan=PLAN) as scene:
            await burst([scene], "chat stream")


@virtual_time
async def test_a_newcomer_is_expected_to_answer_like_others() -> None:
    """Bob's answers have ten tokens, so all of alice's first twenty run, not three."""
    async with stage(EngineWorker(INSTANT), plan=PLAN) as scene:
        for _ in range(10):
            await scene.ask(question("ten", **exactly(10)), "bob")
        answers = await asyncio.gather(*(scene.ask(question("ten", max_tokens=500), "alice") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}


@virtual_time
async def test_over_many_minutes_no_more_is_used_than_the_rate() -> None:
    """Short answers are no credit for long ones: what was not foreseen is paid off before the next request."""
    async with stage(EngineWorker(INSTANT), plan=PLAN) as scene:
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        while loop.time() < began + 1200:
            number += 1
            answer = await scene.ask(question("ten", **exactly(500 if number % 2 else 1)), "alice")
            await asyncio.sleep(1.0 if answer.status == 200 else 2.0)
        used = sum(event.prompt_tokens + event.output_tokens for event in scene.finished)
        minutes = (loop.time() - began) / 60
        assert 0.8 * RATE * minutes <= used <= RATE * (minutes + 1) + 520


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@virtual_time
async def test_who_owes_more_than_a_minute_is_told_not_to_retry(path: str) -> None:
    """There is no `Retry-After`, the words name the time, and then the next request runs."""
    async with stage(EngineWorker(INSTANT), plan=PLAN) as scene:
        for _ in range(2):  # the second, while little is left, is much longer than expected
            assert (await scene.ask(question("ten", **exactly(1)), "alice")).status == 200
        scenes = await asyncio.gather(*(scene.ask(question("ten", **exactly(1500)), "alice") for _ in range(3)))
        assert {answer.status for answer in scenes} == {200}
        refused = await scene.ask(question("ten", max_tokens=10), "alice", path)
        assert (refused.status, refused.header("retry-after"), refused.header("x-should-retry")) == (429, None, "false")
        words = refused.json["error"]["message"]
        seconds = int(words.rpartition("Retry after ")[2].partition(" s")[0])
        assert 60 < seconds < 300
        await asyncio.sleep(seconds)
        assert (await scene.ask(question("ten", max_tokens=10), "alice", path)).status == 200


def told(answer: Answer) -> dict[str, str]:
    """What an answer says of rates, by the name of the header."""
    assert all((name in RATE_HEADERS) == ("ratelimit" in name) for name in answer.headers)
    return {name: value for name, value in answer.headers.items() if name in RATE_HEADERS}


def test_the_headers_are_documented() -> None:
    """Each name stands in the page of the API, those of tokens by one word."""
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert all(f"`{name.replace('tokens', 'requests')}`" in page for name in RATE_HEADERS)
    assert len(RATE_HEADERS) == 12


LIMITED = Limits(requests_per_minute=60, tokens_per_minute=RATE)
WITH_RATES = {"tenants": (tenant("alice", limits=LIMITED), tenant("bob")), "window": PLAN.window}
OPENAI = {
    "whole": (CHAT, question("ten", **exactly(10))),
    "stream": (CHAT, question("ten", **exactly(10), stream=True)),
    "tokenize": ("/tokenize", {"model": MODEL, "prompt": "hi"}),
    "wrong field": (CHAT, question("ten", max_tokens=-1)),
    "wrong model": (CHAT, question("ten", model="other")),
    "of the engine": (CHAT, question("ten" * 2000)),
    "models": ("/v1/models", None),
}


@pytest.mark.parametrize("name", OPENAI)
@with_gateway(**WITH_RATES)
async def test_openai_clients_are_told_what_is_left(scene: Stage, name: str) -> None:
    """Every answer of the API says it, a refusal too. A page does not, nor does an answer of a tenant without rates."""
    path, body = OPENAI[name]
    for each in ("alice", "bob"):
        answer = await (scene.get(path, key_of(each)) if body is None else scene.ask(body, each, path))
        if body is None or each == "bob":
            assert told(answer) == {}
            continue
        kinds = {"requests": 60, "tokens": RATE}
        names = [f"x-ratelimit-{fact}-{kind}" for kind in kinds for fact in ("limit", "remaining", "reset")]
        assert list(told(answer)) == names
        for kind, most in kinds.items():
            assert answer.header(f"x-ratelimit-limit-{kind}") == str(most)
            assert 0 <= int(answer.header(f"x-ratelimit-remaining-{kind}") or -1) <= most


@with_gateway(**WITH_RATES)
async def test_what_is_left_counts_the_request_itself(scene: Stage) -> None:
    """A stream says at its first byte what its expected answer leaves; the next answer knows what it really took."""
    first = await scene.ask(question("ten", stream=True, max_tokens=100), "alice")
    prompt = scene.last.prompt_tokens
    assert first.header("x-ratelimit-remaining-requests") == "59"
    assert first.header("x-ratelimit-reset-requests") in ("1s", "999ms")
    left = int(first.header("x-ratelimit-remaining-tokens") or 0)
    assert left == pytest.approx(RATE - 100 - prompt, abs=25)  # the prompt is guessed from its bytes
    assert first.header("x-ratelimit-reset-tokens") in ("7s", "8s")
    used = prompt + scene.last.output_tokens
    refused = await scene.ask(question("ten", max_tokens=-1), "alice")
    assert int(refused.header("x-ratelimit-remaining-tokens") or 0) == pytest.approx(RATE - used, abs=2)


@with_gateway(**WITH_RATES)
async def test_anthropic_clients_are_told_what_is_left(scene: Stage) -> None:
    """In their own names, with the time of the reset; at `count_tokens` and in a refusal too."""
    for path, body in [
        (MESSAGES, question("ten", max_tokens=10)),
        (MESSAGES, question("ten", max_tokens=10, stream=True)),
        (f"{MESSAGES}/count_tokens", question("ten")),
        (MESSAGES, question("ten", max_tokens=-1)),
    ]:
        before = datetime.now(UTC)
        answer = await scene.ask(body, "alice", path)
        names = [
            f"anthropic-ratelimit-{kind}-{fact}"
            for kind in ("requests", "tokens")
            for fact in ("limit", "remaining", "reset")
        ]
        assert list(told(answer)) == names
        reset = datetime.fromisoformat(answer.header(names[2]) or "")
        assert 0 <= (reset - before).total_seconds() <= 60


@with_gateway(tenants=(tenant("alice", limits=Limits(requests_per_minute=60)),))
async def test_a_rate_that_is_not_limited_is_not_told(scene: Stage) -> None:
    """Only requests are limited, so nothing is said of tokens."""
    answer = await scene.ask(question("ten", max_tokens=10), "alice")
    assert list(told(answer)) == [f"x-ratelimit-{fact}-requests" for fact in ("limit", "remaining", "reset")]
