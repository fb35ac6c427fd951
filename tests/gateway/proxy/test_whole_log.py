"""A request's log line says who came from where for whom, and holds neither key nor prompt."""

import hashlib
import json
from typing import Any

import pytest
from whole_gateway import CHAT, COMPLETIONS, Stage, chat, exactly, key_of, post, question, tenant, with_gateway
from workers_on_stage import MODEL

ANN = "ann@example.com"
FIELDS: dict[str, Any] = {"model": MODEL, "max_tokens": 2}
REQUESTS = [
    (CHAT, question(user=ANN, **exactly(2)), []),
    (CHAT, chat(2, user=ANN), []),
    (CHAT, question(safety_identifier=ANN, **exactly(2)), []),
    (COMPLETIONS, {**FIELDS, "prompt": "hi", "user": ANN}, []),
    ("/v1/responses", {"model": MODEL, "input": "hi", "max_output_tokens": 2, "user": ANN}, []),
    ("/v1/messages", question(max_tokens=2) | {"metadata": {"user_id": ANN}}, []),
    ("/tokenize", {"model": MODEL, "prompt": "hi"}, [f"X-User: {ANN}"]),
    (CHAT, question(user="somebody else", **exactly(2)), [f"X-User: {ANN}"]),
]
KEY = "vtc-" + "k3y" * 15
PROMPT = "a secret of the client"


def last_line(scene: Stage) -> dict[str, Any]:
    """Return the line of the request that ended last."""
    lines = [json.loads(line) for line in scene.end_log().splitlines()]
    line: dict[str, Any] = [line for line in lines if line["event"] == "request"][-1]
    return line


@pytest.mark.parametrize(("path", "body", "headers"), REQUESTS)
@with_gateway(tenants=(tenant("alice", end_user_header="X-User"),))
async def test_a_line_says_where_from_and_for_whom(
    scene: Stage, path: str, body: dict[str, Any], headers: list[str]
) -> None:
    """The line has the address, the client's own id, and a hash of the end user instead of the name."""
    answer = await scene.post(path, body, headers=[*headers, "X-Request-Id: order-7/b"])
    assert answer.status == 200
    line = last_line(scene)
    assert line["client_address"] == "127.0.0.1"
    assert line["client_request_id"] == "order-7/b"
    assert line["end_user"] == hashlib.sha256(ANN.encode()).hexdigest()[:16]
    assert ANN not in scene.end_log()


@with_gateway()
async def test_whoever_names_nobody_has_no_end_user(scene: Stage) -> None:
    """The line has no such field, and no id that has not the form of one."""
    for strange in ("x" * 129, "a b", 'a"b', "caf\u00e9"):
        assert (await scene.post(CHAT, chat(2), headers=[f"X-Request-Id: {strange}"])).status == 200
    assert not {"end_user", "client_request_id"} & set(last_line(scene))


@with_gateway()
async def test_a_stranger_has_an_address_too(scene: Stage) -> None:
    """A request without a key has one, and so has one to no path, which is shown cut and in plain letters."""
    await scene.exchange(post(CHAT, chat(2), "vtc-nobodys"))
    await scene.exchange(post("/v1/%1b[31m<i>" + "x" * 999, {}, "vtc-nobodys"))
    requests = [json.loads(line) for line in scene.end_log().splitlines() if '"event":"request"' in line]
    assert [line["client_address"] for line in requests] == ["127.0.0.1"] * 2
    detail = requests[1]["detail"]
    assert detail.startswith("path /v1/%1b?31m?i?xxx")
    assert detail.isprintable()
    assert len(detail) <= 140


@with_gateway()
async def test_no_line_holds_a_key_or_a_prompt(scene: Stage) -> None:
    """This holds wherever a client puts its key by mistake, and however its request ends."""
    bodies = [
        chat(2, prompt=PROMPT, user=KEY),
        question(PROMPT, max_tokens=-1),
        question(PROMPT, model=KEY),
        question(PROMPT, stop=3),
    ]
    for body in bodies:
        for key in (key_of("alice"), KEY):
            await scene.post(CHAT, body, key, [f"X-Request-Id: {KEY}", f"X-Api-Key: {KEY}"])
    await scene.get(f"/v1/{KEY}", KEY)
    await scene.get(f"/v1/models/{KEY}", key_of("alice"))
    assert len(scene.finished) == 10
    log = scene.end_log()
    assert log.count('"event":"request"') == 10
    assert KEY not in log
    assert key_of("alice") not in log
    assert PROMPT not in log


@with_gateway()
async def test_what_could_not_be_parsed_has_a_line_and_is_counted(scene: Stage) -> None:
    """The line keeps to the strangers' budget and repeats no byte; a body that breaks off counts once."""
    for _ in range(300):
        assert (await scene.exchange(b"GET /" + KEY.encode() + b" HTTP/9.9\r\nHost : x\r\n\r\n")).status == 400
    assert (await scene.exchange(f"GET /{'x' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n".encode())).status == 414
    chunked = post(CHAT, chat(2), key_of("alice"), ["Transfer-Encoding: chunked"])
    broken = chunked.partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"X-Length") + b"\r\n\r\nzz\r\n"
    assert (await scene.exchange(broken)).status == 400
    assert [event.status for event in scene.finished] == [400] * 300 + [414, 400]
    page = (await scene.get("/metrics")).body.decode()
    counted = [line for line in page.splitlines() if line.startswith("vtc_gateway_requests_total")]
    assert sum(float(line.rpartition(" ")[2]) for line in counted) == 302
    assert all('outcome="bad_request"' in line for line in counted)
    log = scene.end_log()
    assert KEY not in log
    lines = [json.loads(line) for line in log.splitlines() if '"event":"request"' in line]
    assert 100 <= len(lines) < 150
    assert {line["endpoint"] for line in lines[:100]} == {"unknown"}
    assert lines[0]["detail"].startswith("The request is not well-formed HTTP")
