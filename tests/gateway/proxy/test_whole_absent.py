"""The log reports a worker that does not serve at once and again and again, and also when it comes."""

import asyncio
import json
from typing import Any

import pytest
from virtual_time import virtual_time
from whole_gateway import Stage, chat, stage
from workers_on_stage import EngineWorker, ScriptedWorker

from backend.engine.faults import FaultScript
from gateway.watch.reminders import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

HOUR_SECONDS = 3600


class LateWorker(EngineWorker):
    """An engine whose port is known before anything listens there."""

    async def start(self, faults: FaultScript | None = None) -> None:
        """Take a port, and be gone from it."""
        await super().start(faults)
        self.kill()

    async def arrive(self) -> None:
        """Listen."""
        await super().start()


def lines_of(scene: Stage, worker: str) -> list[dict[str, Any]]:
    """The log's lines about `worker`, in order."""
    lines = [json.loads(line) for line in scene.end_log().splitlines()]
    return [line for line in lines if line.get("worker") == worker and line["event"] != "request"]


@virtual_time
async def test_a_worker_never_reached_is_reported_with_address_reason_and_remedy_until_it_is() -> None:
    """A bounded number of warnings in an hour, the first at the start; then one line that it serves, and no more."""
    late = LateWorker()
    async with stage(late) as scene:
        first = await scene.get("/ready")
        await asyncio.sleep(HOUR_SECONDS)
        await late.arrive()
        assert first.status == 503
        assert (await scene.ask(chat(2))).status == 503
        await scene.until_worker_is("serving")
        await asyncio.sleep(HOUR_SECONDS)
        *warnings, last = lines_of(scene, "tiny/w0")
        assert {(line["event"], line["level"]) for line in warnings} == {("worker remark", "warning")}
        assert 5 <= len(warnings) <= HOUR_SECONDS / LONGEST_PAUSE_SECONDS + 6
        for line in warnings:
            assert f"at {late.url}: no connection: " in line["remark"]
            assert "start the engine there, or correct `url`" in line["remark"]
        assert warnings[0]["remark"].startswith("has not served yet at ")
        assert "has not served yet for 30 s at " in warnings[1]["remark"]
        assert (last["event"], last["state"], last["level"]) == ("worker", "serving", "info")


@virtual_time
async def test_one_that_is_down_for_long_is_reported_again() -> None:
    """Its loss is a line at once; it comes again at growing intervals with the address, and its return is a line."""
    worker = EngineWorker()
    async with stage(worker) as scene:
        worker.kill()
        await scene.until_worker_is("down")
        await asyncio.sleep(7 * FIRST_PAUSE_SECONDS + 5)
        await worker.start()
        await scene.until_worker_is("on_trial")
        assert (await scene.ask(chat(2))).status == 200
        lines = lines_of(scene, "tiny/w0")
        logged = [line["state"] if line["event"] == "worker" else "remark" for line in lines]
        assert logged == ["serving", "down", "remark", "remark", "remark", "on_trial", "serving"]
        assert [line["level"] for line in lines] == ["info", *["warning"] * 4, "info", "info"]
        assert f"is down for 30 s at {worker.url}: no connection: " in lines[2]["remark"]


@virtual_time
@pytest.mark.parametrize(
    ("traits", "reason", "remedy"),
    [
        ({"probe_status": 401}, "status 401", "set the worker's `api_key`"),
        ({"probe_status": 302}, "status 302", "`url` must lead to an engine"),
        ({"models": b'{"data": []}'}, "does not list `tiny`", "`url` must lead to an engine"),
        ({"answers_probes": False}, "no answer within", "see whether the engine hangs"),
        ({"probe_status": 500}, "status 500", "the engine's own log says more"),
    ],
)
async def test_the_remedy_is_that_of_the_reason(traits: dict[str, Any], reason: str, remedy: str) -> None:
    """Each way in which a worker is not one says what to do about it."""
    worker = answering()
    for name, value in traits.items():
        setattr(worker, name, value)
    async with stage(worker) as scene:
        await asyncio.sleep(5)
        (line,) = lines_of(scene, "tiny/w0")
        assert reason in line["remark"]
        assert remedy in line["remark"]


def answering() -> ScriptedWorker:
    """A worker whose only traffic that counts are probes."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("no request reaches a worker that does not serve")

    return ScriptedWorker(respond)
