"""The whole gateway produces every ending of a request once: status, body, event and settlement are right."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from raw_client import Answer, Client, ask
from virtual_time import expect_in_log, passing_time, virtual_time
from whole_gateway import CHAT, COMPLETIONS, Plan, Stage, chat, stage, tenant
from workers_on_stage import ENGINE_CONFIG, EngineWorker, fault, faults

from backend.engine.config import EngineConfig
from backend.engine.faults import FaultKind
from gateway.config import BudgetEntry, Ledger, Limits, OnLedgerLoss, Pool, Replicas, Timeouts, Window, WithoutStore
from gateway.outcomes import Outcome

ONE_AT_A_TIME = Window(sequences=1, slack=0, prefill_tokens=2048)
LIMITED_TO_ONE = Limits(requests_per_minute=1)
QUEUE_OF_ONE = Limits(max_queued=1)
REFUSE_TWICE = (
    fault(FaultKind.REFUSE, nth=1, status=500),
    fault(FaultKind.REFUSE, nth=2, status=500),
)

Act = Callable[[Stage], Awaitable[Answer | None]]


@dataclass(frozen=True, slots=True)
class Case:
    """How an outcome is brought about; `is_charged` says whether the tenant pays for it, `ledger` where one is kept."""

    act: Act
    engine: EngineConfig = ENGINE_CONFIG
    plan: Plan = field(default_factory=Plan)
    is_charged: bool = False
    ledger: str = ""


def asks(body: object, path: str = CHAT) -> Act:
    """Send one request and read its answer."""

    async def act(scene: Stage) -> Answer:
        return await scene.ask(body, path=path)

    return act


def lines(scene: Stage, request: str) -> bytes:
    """Return `request` with alice's credential in it."""
    credential = f"Authorization: {scene.credential('alice')['Authorization']}"
    return request.format(credential=credential).replace("\n", "\r\n").encode()


def sends(request: str) -> Act:
    """Send bytes on a connection of their own and read the answer."""

    async def act(scene: Stage) -> Answer:
        client = await Client.connect(scene.url)
        client.send_raw(lines(scene, request))
        answer = await client.read()
        await client.close()
        return answer

    return act


async def with_a_wrong_key(scene: Stage) -> Answer:
    """Use a key that nobody has."""
    return await ask(scene.url, CHAT, chat(), {"Authorization": "Bearer wrong"})


async def one_too_many(scene: Stage) -> Answer:
    """Send a request after the only one of this minute."""
    await scene.ask(chat(1))
    return await scene.ask(chat(1))


async def behind_another(scene: Stage) -> Answer:
    """Send a request while one runs and one waits."""
    running = scene.asking(chat(1000))
    await scene.until(lambda: scene.in_flight)
    waiting = scene.asking(chat(1))
    await scene.until(lambda: scene.queued)
    answer = await scene.ask(chat(1))
    running.cancel()
    waiting.cancel()
    await scene.turn(10)
    return answer


async def beyond_the_memory(scene: Stage) -> Answer:
    """Send a request while two uploads of the same tenant take all the memory that there is."""
    uploads = [await scene.connect() for _ in range(2)]
    for upload in uploads:
        upload.send_raw(lines(scene, f"{POST}Content-Length: {2**20}\n\n"))
    await scene.until(lambda: scene.held_bytes == 2 * 2**20)
    answer = await scene.ask(chat())
    for upload in uploads:
        upload.leave()
    return answer


async def waits_too_long(scene: Stage) -> Answer:
    """Send a request behind one that takes longer than the queue's time-out."""
    running = scene.asking(chat(1000))
    await scene.until(lambda: scene.in_flight)
    answer = await scene.ask(chat(1))
    running.cancel()
    await scene.turn(10)
    return answer


async def without_a_worker(scene: Stage) -> Answer:
    """Send a request when the only worker is known to be dead."""
    scene.engines[0].kill()
    await scene.until_worker_is("down")
    return await scene.ask(chat())


async def while_draining(scene: Stage) -> Answer:
    """Send a request on an open connection after the gateway began to stop."""
    client = await Client.connect(scene.url)
    running = scene.asking(chat(10))
    await scene.until(lambda: scene.in_flight)
    stopping = scene.stopping()
    await scene.turn()
    client.send(CHAT, chat(), scene.credential("alice"))
    answer = await client.read()
    await client.close()
    assert (await running).is_done
    await stopping
    return answer


async def leaves_while_queued(scene: Stage) -> None:
    """Break off while another request has the room."""
    running = scene.asking(chat(50))
    await scene.until(lambda: scene.in_flight)
    client = await scene.open(chat(10))
    await scene.until(lambda: scene.queued)
    client.leave()
    await scene.until(lambda: not scene.queued)
    running.cancel()
    await scene.turn(10)


async def leaves_while_waiting(scene: Stage) -> None:
    """Break off before the first byte."""
    client = await scene.open(chat(100))
    await scene.until(lambda: scene.in_flight)
    client.leave()


async def leaves_while_streaming(scene: Stage) -> None:
    """Break off after some chunks."""
    client = await scene.open(chat(1000))
    await client.read_head()
    for _ in range(10):
        await client.read_piece()
    client.leave()


async def reads_nothing(scene: Stage) -> None:
    """Ask for megabytes and never read."""
    client = await scene.open(chat(1900, logprobs=True, top_logprobs=20), receive_bytes=4096)
    await scene.until_finished(1)
    client.leave()


async def kills_its_worker_twice(scene: Stage) -> Answer:
    """Ask for what the worker dies of, and have it come back once."""
    asking = scene.asking(chat())
    await scene.until_worker_is("down")
    await scene.engines[0].start()
    return await asking


async def longer_than_the_grace(scene: Stage) -> Answer:
    """Stream while the gateway stops and its grace ends."""
    client = await scene.open(chat(1900))
    await client.read_head()
    stopping = scene.stopping()
    answer = await client.read_rest()
    await client.close()
    await stopping
    return answer


async def hits_a_bug(scene: Stage) -> Answer:
    """Let the gateway meet a mistake of its own."""
    expect_in_log("failed: AttributeError")
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Pool, "knows_prefixes")
        return await scene.ask(chat())


async def without_descriptors(scene: Stage) -> Answer:
    """Send a request for which the gateway can open no connection."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    client = await Client.connect(scene.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.endpoints.upstream.socket.socket", refuse)
        client.send(CHAT, chat(), scene.credential("alice"))
        answer = await client.read()
    await client.close()
    assert [change.state for change in scene.changes] == ["serving"]
    return answer


STRICT_BUDGET = BudgetEntry(amount=1000, on_ledger_loss=OnLedgerLoss.REFUSE)
NO_STORE = Replicas(store="unix:///nowhere", name="g0", without_store=WithoutStore.REFUSE)


async def without_a_store(scene: Stage) -> Answer:
    """Send a request after the store of the fleet has been silent for longer than the lease."""
    await asyncio.sleep(NO_STORE.lease_seconds + 1.0)
    readiness = await scene.get("/ready")
    assert (readiness.status, readiness.json["status"]) == (503, "no store")
    return await scene.ask(chat())


POST = f"POST {CHAT} HTTP/1.1\nHost: gateway\n{{credential}}\n"


CASES = {
    Outcome.COMPLETED: Case(asks(chat()), is_charged=True),
    Outcome.REJECTED_BY_ENGINE: Case(asks(chat()), faults(fault(FaultKind.REFUSE, status=400))),
    Outcome.BAD_REQUEST: Case(asks(b"{")),
    Outcome.UNAUTHENTICATED: Case(with_a_wrong_key),
    Outcome.FORBIDDEN: Case(asks({"model": "tiny", "prompt": "hi", "echo": True}, COMPLETIONS)),
    Outcome.UNKNOWN_MODEL: Case(asks(chat(model="large"))),
    Outcome.UNKNOWN_PATH: Case(asks(chat(), "/v1/images")),
    Outcome.WRONG_METHOD: Case(sends(f"GET {CHAT} HTTP/1.1\nHost: gateway\n{{credential}}\n\n")),
    Outcome.BODY_TIMEOUT: Case(sends(f"{POST}Content-Length: 10\n\n")),
    Outcome.BODY_TOO_LARGE: Case(sends(f"{POST}Content-Length: 100000000\n\n")),
    Outcome.UNSUPPORTED_MEDIA: Case(sends(f"{POST}Content-Type: text/plain\nContent-Length: 2\n\nhi")),
    Outcome.QUARANTINED: Case(kills_its_worker_twice, faults(fault(FaultKind.EXIT, every=1))),
    Outcome.RATE_LIMITED: Case(one_too_many, plan=Plan(tenants=(tenant("alice", limits=LIMITED_TO_ONE),))),
    Outcome.BUDGET_USED_UP: Case(
        asks(chat()), plan=Plan(tenants=(tenant("alice", budgets=(BudgetEntry(amount=5),)),)), ledger="ledger"
    ),
    Outcome.TENANT_QUEUE_FULL: Case(
        behind_another, plan=Plan(window=ONE_AT_A_TIME, tenants=(tenant("alice", limits=QUEUE_OF_ONE),))
    ),
    Outcome.PUSHED_OUT: Case(behind_another, plan=Plan(window=ONE_AT_A_TIME, scheduler={"max_queued": 1})),
    Outcome.BODY_PUSHED_OUT: Case(beyond_the_memory, plan=Plan(listen={"max_body_mib": 1, "max_bodies_mib": 2})),
    Outcome.QUEUE_TIMEOUT: Case(
        waits_too_long, plan=Plan(window=ONE_AT_A_TIME, scheduler={"queue_timeout_seconds": 1})
    ),
    Outcome.NO_WORKER: Case(without_a_worker, plan=Plan(pool={"timeouts": Timeouts(outage_seconds=0)})),
    Outcome.DRAINING: Case(while_draining),
    Outcome.NO_ROOM: Case(asks(chat()), faults(fault(FaultKind.REFUSE, every=1, status=503))),
    Outcome.GATEWAY_EXHAUSTED: Case(without_descriptors),
    Outcome.NO_LEDGER: Case(
        asks(chat()), plan=Plan(tenants=(tenant("alice", budgets=(STRICT_BUDGET,)),)), ledger="file/ledger"
    ),
    Outcome.NO_STORE: Case(without_a_store, plan=Plan(replicas=NO_STORE)),
    Outcome.CLIENT_GONE_QUEUED: Case(leaves_while_queued, plan=Plan(window=ONE_AT_A_TIME)),
    Outcome.CLIENT_GONE_WAITING: Case(leaves_while_waiting, is_charged=True),
    Outcome.CLIENT_GONE_STREAMING: Case(leaves_while_streaming, is_charged=True),
    Outcome.CLIENT_STALLED: Case(reads_nothing, is_charged=True),
    Outcome.WORKER_FAILED: Case(asks(chat()), faults(*REFUSE_TWICE)),
    Outcome.FIRST_BYTE_TIMEOUT: Case(asks(chat()), faults(fault(FaultKind.STALL_FIRST_BYTE, every=1))),
    Outcome.WORKER_LOST_STREAMING: Case(asks(chat()), faults(fault(FaultKind.CUT, after_tokens=5)), is_charged=True),
    Outcome.WORKER_STALLED: Case(asks(chat()), faults(fault(FaultKind.STALL, after_tokens=5)), is_charged=True),
    Outcome.CUT_BY_SHUTDOWN: Case(longer_than_the_grace, plan=Plan(listen={"drain_seconds": 1}), is_charged=True),
    Outcome.INTERNAL: Case(hits_a_bug),
}
CUT_IN_MID_STREAM = {Outcome.WORKER_LOST_STREAMING, Outcome.WORKER_STALLED, Outcome.CUT_BY_SHUTDOWN}


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.value)
@virtual_time
async def test_every_outcome_has_its_status_body_event_and_settlement(outcome: Outcome, tmp_path: Path) -> None:
    """Each outcome of the closed list ends one request with its own status, error code, event and charge."""
    case = CASES[outcome]
    plan = case.plan
    if case.ledger:
        (tmp_path / "file").touch()
        plan = replace(plan, ledger=Ledger(folder=tmp_path / case.ledger))
    async with passing_time(), stage(EngineWorker(case.engine), plan=plan) as scene:
        answer = await case.act(scene)
        await scene.settled()
        found = [event for event in scene.finished if event.outcome is outcome]
        assert len(found) == 1, scene.outcomes
        event = found[0]
        assert event.status == (200 if outcome in CUT_IN_MID_STREAM else outcome.wire_form.status)
        assert (event.service > 0) is case.is_charged
        assert event.service == pytest.approx(event.prompt_tokens + 2 * event.output_tokens)
        if answer is not None:
            check_answer(answer, outcome)


def check_answer(answer: Answer, outcome: Outcome) -> None:
    """Assert that the client's answer says how its request ended."""
    assert answer.is_whole
    assert answer.headers["x-request-id"] == answer.headers["request-id"]
    if outcome in CUT_IN_MID_STREAM:
        assert answer.status == 200
        assert not answer.is_done
        error = answer.error
    else:
        assert answer.status == outcome.wire_form.status
        error = None if outcome is Outcome.COMPLETED else answer.json["error"]
    if outcome is Outcome.COMPLETED:
        assert answer.is_done
    elif outcome is not Outcome.REJECTED_BY_ENGINE:
        assert error is not None
        assert (error["type"], error["code"]) == (outcome.wire_form.openai_type, outcome.wire_form.openai_code)
    is_retryable = answer.status in (429, 503) and outcome is not Outcome.BUDGET_USED_UP
    assert ("retry-after" in answer.headers) is is_retryable
