"""A worker sees few connections for what runs no model: probes, readings, tokenize and the like."""

import asyncio
import socket

import pytest
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage, tenant
from workers_on_stage import MODEL, EngineWorker, ScriptedWorker

from gateway.endpoints.failures import WorkerUnreachable
from gateway.endpoints.upstream import IDLE_SECONDS, WorkerPort, fetch
from gateway.endpoints.workers import MAX_OWN_CONNECTIONS, MAX_UTILITY_CONNECTIONS
from gateway.outcomes import Outcome

LISTED = f'{{"object":"list","data":[{{"id":"{MODEL}","object":"model"}}]}}'.encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(LISTED), LISTED)
GET = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
UTILITIES = {
    "/tokenize": {"model": MODEL, "prompt": "tea"},
    "/detokenize": {"model": MODEL, "tokens": [116]},
    "/v1/messages/count_tokens": {"model": MODEL, "messages": [{"role": "user", "content": "tea"}]},
}


class Witness:
    """A worker that keeps connections alive and counts them; it answers everything, or nothing while it is `silent`."""

    def __init__(self, answer: bytes = ANSWER) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_silent = False
        self.is_probed = True
        self.closes = False
        self.accepted = self.open = self.most_open = self.answered = 0
        self.url = ""

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                if self.is_silent and (head.startswith(b"POST") or not self.is_probed):
                    await reader.read()
                    return
                writer.write(self._answer)
                self.answered += 1
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def witnessed(worker: Witness) -> ScriptedWorker:
    """The same, as the stage takes workers."""
    return worker  # type: ignore[return-value]


async def knock(scene: Stage, path: str, times: int, at_once: int) -> None:
    """So many utility requests, so many at once."""

    async def client() -> None:
        for _ in range(times // at_once):
            assert (await scene.ask(UTILITIES[path], path=path)).status == 200

    await asyncio.gather(*(client() for _ in range(at_once)))


@virtual_time
async def test_an_idle_gateway_holds_as_many_connections_after_an_hour_as_after_a_minute() -> None:
    """Each probe goes over the connection of the one before."""
    worker = Witness()
    async with stage(witnessed(worker)):
        await asyncio.sleep(60)
        accepted, held = worker.accepted, worker.open
        answered = worker.answered
        await asyncio.sleep(3600)
        assert worker.answered > answered + 3000
        assert (worker.accepted, worker.open) == (accepted, held)
        assert held <= 2


@pytest.mark.parametrize("path", UTILITIES)
@virtual_time
async def test_thousands_of_utility_requests_need_as_many_connections_as_are_sent_at_once(path: str) -> None:
    """The gateway uses them again and closes them when nobody needs them."""
    worker = Witness()
    async with stage(witnessed(worker)) as scene:
        await asyncio.sleep(IDLE_SECONDS + 1)
        idle = worker.open
        await knock(scene, path, times=2000, at_once=8)
        assert worker.accepted <= idle + 8 + 1
        await asyncio.sleep(2 * IDLE_SECONDS)
        assert worker.open <= idle


@virtual_time
async def test_a_worker_that_closes_after_each_answer_leaves_nothing_behind() -> None:
    """A stale connection is replaced unseen, and what was closed is forgotten."""
    worker = Witness()
    worker.closes = True
    async with stage(witnessed(worker)) as scene:
        await knock(scene, "/tokenize", times=500, at_once=4)
        assert worker.most_open <= 4 + 2
        await asyncio.sleep(1.5)
        assert worker.open == 0


@virtual_time
async def test_requests_that_a_worker_never_answers_hold_a_bounded_number_of_connections() -> None:
    """The bound holds for many tenants; probes have their own connections and find the worker alive."""
    worker = Witness()
    names = [f"t{number}" for number in range(20)]
    plan = Plan(tenants=[tenant(name) for name in names])
    async with stage(witnessed(worker), plan=plan) as scene:
        worker.is_silent = True
        asking = [scene.asking(UTILITIES["/tokenize"], name, "/tokenize") for name in names for _ in range(10)]
        await asyncio.sleep(15)
        assert MAX_UTILITY_CONNECTIONS <= worker.open <= MAX_UTILITY_CONNECTIONS + MAX_OWN_CONNECTIONS
        assert {view.state for view in scene.gateway.workers()} == {"serving"}
        worker.is_silent = False
        await asyncio.gather(*asking)
        assert worker.most_open <= MAX_UTILITY_CONNECTIONS + MAX_OWN_CONNECTIONS
        assert Outcome.FIRST_BYTE_TIMEOUT in scene.outcomes
        assert (await scene.ask(UTILITIES["/tokenize"], names[0], "/tokenize")).status == 200


@virtual_time
async def test_probes_that_a_worker_never_answers_do_not_pile_up() -> None:
    """Readings do not pile up either: each one that is given up closes its connection."""
    worker = Witness()
    async with stage(witnessed(worker)) as scene:
        worker.is_silent, worker.is_probed = True, False
        await asyncio.sleep(600)
        assert worker.most_open <= MAX_OWN_CONNECTIONS
        assert scene.gateway.workers()[0].state == "down"


@virtual_time
async def test_connections_of_answers_are_closed_once_nobody_needs_them() -> None:
    """A burst leaves nothing open for longer than the engine keeps connections."""
    worker = EngineWorker()
    async with stage(worker, plan=Plan()) as scene:
        await asyncio.gather(*(scene.ask(chat(5)) for _ in range(20)))
        assert worker.open_connections > 2
        await asyncio.sleep(IDLE_SECONDS + 0.1)
        assert worker.open_connections <= 1, "more than the one of the probes"


@virtual_time
async def test_whoever_waits_for_a_connection_gets_it_in_order_and_one_that_gave_up_costs_nobody_his() -> None:
    """A bound of one: a place that a cancelled request was called for goes to the next."""
    worker = Witness()
    await worker.start()
    port = WorkerPort(worker.url, max_connections=1)
    order: list[int] = []

    async def ask(number: int) -> None:
        await fetch(port, GET, seconds=5, max_bytes=100)
        order.append(number)

    asking = [asyncio.create_task(ask(number)) for number in range(6)]
    await asyncio.sleep(0)
    asking[1].cancel()
    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait([asking[0]])
    asking[2].cancel()
    await asyncio.wait(asking)
    assert order in ([0, 3, 4, 5], [0, 2, 3, 4, 5])
    assert worker.accepted <= 2  # the one that was cancelled may have sent its request
    worker.is_silent, worker.is_probed = True, False
    with pytest.raises(WorkerUnreachable):
        await fetch(port, GET, seconds=5, max_bytes=100)
    worker.is_silent = False
    await ask(9)
    port.close()
    await worker.stop()


@virtual_time
async def test_a_new_connection_that_is_asked_for_takes_the_place_of_an_idle_one() -> None:
    """A confirmation asks whether the worker can still be reached."""
    worker = Witness()
    await worker.start()
    port = WorkerPort(worker.url, max_connections=1)
    for _ in range(3):
        await fetch(port, GET, seconds=5, max_bytes=100, fresh=True)
    assert worker.accepted == 3
    await asyncio.sleep(0.1)
    assert worker.open == 1
    port.retire()
    await asyncio.sleep(0.1)
    assert worker.open == 0
    await worker.stop()


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen", b""])
@virtual_time
async def test_what_came_since_the_last_answer_is_seen_before_a_connection_is_used_again(surplus: bytes) -> None:
    """Bytes, or the worker's end of it: the next request goes over another one."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = WorkerPort(f"http://127.0.0.1:{listener.getsockname()[1]}")
        asking = asyncio.create_task(fetch(port, GET, seconds=5, max_bytes=100))
        first, _ = await loop.sock_accept(listener)
        first.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        assert (await asking).body == b"{}"
        if surplus:
            first.sendall(surplus)
        else:
            first.shutdown(socket.SHUT_WR)
        asking = asyncio.create_task(fetch(port, GET, seconds=5, max_bytes=100))
        second, _ = await loop.sock_accept(listener)
        second.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine")
        assert (await asking).body == b"mine"
        port.close()
        first.close()
        second.close()
