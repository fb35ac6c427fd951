"""A worker's connection passes the body to the sink whole and once, however its chunks are cut into reads."""

import asyncio
import socket
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import virtual_time

from gateway.endpoints.connection import Headers, Loss, WorkerConnection

HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Wire(asyncio.Transport):
    """A connection that is open until somebody closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nobody reads the request."""

    def is_closing(self) -> bool:
        """As asyncio's."""
        return self.is_closed

    def resume_reading(self) -> None:
        """Nothing was paused."""

    def close(self) -> None:
        """As asyncio's."""
        self.is_closed = True

    def abort(self) -> None:
        """As asyncio's."""
        self.is_closed = True


class Nowhere:
    """Where the connection comes from: nobody asks for it again."""

    def __init__(self) -> None:
        self.kept: list[WorkerConnection] = []

    def keep(self, connection: WorkerConnection) -> None:
        """As an answer has ended."""
        self.kept.append(connection)

    def forget(self, connection: WorkerConnection) -> None:
        """As it was closed."""


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends: list[str] = []
        self.headers: Headers = ()
        self.looks: list[float] = []
        self.has_begun = False

    def on_head(self, status: int, headers: Headers) -> None:
        """The head."""
        self.headers = headers

    def on_body(self, data: bytes) -> None:
        """A piece."""
        self.pieces.append(data)

    def on_end(self) -> None:
        """The end."""
        self.ends.append("end")

    def on_look(self, now: float) -> None:
        """A look."""
        self.looks.append(now)

    def on_lost(self, reason: str, loss: Loss) -> None:
        """A loss."""
        self.ends.append(reason)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def received(reads: Sequence[bytes]) -> Kept:
    """What a sink is given where the worker's bytes come as `reads`."""
    connection, sink = WorkerConnection(Nowhere()), Kept()
    connection.connection_made(Wire())
    connection.send(b"", b"", sink, is_reused=False)
    for read in reads:
        connection.data_received(read)
    return sink


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    """`data` in pieces that begin at `at`."""
    places = sorted({0, len(data), *(place % len(data) for place in at)})
    return [data[begin:end] for begin, end in pairwise(places)]


def test_names_of_headers_come_in_lower_case() -> None:
    """Names are in lower case however the worker writes them; values stay as they are."""
    head = b"HTTP/1.1 200 OK\r\nContent-TYPE: Text/Plain\r\nContent-Length: 1\r\n\r\n"
    sink = received([head + b"x"])
    assert sink.headers == [(b"content-type", b"Text/Plain"), (b"content-length", b"1")]


@virtual_time
async def test_one_timer_serves_all_requests_of_a_connection() -> None:
    """A timer that is due earlier stays, a later one is replaced, and none outlives the connection."""
    loop = asyncio.get_running_loop()
    connection, first, second = WorkerConnection(Nowhere()), Kept(), Kept()
    connection.connection_made(Wire())
    start = loop.time()
    connection.send(b"", b"", first, is_reused=False)
    connection.look_at(start + 2.0)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
    connection.send(b"", b"", second, is_reused=True)
    connection.look_at(start + 3.0)
    await asyncio.sleep(2.5)
    assert (first.looks, second.looks) == ([], [start + 2.0])
    connection.look_at(start + 9.0)
    connection.look_at(start + 4.0)
    await asyncio.sleep(2.0)
    assert second.looks == [start + 2.0, start + 4.0]
    connection.look_at(start + 5.0)
    connection.connection_lost(None)
    await asyncio.sleep(1.0)
    assert second.looks == [start + 2.0, start + 4.0]


def test_a_read_that_is_one_chunk_is_one_piece() -> None:
    """In the usual case the sink gets the chunk's content without its frame."""
    bodies = [b"a" * 300, b"b" * 0x100, b"c" * 0xFFF]
    sink = received([HEAD, *map(chunk, bodies), END])
    assert sink.pieces == bodies
    assert sink.ends == ["end"]


def test_what_looks_like_a_chunk_inside_a_chunk_is_content() -> None:
    """A read inside a chunk's data is data, whatever it says, also behind a line break."""
    inner = chunk(b"x" * 300)
    outer = chunk(b"y" * 10 + b"\r\n" + inner + b"z" * 10)
    at = outer.index(inner)
    sink = received([HEAD, chunk(b"w" * 300), outer[:at], inner, outer[at + len(inner) :], END])
    assert b"".join(sink.pieces) == b"w" * 300 + b"y" * 10 + b"\r\n" + inner + b"z" * 10
    assert sink.ends == ["end"]


def test_a_length_cut_in_two_is_one_length() -> None:
    """The end of a longer length looks like a chunk of three digits."""
    long = chunk(b"a" * 0x12C + b"\r\n" + b"b" * (0x112C - 0x12C - 2))
    read = len(b"12c\r\n") + 0x12C + len(b"\r\n")
    sink = received([HEAD, chunk(b"w" * 300) + long[:1], long[1 : 1 + read], long[1 + read :], END])
    assert b"".join(sink.pieces) == b"w" * 300 + long.split(b"\r\n", 1)[1].removesuffix(b"\r\n")
    assert sink.ends == ["end"]


@pytest.mark.parametrize("wrong", [b"12b\r\n" + b"b" * 300 + b"\r\n", b"12c\r\n" + b"b" * 302])
def test_a_wrong_frame_is_reported(wrong: bytes) -> None:
    """A chunk that is too long, or that does not end with a line break, is an error."""
    sink = received([HEAD, chunk(b"a" * 300), wrong])
    assert sink.pieces == [b"a" * 300]
    assert [reason.startswith("malformed answer") for reason in sink.ends] == [True]


SIZES = st.one_of(st.sampled_from([1, 0xFF, 0x100, 300, 301, 0xFFF, 0x1000]), st.integers(1, 700))
FILLS = st.sampled_from([b"t", b"\r\n", b"12c\r\n", b"0\r\n\r\n", chunk(b"q" * 0x100)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(SIZES, FILLS), min_size=1, max_size=6), st.lists(st.integers(0, 100_000), max_size=12))
def test_the_body_does_not_depend_on_the_reads(parts: list[tuple[int, bytes]], at: list[int]) -> None:
    """Chunks of any size and content in reads of any size; also one read for each chunk."""
    bodies = [(fill * size)[:size] for size, fill in parts]
    frames = [HEAD, *map(chunk, bodies), END]
    for reads in (cut(b"".join(frames), at), frames, [frames[0], *(piece for f in frames[1:] for piece in cut(f, at))]):
        sink = received(reads)
        assert b"".join(sink.pieces) == b"".join(bodies)
        assert sink.ends == ["end"]


def test_every_split_of_two_chunks() -> None:
    """Two reads, cut at every byte."""
    bodies = [b"a" * 0x100, chunk(b"b" * 0x100), b"c" * 0x100]
    data = b"".join([*map(chunk, bodies), END])
    for place in range(1, len(data)):
        sink = received([HEAD, chunk(b"s" * 0x100), data[:place], data[place:]])
        assert b"".join(sink.pieces) == b"s" * 0x100 + b"".join(bodies)
        assert sink.ends == ["end"]


WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"{}") + END


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED])
@pytest.mark.parametrize("surplus", [WHOLE, b"junk", b"HTTP/1.1 200 OK\r\nx", b"0\r\n\r\n", b"\x00"])
def test_an_answer_is_whole_and_its_connection_lost_where_more_comes_with_it(answer: bytes, surplus: bytes) -> None:
    """This holds at every cut of the surplus; without a surplus the connection is kept."""
    for place in range(len(surplus) + 1):
        home, sink, wire = Nowhere(), Kept(), Wire()
        connection = WorkerConnection(home)
        connection.connection_made(wire)
        connection.send(b"", b"", sink, is_reused=False)
        connection.data_received(answer + surplus[:place])
        assert (b"".join(sink.pieces), sink.ends) == (b"{}", ["end"])
        assert home.kept == ([connection] if not place else [])
        if surplus[place:]:
            connection.data_received(surplus[place:])
        assert wire.is_closed
        assert (b"".join(sink.pieces), sink.ends) == (b"{}", ["end"])
    assert received([answer]).ends == ["end"]


def test_headers_behind_a_body_are_not_kept() -> None:
    """Trailers of a worker cannot fill memory."""
    trailers = b"".join(b"x-%d: y\r\n" % number for number in range(1000))
    connection, sink = WorkerConnection(Nowhere()), Kept()
    connection.connection_made(Wire())
    connection.send(b"", b"", sink, is_reused=False)
    connection.data_received(CHUNKED.removesuffix(b"\r\n") + trailers)
    assert len(connection._headers) == 1
    connection.data_received(b"\r\n")
    assert sink.ends == ["end"]


def test_what_has_begun_is_not_given_up() -> None:
    """Another worker can answer only a request of whose answer nobody has seen anything."""
    for has_begun in (True, False):
        connection, sink = WorkerConnection(Nowhere()), Kept()
        connection.connection_made(Wire())
        connection.send(b"", b"", sink, is_reused=False)
        sink.has_begun = has_begun
        connection.give_up("it does not live")
        assert sink.ends == ([] if has_begun else ["it does not live"])


async def joined(sink: Kept) -> tuple[WorkerConnection, socket.socket]:
    """A connection over a real socket whose answer goes to `sink`, and the worker's side of it."""
    ours, theirs = socket.socketpair()
    connection = WorkerConnection(Nowhere())
    protocol = cast(asyncio.Protocol, connection)
    await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
    connection.send(b"?", b"", sink, is_reused=False)
    assert theirs.recv(1) == b"?"
    theirs.setblocking(False)
    return connection, theirs


def test_what_has_come_is_passed_on_before_an_answer_is_given_up() -> None:
    """What a worker has sent counts, even if the event loop has not read it yet."""

    async def play() -> None:
        sink = Kept()
        connection, worker = await joined(sink)
        connection.catch_up()
        assert not sink.pieces
        worker.sendall(HEAD + chunk(b"a" * 300))
        connection.catch_up()
        assert sink.pieces == [b"a" * 300]
        worker.sendall(chunk(b"b" * 300) + END)
        connection.catch_up()
        assert (sink.pieces, sink.ends) == ([b"a" * 300, b"b" * 300], ["end"])
        connection.catch_up()
        worker.close()

    asyncio.run(play())


def test_a_worker_hears_at_once_that_an_answer_is_given_up() -> None:
    """The worker hears it in this turn of the loop: the next may be long in coming."""

    async def play() -> None:
        connection, worker = await joined(Kept())
        with pytest.raises(BlockingIOError):
            worker.recv(1)
        connection.abandon()
        assert worker.recv(1) == b""
        connection.abandon()
        worker.close()
        await asyncio.sleep(0)

    asyncio.run(play())
