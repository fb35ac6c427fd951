"""What the event loop hands to the writer, and when, in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from virtual_time import run_in_virtual_time

from gateway.config import Pool, Prices
from gateway.events import OpenRequest, RequestDispatched, WorkerChanged
from gateway.ledger.recorder import FLUSH_SECONDS, NOTE_SECONDS, Recorder
from gateway.ledger.worker_times import Reading
from gateway.ledger.writer import Delivery

from .books import NOON, PRICES, finished, open_request


class Writer:
    """Keeps what it is handed, with the time."""

    def __init__(self) -> None:
        self.works = True
        self.taken: list[tuple[float, Delivery]] = []

    def take(self, delivery: Delivery) -> None:
        self.taken.append((asyncio.get_running_loop().time(), delivery))

    def start(self) -> None: ...

    def close(self) -> int:
        return 0

    @property
    def ended(self) -> list[tuple[float, list[str]]]:
        return [(time, [each.event.request_id for each in one.ended]) for time, one in self.taken if one.ended]

    @property
    def noted(self) -> list[tuple[float, list[str]]]:
        return [(time, [each.request.request_id for each in one.noted]) for time, one in self.taken if one.noted]


class Scene:
    """A recorder whose requests are open until they end."""

    def __init__(self) -> None:
        self.writer = Writer()
        self.open: dict[str, OpenRequest] = {}
        self.readings: list[Reading] = []
        loop = asyncio.get_running_loop()
        self.recorder = Recorder(self.writer, self.open.get, lambda: self.readings, lambda: NOON + loop.time())  # type: ignore[arg-type]

    def grant(self, *request_ids: str) -> None:
        for request_id in request_ids:
            self.open[request_id] = open_request(request_id)
            self.recorder.observe(RequestDispatched(request_id, "alice", "tiny", "w0", 0.0))

    def end(self, request_id: str, **changes: Any) -> None:
        self.open.pop(request_id, None)
        self.recorder.observe(finished(request_id, **changes))


def in_virtual_time(story: Callable[[Scene], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def run() -> None:
        scene = Scene()
        await story(scene)
        scene.writer.works = True
        for request_id in tuple(scene.open):
            scene.end(request_id)
        await asyncio.sleep(6 * NOTE_SECONDS)

    def test() -> None:
        run_in_virtual_time(run())

    test.__doc__ = story.__doc__
    return test


@in_virtual_time
async def test_ends_are_handed_over_together(scene: Scene) -> None:
    """Those of 50 ms at a time, in order; what ended that soon was never noted as open."""
    scene.grant("r1", "r2")
    scene.end("r1")
    await asyncio.sleep(FLUSH_SECONDS / 2)
    scene.end("r2")
    await asyncio.sleep(10)
    assert scene.writer.ended == [(FLUSH_SECONDS, ["r1", "r2"])]
    assert scene.writer.noted == []


@in_virtual_time
async def test_what_runs_is_noted_and_noted_again(scene: Scene) -> None:
    """After 50 ms and then each second, with what it has used by then, until it ends."""
    scene.grant("r1")
    await asyncio.sleep(0.5)
    scene.open["r1"] = open_request("r1", output_tokens=70)
    await asyncio.sleep(2)
    scene.end("r1")
    await asyncio.sleep(10)
    first = FLUSH_SECONDS
    assert scene.writer.noted == [(pytest.approx(first + second * NOTE_SECONDS), ["r1"]) for second in range(3)]
    tokens = [one.noted[0].request.output_tokens for _, one in scene.writer.taken if one.noted]
    assert tokens == [7, 70, 70]
    assert [ids for _, ids in scene.writer.ended] == [["r1"]]


@in_virtual_time
async def test_many_are_noted_in_parts(scene: Scene) -> None:
    """No turn of the event loop notes more than a hundred."""
    scene.grant(*(f"r{number}" for number in range(250)))
    await asyncio.sleep(FLUSH_SECONDS * 5)
    assert [len(ids) for _, ids in scene.writer.noted] == [100, 100, 50]
    scene.writer.taken.clear()
    await asyncio.sleep(NOTE_SECONDS)
    assert [len(ids) for _, ids in scene.writer.noted] == [100, 100, 50]


@in_virtual_time
async def test_in_trouble_only_ends_are_handed_over(scene: Scene) -> None:
    """Notes and figures of workers would fill the memory; they come again when the writer writes, none missing."""
    scene.writer.works = False
    scene.readings = [Reading("w0", 1.0, 0.0)]
    scene.grant("r1", "r2")
    scene.end("r1")
    await asyncio.sleep(3)
    assert [(one.ended[0].event.request_id, one.times) for _, one in scene.writer.taken] == [("r1", [])]
    scene.readings = [Reading("w0", 4.0, 0.0)]
    scene.writer.works = True
    await asyncio.sleep(NOTE_SECONDS)
    assert [ids for _, ids in scene.writer.noted] == [["r2"]]
    assert [each.busy_us for _, one in scene.writer.taken for each in one.times] == [4_000_000]


@in_virtual_time
async def test_a_further_attempt_belongs_to_the_first_grant(scene: Scene) -> None:
    """So do the prices: a reload does not change those of what runs."""
    scene.recorder.configure([Pool(model="tiny", engine_model="tiny", prices=PRICES)])
    scene.grant("r1")
    await asyncio.sleep(1)
    scene.recorder.configure([Pool(model="tiny", engine_model="tiny", prices=Prices(prompt=9))])
    scene.grant("r1", "r2")
    scene.end("r1")
    scene.end("r2")
    await asyncio.sleep(1)
    (delivery,) = [one for _, one in scene.writer.taken if one.ended]
    first, second = (each.grant for each in delivery.ended)
    assert first is not None and second is not None
    assert (first.at, first.prices) == (NOON, PRICES)
    assert (second.at, second.prices) == (NOON + 1, Prices(prompt=9))


@in_virtual_time
async def test_strangers_and_other_events_leave_no_row(scene: Scene) -> None:
    """A request without a tenant is nobody's; a refused one of a tenant has a row without a grant."""
    scene.end("r1", tenant="")
    scene.recorder.observe(WorkerChanged("tiny", "w0", "down", "test"))
    await asyncio.sleep(1)
    assert scene.writer.taken == []
    scene.end("r2")
    await asyncio.sleep(1)
    assert scene.writer.taken[0][1].ended[0].grant is None


@in_virtual_time
async def test_a_worker_that_leaves_has_its_last_figures(scene: Scene) -> None:
    """Also while the writer cannot write, for nobody can read them again; if it comes back, it counts from 0."""
    scene.readings = [Reading("w0", 1.0, 2.0, 5)]
    await asyncio.sleep(60)
    scene.recorder.start()
    scene.writer.works = False
    scene.recorder.worker_left(Reading("w0", 2.0, 4.0, 7))
    scene.writer.works = True
    scene.recorder.worker_left(Reading("w0", 0.5, 0.25, 1))
    parts = [each[2:5] for _, one in scene.writer.taken for each in one.times]
    assert parts == [(1_000_000, 2_000_000, 5), (1_000_000, 2_000_000, 2), (500_000, 250_000, 1)]


@in_virtual_time
async def test_the_time_of_workers_is_read_while_they_work(scene: Scene) -> None:
    """Each second, when nothing runs any more, and for some seconds after that; an idle gateway reads nothing."""
    scene.recorder.start()
    scene.readings = [Reading("w0", 0.5, 0.0)]
    scene.grant("r1")
    await asyncio.sleep(FLUSH_SECONDS + NOTE_SECONDS)
    assert [one.times[0].busy_us for _, one in scene.writer.taken if one.times] == [500_000]
    scene.readings = [Reading("w0", 1.5, 0.25)]
    scene.end("r1")
    await asyncio.sleep(FLUSH_SECONDS)
    assert [one.times[0].busy_us for _, one in scene.writer.taken if one.times] == [500_000, 1_000_000]
    await asyncio.sleep(NOTE_SECONDS)
    scene.readings = [Reading("w0", 1.5, 0.25, 70)]
    await asyncio.sleep(NOTE_SECONDS)
    assert scene.writer.taken[-1][1].times[0].generated_tokens == 70
    await asyncio.sleep(5 * NOTE_SECONDS)
    scene.readings = [Reading("w0", 1.5, 50.0, 80)]
    handed_over = len(scene.writer.taken)
    await asyncio.sleep(100)
    assert len(scene.writer.taken) == handed_over
