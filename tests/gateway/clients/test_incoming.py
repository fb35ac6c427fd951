"""What comes on a connection gives the same requests wherever it is cut, and nothing is read beyond its bounds."""

from collections.abc import Sequence
from itertools import pairwise

import httptools
import pytest
from any_bytes import damaged
from hypothesis import given
from hypothesis import strategies as st
from uncompiled import needs_sources

from gateway.clients.incoming import MAX_FIELD_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, MOST_AT_ONCE, Incoming
from gateway.clients.refusal import OverlongHead
from gateway.clients.request import BrokenBody, ClientRequest, Line

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"POST /u HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
WELL_FORMED = {
    "a GET": GET,
    "two in a row": GET + GET.replace(b"/a", b"/b"),
    "a body": b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde" + GET,
    "a body of nothing": b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" + GET,
    "chunks": CHUNKED + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n" + GET,
    "trailers": CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer late\r\nHost: y\r\n\r\n" + GET,
    "an empty header": b"GET / HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nX-Blank:  \t\r\nAuthorization: a \t\r\n\r\n",
    "bytes that are not UTF-8": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: \xfe\xc3\xa4\r\n\r\n",
    "line ends before it": b"\r\n\r\n" + GET,
    "an upgrade": b"GET /u HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET,
    "an upgrade with a body": UPGRADE + b"Content-Length: %d\r\n\r\n" % len(GET) + GET + GET,
    "an upgrade with chunks": UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n" + GET,
    "an upgrade with a body of nothing": UPGRADE + b"Content-Length: 0\r\n\r\n" + GET,
    "two upgrades with a body": 2 * (UPGRADE + b"Content-Length: 3\r\n\r\nabc") + GET,
    "a last one with an upgrade": UPGRADE + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.0": b"GET /0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET,
    "the last one": b"GET /l HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}
MALFORMED = {
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\rc\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "two types": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\ncontent-type: a/b\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "a length beside chunks": b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a target beyond ASCII": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"LOOK / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


def incoming(pieces: Sequence[bytes]) -> Incoming:
    """What comes of `pieces`."""
    found = Incoming(Line(), lambda: None)
    for piece in pieces:
        found.feed(piece)
    return found


def told(request: ClientRequest) -> tuple[object, ...]:
    """All that is known of a request, its body included."""
    try:
        body = request.body.at_hand()
    except BrokenBody:
        body = b"broken"
    head = (request.method, request.target, request.version, request.headers.fields, request.keeps_alive)
    return (*head, request.body.is_whole, body)


def meaning(found: Incoming) -> tuple[object, ...]:
    """All that came: requests and fault."""
    fault = None if found.fault is None else (type(found.fault), found.fault.message)
    return [told(request) for request in found.requests], fault, found.is_over


@pytest.mark.parametrize("case", WELL_FORMED)
def test_a_request_is_the_same_wherever_it_is_cut(case: str) -> None:
    """In one piece, byte by byte, and cut in two at every place; without a fault."""
    data = WELL_FORMED[case]
    whole = meaning(incoming([data]))
    assert whole[1] is None
    assert meaning(incoming([data[at : at + 1] for at in range(len(data))])) == whole
    for at in range(1, len(data)):
        assert meaning(incoming([data[:at], data[at:]])) == whole, at


def test_what_a_request_says() -> None:
    """Names in lower case, values without the space around them, bodies without their frames, no trailers."""
    (first, second) = incoming([WELL_FORMED["trailers"]]).requests
    assert told(first) == (
        "POST",
        "/c",
        (1, 1),
        [(b"host", b"x"), (b"transfer-encoding", b"chunked")],
        True,
        True,
        b"a",
    )
    assert told(second) == ("GET", "/a", (1, 1), [(b"host", b"x")], True, True, b"")
    (request,) = incoming([WELL_FORMED["an empty header"]]).requests
    assert [request.headers.get(name) for name in ("x-empty", "x-blank", "authorization", "x")] == ["", "", "a", None]
    assert "x-empty" in request.headers
    assert "x-other" not in request.headers
    (request,) = incoming([WELL_FORMED["bytes that are not UTF-8"]]).requests
    assert request.headers.getall("x-a") == ["\udcfe\xe4"]
    (request,) = incoming([WELL_FORMED["the last one"]]).requests
    assert not request.keeps_alive


@pytest.mark.parametrize(
    ("case", "bodies"),
    [
        ("an upgrade with a body", [GET, b""]),
        ("an upgrade with chunks", [b"abc", b""]),
        ("an upgrade with a body of nothing", [b"", b""]),
        ("two upgrades with a body", [b"abc", b"abc", b""]),
        ("a last one with an upgrade", [b"abc"]),
    ],
)
def test_an_upgrade_that_is_not_taken_leaves_the_body_a_body(case: str, bodies: list[bytes]) -> None:
    """The body is no next request, whatever it looks like, and the next request is read behind it."""
    assert [request.body.at_hand() for request in incoming([WELL_FORMED[case]]).requests] == bodies


def test_nothing_follows_a_last_request_that_offers_an_upgrade() -> None:
    """Bytes behind its body are a fault, as behind any last request."""
    found = incoming([WELL_FORMED["a last one with an upgrade"] + GET])
    assert [told(request)[1] for request in found.requests] == ["/u"]
    assert found.fault is not None


@pytest.mark.parametrize("case", MALFORMED)
def test_nothing_is_read_behind_a_fault(case: str) -> None:
    """The requests before it stay; neither what follows nor what comes later is read, wherever it is cut."""
    data = GET + MALFORMED[case] + GET
    whole = meaning(incoming([data, GET]))
    assert [told(request)[1] for request in incoming([data, GET]).requests] == ["/a"]
    assert whole[1] is not None
    for at in range(1, len(data)):
        assert meaning(incoming([data[:at], data[at:]])) == whole, at


@needs_sources
def test_a_failure_of_our_own_is_not_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, so that it is logged; the client is not told that its request could not be parsed."""
    monkeypatch.setattr("gateway.clients.incoming._version", lambda _: 1 // 0)
    with pytest.raises(httptools.HttpParserCallbackError) as raised:
        incoming([GET])
    assert isinstance(raised.value.__context__, ZeroDivisionError)


def test_a_body_whose_frames_break_tells_its_reader() -> None:
    """The request was there before its body broke; its reader hears of it, and no request follows."""
    found = incoming([CHUNKED + b"2\r\nab\r\n", b"zz\r\n" + GET])
    (request,) = found.requests
    assert request.body.is_broken
    assert not request.body.is_whole
    with pytest.raises(BrokenBody):
        request.body.at_hand()


LONG = {
    "a target": (414, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a name": (431, b"GET / HTTP/1.1\r\nHost: x\r\n%b: b\r\n\r\n"),
    "a value": (431, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: %b\r\n\r\n"),
}


@pytest.mark.parametrize("case", LONG)
def test_a_field_may_be_as_long_as_the_bound(case: str) -> None:
    """A byte more is a fault with a status of its own."""
    status, form = LONG[case]
    size = MAX_FIELD_BYTES - (case == "a target")  # the slash counts
    assert incoming([form % (b"a" * size)]).fault is None
    fault = incoming([form % (b"a" * (size + 1))]).fault
    assert isinstance(fault, OverlongHead)
    assert fault.status == status


def test_headers_are_counted() -> None:
    """One more than the bound is a fault."""
    form = b"GET / HTTP/1.1\r\n%b\r\n"
    assert incoming([form % (b"X: y\r\n" * MAX_HEADERS)]).fault is None
    assert isinstance(incoming([form % (b"X: y\r\n" * (MAX_HEADERS + 1))]).fault, OverlongHead)


ENDLESS = {
    "a value": b"GET / HTTP/1.1\r\nX: ",
    "a target": b"GET /",
    "a trailer": CHUNKED + b"1\r\na\r\n0\r\nX: ",
    "a chunk's extension": CHUNKED + b"1\r\na\r\n1;",
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_head_without_end_is_given_up(case: str) -> None:
    """Not later than at the bound, however small the pieces."""
    found = incoming([ENDLESS[case]])
    for _ in range(MAX_HEAD_BYTES // 100 + 1):
        found.feed(b"a" * 100)
    assert found.fault is not None
    assert found.is_over


def test_a_long_body_is_no_long_head() -> None:
    """Bytes of a body count for no head, and the head behind it is read."""
    body = b"a" * (3 * MAX_HEAD_BYTES)
    data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GET
    found = incoming([data])
    assert found.fault is None
    assert [len(request.body.at_hand()) for request in found.requests] == [len(body), 0]


def test_requests_that_wait_are_bounded() -> None:
    """One more than the bound at once is a fault behind those that wait."""
    assert incoming([GET * MOST_AT_ONCE]).fault is None
    found = incoming([GET * (MOST_AT_ONCE + 1)])
    assert len(found.requests) == MOST_AT_ONCE
    assert found.fault is not None


@given(
    data=damaged(list(WELL_FORMED.values()), list(MALFORMED.values())), cuts=st.lists(st.integers(0, 400), max_size=3)
)
def test_any_bytes_mean_the_same_wherever_they_are_cut(data: bytes, cuts: list[int]) -> None:
    """Any bytes give requests and perhaps a fault, and never raise."""
    whole = incoming([data])
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parts = incoming([data[start:end] for start, end in pairwise(places)])
    assert meaning(parts) == meaning(whole)
