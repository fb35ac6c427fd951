"""Calls to real stores: each gets its own reply or fails, whatever happens to the server, the caller or the loop."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from real_stores import a_store

from gateway.config import Replicas
from gateway.replicas.call import TURN, Reading, WorkerReport
from gateway.replicas.script import Status
from gateway.store.client import StoreClient

from .scene import COUNT, ECHO, POOL, SLOW_ECHO, failure_of, first_call, on_both, play, until, until_connected


@contextmanager
def busy_for(seconds: float) -> Iterator[None]:
    """A socket's callback holds up the loop, after it has asked for events and before it looks at its timers."""
    loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()

    def stand_still() -> None:
        loop.remove_reader(ours)
        time.sleep(seconds)

    with ours, theirs:
        loop.add_reader(ours, stand_still)
        theirs.send(b"x")
        yield


@on_both
@pytest.mark.parametrize("has_port", [False, True])
def test_a_turn_is_answered_over_a_unix_socket_and_over_tcp(kind: str, has_port: bool, tmp_path: Path) -> None:
    """The server's run id is told, and the script's reply is read."""
    with a_store(kind, tmp_path, has_port=has_port) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            run_id = await client.connected()
            assert run_id == store.client.info("server")["run_id"]
            (reply,) = await client.turns([(POOL, first_call(run_id))])
            assert (reply.status, reply.living) == (Status.OK, 1)
            await client.close()
            assert not client.is_connected

        play(story)


def test_a_host_is_looked_up_and_its_addresses_are_tried(tmp_path: Path) -> None:
    """The server listens on one of the addresses of `localhost`."""
    with a_store("redis", tmp_path, has_port=True) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=f"redis://localhost:{store.port}"))
            assert await client.connected() == store.client.info("server")["run_id"]
            await client.close()

        play(story)


def test_calls_of_several_pools_cost_the_server_one_read(tmp_path: Path) -> None:
    """Three pools in one call: three replies, in order, and one read of the socket."""
    with a_store("redis", tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            run_id = await client.connected()
            await client.turns([("warm", first_call(run_id))])
            before = store.client.info("stats")["total_reads_processed"]
            replies = await client.turns([(pool, first_call(run_id, pool)) for pool in ("a", "b", "c")])
            after = store.client.info("stats")["total_reads_processed"]
            assert after - before == 2  # the second one is that of the last line
            assert [reply.seq for reply in replies] == [1, 1, 1]
            assert await client.run(ECHO, [], ["other"]) == b"other"
            await client.close()

        play(story)


@on_both
def test_a_server_that_forgot_the_script_costs_no_failed_call(kind: str, tmp_path: Path) -> None:
    """The script is loaded when the server does not know it; replies keep their order."""
    with a_store(kind, tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            run_id = await client.connected()
            for round_number in range(1, 4):
                store.client.script_flush()
                calls = [(pool, first_call(run_id, pool, round_number)) for pool in ("a", "b")]
                assert [reply.seq for reply in await client.turns(calls)] == [round_number, round_number]
            await client.close()

        play(story)


@on_both
def test_a_worker_that_nobody_reports_any_more_is_forgotten(kind: str, tmp_path: Path) -> None:
    """When a replica registers anew without it; one that has a window stays, because another replica may report it."""
    with a_store(kind, tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            first = first_call(await client.connected())
            everything = replace(first, workers=[WorkerReport("w", 0), WorkerReport("gone", 0)])
            everything = replace(everything, readings=[Reading("tuned", 5, 0, 0, 0)])
            less = replace(first, incarnation=1, number=2, workers=[WorkerReport("w", 0)])
            for call, known in ((everything, {"w", "gone", "tuned"}), (less, {"w", "tuned"})):
                (reply,) = await client.turns([(POOL, call)])
                assert {worker.name for worker in reply.workers} == known
                assert {name.decode() for name in store.client.hkeys(TURN.key(POOL, "room"))} == known
            await client.close()

        play(story)


@on_both
def test_a_late_reply_reaches_nobody(kind: str, tmp_path: Path) -> None:
    """A frozen server carries out a call after its deadline; the next call gets its own reply."""
    with a_store(kind, tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            await client.connected()
            assert await client.run(COUNT, ["n"], []) == 1
            store.freeze()
            assert "no answer within 50 ms" in await failure_of(client.run(COUNT, ["n"], []))
            assert not client.is_connected
            store.thaw()
            await until(lambda: store.client.get("n") == b"2")
            await until_connected(client)
            assert await client.run(COUNT, ["n"], []) == 3
            await client.close()

        play(story)


@on_both
def test_a_cancelled_call_closes_its_connection(kind: str, tmp_path: Path) -> None:
    """Whoever shares the connection fails with it, and the next call gets its own reply."""
    with a_store(kind, tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url), timeout_seconds=30.0)
            await client.connected()
            await client.run(COUNT, ["n"], [])
            store.freeze()
            given_up = asyncio.create_task(client.run(COUNT, ["n"], []))
            beside = asyncio.create_task(client.run(COUNT, ["n"], []))
            await asyncio.sleep(0)
            given_up.cancel()
            assert "given up" in await failure_of(beside)
            assert given_up.cancelled()
            store.thaw()
            await until(lambda: store.client.get("n") == b"3")
            await client.connected()
            assert await client.run(COUNT, ["n"], []) == 4
            await client.close()

        play(story)


@pytest.mark.parametrize("has_port", [False, True])
def test_whoever_is_cancelled_while_it_connects_leaves_no_connection(has_port: bool, tmp_path: Path) -> None:
    """At each turn of the event loop, from before the first one until it is connected."""
    with a_store("redis", tmp_path, has_port=has_port) as store:

        async def story() -> None:
            cancelled = 0
            for turns in range(1000):
                client = StoreClient(Replicas(store=store.url))
                task = asyncio.create_task(client.connected())
                for _ in range(turns):
                    await asyncio.sleep(0)
                if task.done():
                    await client.close()
                    break
                task.cancel()
                await asyncio.wait([task])
                cancelled += 1
            assert cancelled > 3 and task.done()
            await until(lambda: len(store.client.client_list()) == 1)  # the operator's own

        play(story)


def test_callers_at_the_same_time_get_their_own_replies(tmp_path: Path) -> None:
    """Fifty callers share one connection to a server that does not know the script yet."""
    with a_store("redis", tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url), timeout_seconds=30.0)
            await client.connected()
            calls = [asyncio.create_task(client.run(ECHO, [], [number])) for number in range(50)]
            assert await asyncio.gather(*calls) == [b"%d" % number for number in range(50)]
            await client.close()

        play(story)


def test_a_reply_that_came_in_time_counts_though_the_loop_stood_still(tmp_path: Path) -> None:
    """The loop is busy for longer than the deadline while the reply lies in the socket: the call succeeds."""
    with a_store("redis", tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            await client.connected()
            await client.run(SLOW_ECHO, [], ["the script is known"])
            call = asyncio.create_task(client.run(SLOW_ECHO, [], ["late reader"]))
            await asyncio.sleep(0)  # it is sent
            with busy_for(0.2):
                assert await call == b"late reader"
            await client.close()

        play(story)


def test_a_reply_from_before_a_standstill_does_not_count(tmp_path: Path) -> None:
    """A gateway that was stopped for a while may not act on what the store said before."""
    with a_store("redis", tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            await client.connected()
            await client.run(SLOW_ECHO, [], ["the script is known"])
            call = asyncio.create_task(client.run(SLOW_ECHO, [], ["too late"]))
            await asyncio.sleep(0)  # it is sent
            with busy_for(0.7):
                assert "stood still" in await failure_of(call)
            assert not client.is_connected
            await client.close()

        play(story)


@on_both
def test_a_new_server_is_met_before_anything_is_sent_to_it(kind: str, tmp_path: Path) -> None:
    """After a restart a call fails until `connected` has told the new run id; a call for the old one is not sent."""
    with a_store(kind, tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            assert "connect first" in await failure_of(client.run(ECHO, [], ["early"]))
            first = await client.connected()
            store.kill()
            assert f"store {store.url}: " in await failure_of(client.turns([(POOL, first_call(first))]))
            assert "cannot be reached" in await failure_of(client.connected())
            store.start()
            second = await client.connected()
            assert second == store.client.info("server")["run_id"] != first
            assert "another server" in await failure_of(client.turns([(POOL, first_call(first))]))
            (reply,) = await client.turns([(POOL, first_call(second))])
            assert (reply.status, reply.seq) == (Status.OK, 1)
            await client.close()

        play(story)
