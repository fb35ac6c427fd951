"""Pages of allowed origins may ask and read (CORS); all other pages are served as before and can read nothing."""

import pytest
from raw_client import Answer
from whole_gateway import CHAT, Stage, chat, key_of, with_gateway
from workers_on_stage import fault, faults

from backend.engine.faults import FaultKind
from gateway.outcomes import Outcome

PAGE, OTHER = "https://app.example", "https://evil.example"
ALLOWED = {"allowed_origins": (PAGE, "app://chat")}
PATHS = [CHAT, "/v1/messages", "/v1/models", "/tokenize", "/v1/nowhere"]


def preflight(path: str, origin: str, headers: str = "authorization,content-type,x-stainless-lang") -> bytes:
    """Ask what a browser asks before it sends a request of a page."""
    lines = [f"OPTIONS {path} HTTP/1.1", "Host: x", f"Origin: {origin}", "Access-Control-Request-Method: POST"]
    return "\r\n".join([*lines, f"Access-Control-Request-Headers: {headers}", "", ""]).encode()


def is_readable(answer: Answer, origin: str = PAGE) -> bool:
    """Return whether the browser lets the page read the answer and its ids, and no cache gives it to another page."""
    exposed = answer.header("access-control-expose-headers") or ""
    return (
        answer.header("access-control-allow-origin") == origin
        and answer.header("vary") == "Origin"
        and {"x-request-id", "request-id", "retry-after"} <= set(exposed.split(", "))
    )


@pytest.mark.parametrize("origin", [PAGE, "app://chat"])
@pytest.mark.parametrize("path", PATHS)
@with_gateway(listen=ALLOWED)
async def test_the_browser_of_an_allowed_page_may_ask(scene: Stage, path: str, origin: str) -> None:
    """Without a key it gets 204 with the method and every header that it named; nothing is logged or counted."""
    answer = await scene.exchange(preflight(path, origin))
    assert (answer.status, answer.body) == (204, b"")
    assert is_readable(answer, origin)
    assert "POST" in (answer.header("access-control-allow-methods") or "")
    assert answer.header("access-control-allow-headers") == "authorization,content-type,x-stainless-lang"
    assert int(answer.header("access-control-max-age") or "0") > 0
    assert not scene.finished


@with_gateway(listen=ALLOWED)
async def test_what_is_no_list_of_headers_is_not_repeated(scene: Stage) -> None:
    """The answer names the usual headers instead."""
    answer = await scene.exchange(preflight(CHAT, PAGE, "a b<c>"))
    assert "x-api-key" in (answer.header("access-control-allow-headers") or "")
    assert "<c>" not in repr(answer.headers)


@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.evil", "HTTPS://APP.EXAMPLE", ""])
@with_gateway(listen=ALLOWED)
async def test_another_page_reads_nothing(scene: Stage, origin: str) -> None:
    """Its preflight is refused like any wrong method, and its answers carry no header that opens them."""
    refused = await scene.exchange(preflight(CHAT, origin))
    assert refused.status == 405
    answer = await scene.post(CHAT, chat(3), key_of("alice"), [f"Origin: {origin}"])
    assert answer.status == 200
    for each in (refused, answer):
        assert not [name for name in each.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
@with_gateway()
async def test_by_default_no_page_reads_anything(scene: Stage, path: str) -> None:
    """A preflight is refused as a wrong method."""
    answer = await scene.exchange(preflight(path, PAGE))
    assert answer.status == 405
    assert answer.header("access-control-allow-origin") is None


@with_gateway(listen=ALLOWED)
async def test_every_answer_to_an_allowed_page_can_be_read(scene: Stage) -> None:
    """This holds for streams, whole answers, refusals of the engine and ours, pages, tokens and wrong paths."""
    page, key = [f"Origin: {PAGE}"], key_of("alice")
    asked: list[tuple[str, object, str, int]] = [
        (CHAT, chat(3), key, 200),
        (CHAT, chat(3, stream=False), key, 200),
        (CHAT, chat(3, n=0), key, 400),
        (CHAT, chat(3, stop=[1]), key, 400),
        (CHAT, chat(3), "vtc-wrong", 401),
        (CHAT, b"{", key, 400),
        ("/tokenize", {"model": "tiny", "prompt": "x"}, key, 200),
        ("/v1/nowhere", {}, key, 404),
        ("/v1/models", {}, key, 405),
    ]
    for path, body, credential, status in asked:
        answer = await scene.post(path, body, credential, page)
        assert (answer.status, is_readable(answer)) == (status, True), (path, body)
    raw = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\nAuthorization: Bearer {key}\r\n\r\n"
    assert is_readable(await scene.exchange(raw.encode()))


@with_gateway(listen=ALLOWED, engine=faults(fault(FaultKind.REFUSE, every=1, status=500)))
async def test_a_worker_that_fails_is_reported_to_the_page(scene: Stage) -> None:
    """The page gets 502 with the header that lets it read."""
    answer = await scene.post(CHAT, chat(3), key_of("alice"), [f"Origin: {PAGE}"])
    assert scene.last.outcome is Outcome.WORKER_FAILED
    assert is_readable(answer)


@with_gateway(listen={"allowed_origins": ("*",)})
async def test_all_origins_are_one_star(scene: Stage) -> None:
    """Whatever the page calls itself, the answer repeats nothing of it."""
    for origin in (PAGE, "null", "\u00e9"):
        assert is_readable(await scene.exchange(preflight(CHAT, origin)), "*")
