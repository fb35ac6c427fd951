"""Messages: all channels on one connection that comes back by itself, and no more kept than a bound."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from real_stores import Store, a_store
from tcp_relay import Relay

from gateway.config import Replicas
from gateway.store import inbox
from gateway.store.client import StoreClient
from gateway.store.connection import StoreConnection
from gateway.store.inbox import MOST_MESSAGES, Inbox

from .scene import COUNT, failure_of, on_both, play, until

CHANNELS = ("one", "two")
Heard = list[tuple[str, bytes]]


@asynccontextmanager
async def listening(client: StoreClient) -> AsyncIterator[Heard]:
    """What a task hears on both channels; the client is closed at the end, which ends the task."""
    heard: Heard = []

    async def listen() -> None:
        async for message in client.messages(CHANNELS):
            heard.append(message)

    task = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        await client.close()
        await task


async def until_heard(store: Store, channel: str) -> None:
    """Wait until the server has a subscriber to `channel`."""
    await until(lambda: dict(store.client.pubsub_numsub(channel))[channel.encode()])


@on_both
def test_messages_of_all_channels_come_in_order(kind: str, tmp_path: Path) -> None:
    """One connection hears both channels, and calls go on beside it."""
    with a_store(kind, tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            async with listening(client) as heard:
                await until_heard(store, "two")
                sent = [(CHANNELS[number % 2], b"%d" % number) for number in range(100)]
                for channel, body in sent:
                    store.client.publish(channel, body)
                await client.connected()
                await client.run(COUNT, ["n"], [])
                await until(lambda: len(heard) == len(sent))
                assert heard == sent
                assert not client.deaf_because
                assert store.client.info("clients")["pubsub_clients" if kind == "valkey" else "connected_clients"] <= 3

        play(story)


@on_both
def test_messages_come_again_after_the_server_was_killed(kind: str, tmp_path: Path) -> None:
    """Meanwhile it is known why none come."""
    with a_store(kind, tmp_path, has_port=True) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            async with listening(client) as heard:
                await until_heard(store, "two")
                store.kill()
                await until(lambda: "cannot be reached" in client.deaf_because)
                store.start()
                await until_heard(store, "two")
                store.client.publish("one", b"again")
                await until(lambda: heard)
                assert heard == [("one", b"again")]
                assert not client.deaf_because

        play(story)


def test_a_silent_connection_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a cut nothing arrives, not even the end of the connection; after the cut messages come again."""
    monkeypatch.setattr(inbox, "SILENCE_SECONDS", 0.1)
    with a_store("redis", tmp_path, has_port=True) as store:

        async def story() -> None:
            relay = Relay(store.port)
            await relay.start()
            client = StoreClient(Replicas(store=f"redis://127.0.0.1:{relay.port}"))
            async with listening(client) as heard:
                await until_heard(store, "two")
                relay.cut()
                await until(lambda: "was silent for" in client.deaf_because)
                relay.mend()
                await until(lambda: not client.deaf_because)
                store.client.publish("one", b"again")
                await until(lambda: heard)
            await relay.stop()

        play(story)


def test_a_server_without_messages_is_asked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence alone ends no connection, if the server answers when it is asked."""
    monkeypatch.setattr(inbox, "SILENCE_SECONDS", 0.05)
    with a_store("redis", tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            async with listening(client):
                await until_heard(store, "two")
                connections = store.client.info("stats")["total_connections_received"]
                await until(lambda: store.client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"] > 5)
                assert store.client.info("stats")["total_connections_received"] == connections

        play(story)


def test_a_slow_reader_loses_the_oldest_messages() -> None:
    """While it does something else, no more than a bound is kept."""

    async def story() -> None:
        connection = StoreConnection("redis://somewhere")
        inbox = Inbox(connection, ["one"])
        for number in range(MOST_MESSAGES + 10):
            connection.data_received(b"*3\r\n$7\r\nmessage\r\n$3\r\none\r\n$4\r\n%04d\r\n" % number)
        heard = [await inbox.next() for _ in range(MOST_MESSAGES)]
        assert heard == [("one", b"%04d" % number) for number in range(10, MOST_MESSAGES + 10)]
        connection.fail("the end")
        assert "the end" in await failure_of(inbox.next())

    play(story)


def test_messages_follow_the_calls_to_another_server(tmp_path: Path) -> None:
    """Two servers behind one address: when calls reach the other one, messages are heard there too."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with a_store("redis", folders[0], has_port=True) as old, a_store("redis", folders[1], has_port=True) as new:

        async def story() -> None:
            relay = Relay(old.port)
            await relay.start()
            client = StoreClient(Replicas(store=f"redis://127.0.0.1:{relay.port}"))
            async with listening(client) as heard:
                first = await client.connected()
                await until_heard(old, "two")
                relay.target = new.port
                old.client.client_kill_filter(_id=next(c["id"] for c in old.client.client_list() if c["cmd"] == "role"))
                await until(lambda: not client.is_connected)
                assert await client.connected() == new.client.info("server")["run_id"] != first
                await until_heard(new, "two")
                new.client.publish("two", b"here")
                await until(lambda: heard)
            await relay.stop()

        play(story)


def test_whoever_stops_listening_leaves_no_connection(tmp_path: Path) -> None:
    """A cancelled task closes the connection for messages."""
    with a_store("redis", tmp_path) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            messages = client.messages(["one"])
            task = asyncio.create_task(anext(messages))
            await until_heard(store, "one")
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await until(lambda: not dict(store.client.pubsub_numsub("one"))[b"one"])
            await client.close()

        play(story)
