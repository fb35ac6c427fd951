"""A lost, a frozen and a silent worker cost what docs/results.md promises, figure by figure, in virtual time."""

import asyncio

from raw_client import Answer
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import MODEL, EngineWorker, ScriptedWorker, fault, faults

from backend.engine.config import EngineConfig
from backend.engine.faults import FaultKind
from gateway.config import Timeouts, Window
from gateway.outcomes import Outcome

RUNNING, WAITING_THERE, QUEUED = 50, 25, 200  # of each worker, of each worker, of the gateway
NOTICED_SECONDS = 1.0
FIRST_BYTE_SECONDS, STALL_SECONDS, PROBE_SECONDS = 3.0, 5.0, 3.0  # a probe each second that may take two


def crowded() -> EngineWorker:
    """Make a worker that runs fifty and lets the others wait for their first byte."""
    return EngineWorker(EngineConfig.of_profile("cpu-tiny", MODEL, max_num_seqs=RUNNING))


def has_begun(scene: Stage) -> int:
    """Return how many requests the engines generate for."""
    return sum(count.output_tokens > 0 for worker in scene.engines for count in worker.engine.witness.requests.values())


@virtual_time
async def test_a_worker_killed_under_full_load_costs_its_streams_and_nothing_else() -> None:
    """None of 200 queued and of 50 without a byte is lost; each stream of the dead worker has one error event."""
    window = Window(sequences=RUNNING + WAITING_THERE, slack=0, prefill_tokens=1_000_000)
    plan = Plan(window=window, scheduler={"queue_timeout_seconds": 600})
    async with stage(crowded(), crowded(), plan=plan) as scene:
        asking = [scene.asking(chat(40, prompt=f"tea {n}")) for n in range(2 * (RUNNING + WAITING_THERE) + QUEUED)]
        await scene.until(lambda: scene.queued == QUEUED)
        await scene.until(lambda: sum(len(worker.sent) for worker in scene.engines) == 2 * (RUNNING + WAITING_THERE))
        while has_begun(scene) < 2 * RUNNING:
            await scene.turn()
        scene.engines[0].kill()
        await asyncio.sleep(NOTICED_SECONDS)
        assert [change.state for change in scene.changes if change.worker == "tiny/w0"][-1] == "down"
        assert scene.gateway.workers()[0].sequences_in_flight == 0
        scene.check()
        answers = await asyncio.gather(*asking)
        check_answers(answers, scene)
        lost = [event for event in scene.finished if event.outcome is Outcome.WORKER_LOST_STREAMING]
        assert len(lost) == RUNNING
        assert {event.worker for event in lost} == {"tiny/w0"}
        assert all(event.output_tokens and event.attempts == 1 for event in lost)
        retried = [event for event in scene.finished if event.attempts > 1]
        assert len(retried) == WAITING_THERE
        assert {event.attempts for event in retried} == {2}


def check_answers(answers: list[Answer], scene: Stage) -> None:
    """Assert that every answer is whole, or ends in exactly one error event without the end marker."""
    broken = [answer for answer in answers if answer.error is not None]
    assert all(answer.status == 200 and answer.is_whole for answer in answers)
    assert all(b"[DONE]" not in answer.body for answer in broken)
    assert all(answer.is_done for answer in answers if answer.error is None)
    assert len(broken) == RUNNING
    assert {event.outcome for event in scene.finished} == {Outcome.COMPLETED, Outcome.WORKER_LOST_STREAMING}


@virtual_time
async def test_a_frozen_worker_is_ejected_and_tried_with_one_request() -> None:
    """It accepts connections and says nothing: it is out within a limit and a probe, and back by one request."""
    is_frozen = asyncio.Event()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_frozen.is_set():
            await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    frozen = ScriptedWorker(respond)
    timeouts = Timeouts(connect_seconds=2, first_byte_seconds=FIRST_BYTE_SECONDS, stall_seconds=STALL_SECONDS)
    async with stage(frozen, EngineWorker(), plan=Plan(pool={"timeouts": timeouts})) as scene:
        is_frozen.set()
        frozen.answers_probes = False
        asking = [scene.asking(chat(5, prompt=f"tea {n}")) for n in range(8)]
        await asyncio.sleep(FIRST_BYTE_SECONDS + PROBE_SECONDS)
        assert [change.state for change in scene.changes if change.worker == "tiny/w0"][-1] == "down"
        assert all(answer.is_done for answer in await asyncio.gather(*asking))
        asked = len(frozen.requests)
        assert (await scene.ask(chat(5))).is_done
        assert len(frozen.requests) == asked
        frozen.answers_probes = True
        await scene.until_worker_is("on_trial")
        more = [scene.asking(chat(100)) for _ in range(6)]
        await asyncio.sleep(FIRST_BYTE_SECONDS - 1)
        assert len(frozen.requests) == asked + 1
        assert all(answer.is_done for answer in await asyncio.gather(*more))


@virtual_time
async def test_a_stream_that_falls_silent_ends_within_a_second_of_its_limit() -> None:
    """Nothing comes after seven tokens: the end comes at the limit after the last, and seven are paid for."""
    script = faults(fault(FaultKind.STALL, after_tokens=8))
    timeouts = Timeouts(connect_seconds=2, first_byte_seconds=FIRST_BYTE_SECONDS, stall_seconds=STALL_SECONDS)
    async with stage(EngineWorker(script), plan=Plan(pool={"timeouts": timeouts})) as scene:
        client = await scene.open(chat(50))
        answer = await client.read()
        await client.close()
        assert answer.error is not None
        assert answer.error["code"] == "worker_stalled"
        *_, last_token, end = answer.times
        assert STALL_SECONDS <= end - last_token <= STALL_SECONDS + 1
        tokens = sum(
            "choices" in document and bool(document["choices"][0]["delta"].get("content"))
            for document in answer.documents
        )
        assert scene.last.output_tokens == tokens > 0
        assert scene.last.service == scene.last.prompt_tokens + 2 * tokens
