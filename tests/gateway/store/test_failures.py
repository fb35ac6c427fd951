"""Whatever is wrong with the store, the gateway gets one line that says what, and what to do about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from real_stores import Store, a_store, free_port

from gateway.config import Replicas
from gateway.store.client import StoreClient
from gateway.store.connection import MOST_UNREAD_BYTES, StoreConnection
from gateway.store.failures import explain

from .scene import COUNT, failure_of, on_both, play

WRONG = [  # a server's options, a client's user and password, what the line says
    ((), "", "secret", "asks for no password; remove"),
    (("--requirepass", "secret"), "", None, "asks for a password; set"),
    (("--requirepass", "secret"), "", "guess", "refuses the user or the password; correct"),
    (("--requirepass", "secret"), "nobody", "secret", "refuses the user or the password; correct"),
    (("--maxmemory", "1"), "", None, "memory is full; raise its maxmemory"),
    (("--rename-command", "EVALSHA", ""), "", None, "runs no Lua scripts; use"),
    (("--cluster-enabled", "yes"), "", None, "one node of a cluster; name"),
    (("--replicaof", "127.0.0.1", "1"), "", None, "is a replica and takes no writes; name"),
    (("--min-replicas-to-write", "1"), "", None, "too few of its replicas are connected; bring"),
    (("--user", "gateway", "on", ">secret", "+@all", "~other:*"), "gateway", "secret", "let the user do what"),
    (("--user", "gateway", "on", ">secret", "+@read", "~*"), "gateway", "secret", "let the user do what"),
]


async def use(access: Replicas) -> None:
    """Connect, and make one call that writes."""
    client = StoreClient(access)
    try:
        await client.connected()
        await client.run(COUNT, ["vtc-n"], [])
    finally:
        await client.close()


@on_both
@pytest.mark.parametrize(("options", "username", "password", "words"), WRONG)
def test_a_server_that_will_not_do_is_named_with_the_remedy(
    kind: str, options: tuple[str, ...], username: str, password: str | None, words: str, tmp_path: Path
) -> None:
    """Each real refusal of a real server, at the greeting or at the first call."""
    operator = "secret" if "--requirepass" in options else ""
    with a_store(kind, tmp_path, *options, password=operator) as store:

        async def story() -> None:
            line = await failure_of(use(Replicas(store=store.url, username=username, password=password)))
            assert line.startswith(f"store {store.url}: ")
            assert words in line
            assert "secret" not in line and "guess" not in line

        play(story)


def test_the_remedy_works_for_a_password_and_for_a_user(tmp_path: Path) -> None:
    """A server with passwords serves who has the right one."""
    user = ("--user", "gateway", "on", ">other", "+@all", "~vtc*")
    with a_store("redis", tmp_path, *user, has_port=True, password="secret") as store:

        async def story() -> None:
            await use(Replicas(store=store.url, password="secret"))
            await use(Replicas(store=store.url, username="gateway", password="other"))
            assert store.client.get("vtc-n") == b"2"

        play(story)


def test_a_server_that_takes_no_more_connections(tmp_path: Path) -> None:
    """It says so and closes, perhaps before its words are read; the line says where to look in both cases."""
    with a_store("redis", tmp_path, "--maxclients", "1") as store:

        async def story() -> None:
            assert store.client.ping()  # the operator has the one connection
            assert "its maxclients" in await failure_of(use(Replicas(store=store.url)))

        play(story)


def test_nobody_is_there(tmp_path: Path) -> None:
    """No server on the port, no socket in the file system."""

    async def story() -> None:
        for url in (f"redis://127.0.0.1:{free_port()}", f"unix://{tmp_path}/none.sock"):
            line = await failure_of(use(Replicas(store=url)))
            assert line.startswith(f"store {url}: ") and "start it, or correct" in line

    play(story)


def test_the_parents_own_store_is_not_there(tmp_path: Path) -> None:
    """The line says who starts it again: the configuration names no store that the operator could start or correct."""

    async def story() -> None:
        url = f"unix://{tmp_path}/none.sock"
        line = await failure_of(use(Replicas(store=url, is_beside=True)))
        assert line.startswith(f"store {url}: ") and "the parent process starts it again" in line
        assert "replicas.store" not in line

    play(story)


def info(**told: str) -> bytes:
    """The reply to INFO, and that of a primary to ROLE."""
    text = "\r\n".join(f"{name}:{value}" for name, value in told.items())
    return b"$%d\r\n%s\r\n*1\r\n$6\r\nmaster\r\n" % (len(text), text.encode())


SPEAKERS = {  # what somebody else answers, and what the line says
    "a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the protocol of Redis"),
    "an old one": (info(redis_version="6.0.16", run_id="abc"), "version is 6.0.16; use"),
    "a stranger": (info(hello="you"), "does not tell its run id"),
    "one that loads": (b"-LOADING Redis is loading the dataset in memory\r\n" * 2, "still loading its data"),
    "a proxy": (b"-ERR unknown command 'INFO'\r\n" * 2, "it answered: ERR unknown command 'INFO'"),
    "a silent one": (b"", "no answer within"),
    "a talkative one": (info(redis_version="7.0", run_id="abc") + b":1\r\n", "nobody had asked for"),
}


@asynccontextmanager
async def somebody_answers(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that sends `answer` when it has heard anything, and then nothing."""
    ended = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        with suppress(OSError):
            await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(speak, "127.0.0.1") as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await ended.wait()


@pytest.mark.parametrize(("answer", "words"), SPEAKERS.values(), ids=SPEAKERS)
def test_somebody_else_answers(answer: bytes, words: str) -> None:
    """Whoever is there instead of a store is told apart; an unasked reply would pass for that to the next call."""

    async def story() -> None:
        async with somebody_answers(answer) as url:
            assert words in await failure_of(use(Replicas(store=url)))

    play(story)


def test_a_reply_without_end_is_not_kept() -> None:
    """A connection reads no more than a bound of a reply that does not end."""

    async def story() -> None:
        connection = StoreConnection("redis://somewhere")
        connection.data_received(b"$999999999\r\n")
        for _ in range(MOST_UNREAD_BYTES >> 20):
            assert not connection.has_failed
            connection.data_received(bytes(1 << 20))
        assert "longer than 16 MiB" in str(connection.failure())

    play(story)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("MOVED 3999 127.0.0.1:6381", "a cluster; name a server outside"),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot save to its disk"),
        ("BUSY Redis is busy running a script", "SCRIPT KILL"),
        ("WRONGTYPE Operation against a key", "use another server"),
        # what Redis 6.2 makes of the error of a command in a script
        ("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write", "name the primary"),
        ("ERR Error running script (call to f_1): @user_script: 1: -OOM command not allowed", "raise its maxmemory"),
        ("ERR user_script:3: attempt to\n index a nil value", "it answered: ERR user_script:3: attempt to index a nil"),
    ],
)
def test_an_error_is_explained(error: str, words: str) -> None:
    """Those that a test cannot make a server say, in the words of the servers."""
    assert words in explain(error)


def test_a_long_error_becomes_a_short_line() -> None:
    """A server's words do not fill the log."""
    assert len(explain("ERR " + "x" * 100_000)) < 300


def test_a_demoted_primary_fails_a_call_and_the_next_connection(tmp_path: Path) -> None:
    """A failover: the call to the old primary fails, and it is refused until it is a primary again."""
    with a_store("redis", tmp_path, has_port=True) as store:

        async def story() -> None:
            client = StoreClient(Replicas(store=store.url))
            run_id = await client.connected()
            await client.run(COUNT, ["n"], [])
            demote(store)
            assert "name the primary" in await failure_of(client.run(COUNT, ["n"], []))
            assert not client.is_connected
            assert "name the primary" in await failure_of(client.connected())
            store.client.replicaof("NO", "ONE")
            assert await client.connected() == run_id
            assert await client.run(COUNT, ["n"], []) == 2
            await client.close()

        play(story)


def demote(store: Store) -> None:
    """Make it the replica of somebody who is not there."""
    store.client.replicaof("127.0.0.1", "1")
