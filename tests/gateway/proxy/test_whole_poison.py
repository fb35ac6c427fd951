"""A request kills each worker that it meets: two die, it is refused, and no other client sees an error."""

import asyncio
from typing import Any

import pytest
from raw_client import Answer
from virtual_time import virtual_time
from whole_gateway import ADMIN_KEY, Plan, Stage, chat, stage, tenant
from workers_on_stage import EngineWorker, ScriptedWorker, fault, faults

from backend.engine.faults import FaultKind
from gateway.config import Timeouts, Window

POISON = "the prompt of death"
TENANTS = Plan(tenants=(tenant("alice"), tenant("bob"), tenant("mallory")))


def mortal(after_tokens: int = 0) -> EngineWorker:
    """Make a worker that dies of the poison."""
    return EngineWorker(faults(fault(FaultKind.EXIT, contains=POISON, after_tokens=after_tokens)))


def poison(**fields: Any) -> dict[str, Any]:
    """Return what kills it; `fields` make it another body."""
    return chat(20, prompt=POISON, **fields)


async def quarantine(scene: Stage) -> list[dict[str, Any]]:
    """Return what the gateway shows of each body that was at a worker when it died."""
    return (await scene.get("/debug/state", ADMIN_KEY)).json["quarantine"]


async def ask_on(scene: Stage, who: str, answers: list[Answer], enough: asyncio.Event) -> None:
    """Ask for one whole answer after another."""
    while not enough.is_set():
        answers.append(await scene.ask(chat(20, stream=False, prompt=f"tea for {who} {len(answers)}"), who))


async def reborn(worker: EngineWorker, seconds: float = 1.0) -> None:
    """Start `worker` again, each time some time after it died."""
    while True:
        await asyncio.sleep(seconds)
        if not worker.is_alive:
            await worker.start()


def is_refused_by_name(answer: Answer) -> bool:
    """Return whether this is the answer that a quarantined body gets."""
    return answer.status == 422 and answer.json["error"]["code"] == "request_quarantined"


@virtual_time
@pytest.mark.parametrize("stream", [False, True])
async def test_two_of_three_workers_die_and_the_others_clients_see_no_error(stream: bool) -> None:
    """The first sending is refused with its second worker, every later one at once; all others are answered."""
    workers = [mortal() for _ in range(3)]
    async with stage(*workers, plan=TENANTS) as scene:
        answers: list[Answer] = []
        enough = asyncio.Event()
        crowd = [asyncio.create_task(ask_on(scene, who, answers, enough)) for who in ("alice", "bob") * 6]
        await scene.when(lambda: len(scene.finished) > 20)
        first = await scene.ask(poison(stream=stream), "mallory")
        assert is_refused_by_name(first)
        assert scene.last.attempts == 2
        for _ in range(5):
            assert is_refused_by_name(await scene.ask(poison(stream=stream), "mallory"))
            assert scene.last.attempts == 0
        known = (await scene.get("/debug/state", ADMIN_KEY)).json["quarantine"]
        assert [each["tenant"] for each in known if each["standing"] == "convicted"] == ["mallory"]
        before = len(answers)
        await scene.when(lambda: len(answers) > before + 20)
        enough.set()
        await asyncio.gather(*crowd)
        assert [worker.is_alive for worker in workers].count(False) == 2
        assert {answer.status for answer in answers} == {200}


def claude_code_poison(attempt: int) -> dict[str, Any]:
    """Return the poison as Claude Code sends it: marked anew each time, streamed or not."""
    header = f"x-anthropic-billing-header: cc_version=2.1.7; cch={attempt:05x};"
    return {
        "model": "tiny",
        "max_tokens": 20,
        "stream": attempt % 2 == 0,
        "metadata": {"user_id": f"session {attempt}"},
        "system": [{"type": "text", "text": header}, {"type": "text", "text": "Be kind."}],
        "messages": [{"role": "user", "content": POISON}],
    }


@virtual_time
async def test_a_poison_that_is_marked_anew_each_time_is_the_same_poison() -> None:
    """Two workers die of it in all, not two for each attempt."""
    workers = [mortal() for _ in range(4)]
    async with stage(*workers, plan=TENANTS) as scene:
        for attempt in range(4):
            answer = await scene.ask(claude_code_poison(attempt), "mallory", "/v1/messages")
            assert answer.status == 422
        assert [worker.is_alive for worker in workers].count(False) == 2


@virtual_time
async def test_a_pool_of_one_worker_that_comes_back_dies_twice() -> None:
    """Requests beside the poison wait for the worker and are answered; the poison is not sent a third time."""
    worker = mortal()
    async with stage(worker, plan=TENANTS) as scene:
        rebirth = asyncio.create_task(reborn(worker))
        asking = [scene.asking(chat(50, stream=False, prompt=f"tea {n}"), "alice") for n in range(10)]
        await scene.until(lambda: scene.queued)
        sent = [await scene.ask(poison(stream=False), "mallory") for _ in range(3)]
        assert all(map(is_refused_by_name, sent))
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 10
        assert len(worker.lives) == 3
        rebirth.cancel()


@virtual_time
async def test_one_that_kills_after_its_first_byte_is_refused_at_its_third_sending() -> None:
    """Two streams end in an error event, and the third request is not sent."""
    workers = [mortal(after_tokens=5) for _ in range(3)]
    async with stage(*workers, plan=TENANTS) as scene:
        for _ in range(2):
            broken = await scene.ask(poison(), "mallory")
            assert broken.error is not None
            assert broken.error["code"] == "worker_lost"
            await scene.settled()
        assert is_refused_by_name(await scene.ask(poison(), "mallory"))
        assert [worker.is_alive for worker in workers].count(False) == 2


@virtual_time
async def test_the_refusal_speaks_both_dialects_and_is_the_tenants_own() -> None:
    """The refusal has Anthropic's form on its path, and another tenant may send the same body."""
    workers = [mortal() for _ in range(4)]
    body = {"model": "tiny", "max_tokens": 20, "messages": [{"role": "user", "content": POISON}]}
    async with stage(*workers, plan=TENANTS) as scene:
        for _ in range(2):
            answer = await scene.ask(body, "mallory", "/v1/messages")
            assert answer.status == 422
            assert answer.json["type"] == "error"
            assert answer.json["error"]["type"] == "invalid_request_error"
            assert "died" in answer.json["error"]["message"]
        assert (await scene.ask(body, "bob", "/v1/messages")).status == 422
        assert scene.last.attempts == 2


@virtual_time
async def test_two_poisons_at_once_cost_four_workers_and_nobody_an_answer() -> None:
    """Each is convicted at its own second death, whichever worker it is at."""
    workers = [mortal() for _ in range(5)]
    async with stage(*workers, plan=TENANTS) as scene:
        tea = [scene.asking(chat(30, stream=False, prompt=f"tea {n}"), "alice") for n in range(8)]
        ills = [scene.asking(poison(stream=False, temperature=t), "mallory") for t in (0.1, 0.2)]
        assert all(is_refused_by_name(answer) for answer in await asyncio.gather(*ills))
        assert {answer.status for answer in await asyncio.gather(*tea)} == {200}
        assert [worker.is_alive for worker in workers].count(False) <= 4


@virtual_time
async def test_innocents_that_were_beside_two_deaths_are_answered() -> None:
    """Each worker has a window full of them, none with a byte yet, and the poison among them."""
    plan = Plan(tenants=TENANTS.tenants, window=Window(sequences=16, slack=1, prefill_tokens=2048))
    silent = faults(fault(FaultKind.EXIT, contains=POISON), fault(FaultKind.STALL_FIRST_BYTE, every=1, seconds=1.0))
    workers = [EngineWorker(silent) for _ in range(3)]
    async with stage(*workers, plan=plan) as scene:
        asking = [scene.asking(chat(5, stream=False, prompt=f"tea {n}"), "alice") for n in range(40)]
        await scene.until(lambda: sum(len(worker.sent) for worker in workers) == 40)
        assert is_refused_by_name(await scene.ask(poison(), "mallory"))
        answers = await asyncio.gather(*asking)
        assert {answer.status for answer in answers} == {200}
        assert all(answer.is_whole for answer in answers)
        assert [worker.is_alive for worker in workers].count(False) == 2
        assert max(event.attempts for event in scene.finished if event.tenant == "alice") <= 3


@virtual_time
async def test_only_a_death_counts() -> None:
    """After a 5xx, a broken connection, a time-out, a 4xx or a client that leaves, the same body still runs."""
    script = (
        fault(FaultKind.REFUSE, nth=1, status=500),
        fault(FaultKind.REFUSE, nth=2, status=500),
        fault(FaultKind.CUT, nth=3),
        fault(FaultKind.REFUSE, nth=4, status=400),
        fault(FaultKind.STALL_FIRST_BYTE, nth=5),
        fault(FaultKind.STALL_FIRST_BYTE, nth=6),
        fault(FaultKind.STALL_FIRST_BYTE, nth=7),
    )
    plan = Plan(pool={"timeouts": Timeouts(connect_seconds=2, first_byte_seconds=3, stall_seconds=5)})
    async with stage(EngineWorker(faults(*script)), plan=plan) as scene:
        body = chat(20, prompt=POISON)
        assert (await scene.ask(body)).status == 502
        assert (await scene.ask(body)).status == 400  # the broken connection was its first attempt
        assert (await scene.ask(body)).status == 504
        client = await scene.open(body)
        await scene.until(lambda: scene.in_flight)
        await client.close()
        await scene.settled()
        assert (await scene.ask(body)).is_done
        assert await quarantine(scene) == []


@virtual_time
async def test_an_engine_that_calls_itself_dead_counts_as_dead() -> None:
    """vLLM's server outlives its engine for a moment: it answers 500 to what runs and 503 for its health."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dying.probe_status = 503
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\n{}")

    dying = ScriptedWorker(respond)
    async with stage(dying, EngineWorker()) as scene:
        assert (await scene.ask(chat(5, stream=False))).status == 200
        assert scene.last.attempts == 2
        assert [change.state for change in scene.changes if change.worker == "tiny/w0"][-1] == "down"
        assert [body["last_worker"] for body in await quarantine(scene)] == ["tiny/w0"]


@virtual_time
async def test_a_common_body_survives_a_worker_that_comes_and_goes() -> None:
    """Everybody sends the same body, which was answered: it is no poison, however often a worker dies with it."""
    steady, flapping = EngineWorker(), EngineWorker()
    async with stage(steady, flapping) as scene:
        for _ in range(6):
            asking = [scene.asking(chat(30, stream=False)) for _ in range(8)]
            await scene.when(lambda: any(grant.worker == "tiny/w1" for grant in scene.dispatched[-8:]))
            await scene.turn(10)
            flapping.kill()
            assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
            await flapping.start()
            await asyncio.sleep(40)  # until it is tried again


@virtual_time
async def test_whoever_waits_for_its_trial_leaves_with_its_client_and_with_the_gateway() -> None:
    """Of the suspects that wait, one leaves with its client, and the others get 503 when the gateway ends."""
    stalls = faults(fault(FaultKind.STALL_FIRST_BYTE, every=1))
    workers = [EngineWorker(stalls), EngineWorker(stalls)]
    plan = Plan(window=Window(sequences=8, slack=0, prefill_tokens=2048), listen={"drain_seconds": 0.5})
    async with stage(*workers, plan=plan) as scene:
        asking = [scene.asking(chat(300, stream=False, prompt=f"tea {n}")) for n in range(6)]
        await scene.until(lambda: len(workers[0].sent) == 3)
        workers[0].kill()
        await scene.when(lambda: len(scene.dispatched) == 9)
        order = [grant.request_id for grant in scene.dispatched]
        await scene.turn(100)
        assert len(workers[1].sent) == 4  # its own three and one suspect
        asking[order.index(order[-1])].cancel()  # they were dispatched in the order in which they were asked
        await scene.until_finished(1)
        assert scene.in_flight == 5
        await scene.stop()
        ends = await asyncio.gather(*asking, return_exceptions=True)
        assert {end.status for end in ends if isinstance(end, Answer)} == {503}
