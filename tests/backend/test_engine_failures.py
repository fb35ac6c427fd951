"""Endings that are not happy: clients that leave, and every scripted fault."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from engine_harness import INSTANT, RUNNING_USAGE, USAGE, Site, against, faulty
from raw_client import Client

from backend.engine.config import EngineConfig
from backend.engine.faults import FaultKind, Misfortune, parse_faults

ENDLESS = {"model": "tiny", "prompt": "hi", "max_tokens": 8000, "ignore_eos": True}


def with_faults(*faults: dict[str, object]) -> EngineConfig:
    """The instant engine under a script."""
    return replace(INSTANT, faults=faulty(*faults))


@against(INSTANT)
async def test_a_client_that_leaves_mid_stream_frees_its_blocks(site: Site) -> None:
    """Closing the connection aborts every choice; the abort is seen by the witness and by no success counter."""
    async with site.http.post("/v1/completions", json={**ENDLESS, "n": 3, "stream": True}) as response:
        await response.content.readuntil(b"\n\n")
    await site.emptied()
    assert site.engine.witness.aborted == 1
    assert 0 < site.engine.witness.output_tokens < 3 * 8000
    success = (await site.get("/metrics/?name[]=vllm:request_success_total")).text
    assert all(line.endswith(" 0.0") for line in success.splitlines() if not line.startswith("#"))


@against(INSTANT)
async def test_clients_that_reset_their_connections_mid_stream_end_quietly(site: Site) -> None:
    """A reset between two events of one step meets the second write: an abort, and no error in the log."""
    clients = [await Client.connect(site.url) for _ in range(4)]
    for client in clients:
        client.send("/v1/completions", {**ENDLESS, "n": 8, "stream": True})
        await client.read_head()
        await client.read_piece()
        client.leave()
    await site.emptied()
    for client in clients:
        await client.close()
    assert site.engine.witness.aborted == len(clients)


@against(INSTANT)
async def test_a_client_that_leaves_before_the_answer_is_aborted(site: Site) -> None:
    """A request that is not streamed ends with its connection too."""
    site.engine.freeze()
    task = asyncio.create_task(site.complete(**ENDLESS))
    await site.entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await site.emptied()
    assert site.engine.witness.aborted == 1
    site.engine.thaw()


@against(with_faults({"kind": "refuse", "status": 500}, {"kind": "refuse", "nth": 3}))
async def test_refuse_strikes_the_numbered_request_only(site: Site) -> None:
    """The engine never sees a refused request."""
    assert [(await site.chat()).status for _ in range(4)] == [500, 200, 503, 200]
    assert site.engine.witness.started == 2


@against(with_faults({"kind": "cut", "after_tokens": 3}, {"kind": "cut_event", "nth": 2, "after_tokens": 3}))
async def test_a_cut_stream_ends_without_its_end(site: Site) -> None:
    """CUT ends between events, CUT_EVENT inside one; both leave the chunked body unfinished."""
    for is_whole in (True, False):
        with pytest.raises(aiohttp.ClientPayloadError):
            async with site.http.post("/v1/completions", json={**ENDLESS, "stream": True}) as response:
                received = bytearray()
                while True:
                    data = await response.content.readany()
                    received += data
        assert received.count(b"\n\n") == 2
        assert received.endswith(b"\n\n") is is_whole


@against(with_faults({"kind": "cut"}))
async def test_a_cut_answer_breaks_inside_its_body(site: Site) -> None:
    """An answer that is not streamed loses its second half."""
    with pytest.raises(aiohttp.ClientPayloadError):
        await site.chat()


@against(with_faults({"kind": "error_event", "after_tokens": 2}, {"kind": "error_event", "nth": 2}))
async def test_the_death_of_the_engine_core_is_an_event_then_done(site: Site) -> None:
    """As vLLM: status 200, an error with code 500 written with spaces, `[DONE]`, no usage; whole answers get 500."""
    answer = await site.complete(**{**ENDLESS, **RUNNING_USAGE})
    assert answer.status == 200
    assert answer.events[-2].startswith('data: {"error": {"message": "EngineCore encountered an issue.')
    assert answer.events[-2].endswith('"type": "InternalServerError", "param": null, "code": 500}}')
    assert answer.events[-1] == "data: [DONE]"
    assert (await site.chat()).status == 500


@against(with_faults({"kind": "no_usage"}, {"kind": "wrong_usage", "nth": 2, "usage_factor": 3}))
async def test_usage_can_be_missing_or_wrong(site: Site) -> None:
    """The witness keeps the true numbers."""
    missing = await site.complete(max_tokens=4, ignore_eos=True, **RUNNING_USAGE)
    assert '"usage"' not in missing.text
    wrong = await site.complete(max_tokens=4, ignore_eos=True, **USAGE)
    assert wrong.chunks[-1]["usage"]["completion_tokens"] == 12
    assert site.engine.witness.output_tokens == 8


@against(
    with_faults(
        {"kind": "stall_first_byte", "every": 1, "path": "/v1/chat/completions"},
        {"kind": "stall", "every": 1, "after_tokens": 2, "path": "/v1/completions"},
    )
)
async def test_a_stalled_request_sends_nothing_more(site: Site) -> None:
    """Before the first byte nothing comes, not even a status; after k tokens the stream falls silent."""
    first = asyncio.create_task(site.chat())
    async with site.http.post("/v1/completions", json={**ENDLESS, "max_tokens": 9, "stream": True}) as response:
        await response.content.readuntil(b"\n\n")
        await site.emptied()
        assert not response.content.is_eof()
        assert site.engine.witness.finished == 1
    assert not first.done()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


@against(with_faults({"kind": "freeze", "after_tokens": 2}))
async def test_a_frozen_engine_answers_health_and_generates_nothing(site: Site) -> None:
    """Streams fall silent and gauges stand still until the script is replaced."""
    async with site.http.post("/v1/completions", json={**ENDLESS, "max_tokens": 500, "stream": True}) as response:
        await response.content.readuntil(b"\n\n")
        await response.content.readuntil(b"\n\n")
        assert (await site.get("/health")).status == 200
        assert site.engine.witness.output_tokens < 500
        running = (await site.get("/metrics/?name[]=vllm:num_requests_running")).text
        assert running.rstrip().endswith(" 1.0")
        assert (await site.post("/faults", {"faults": []})).json == {"faults": 0}
        assert b"[DONE]" in await response.content.read()


@against(with_faults({"kind": "exit", "after_tokens": 2}))
async def test_exit_takes_every_request_with_it(site: Site) -> None:
    """In a process it ends the process; as a library it kills the engine core."""
    async with site.http.post("/v1/completions", json={**ENDLESS, "stream": True}) as response:
        await response.content.readuntil(b"\n\n")
        await site.emptied()
    assert site.engine.witness.failed == 1


def test_chances_are_seeded() -> None:
    """The same script strikes the same requests."""
    script = parse_faults(b'{"faults": [{"kind": "cut", "probability": 0.5}], "seed": 9}')
    runs = [[fault is not None for fault in (misfortune.strike("/x") for _ in range(40))] for misfortune in
            (Misfortune(script), Misfortune(script))]  # fmt: skip
    assert runs[0] == runs[1]
    assert 5 < sum(runs[0]) < 35


def test_a_fault_can_be_bound_to_a_path() -> None:
    """Requests on other paths count and are spared."""
    misfortune = Misfortune(parse_faults(b'{"faults": [{"kind": "cut", "every": 1, "path": "/v1/completions"}]}'))
    assert misfortune.strike("/v1/messages") is None
    struck = misfortune.strike("/v1/completions")
    assert struck is not None
    assert struck.kind is FaultKind.CUT


def test_a_fault_can_be_bound_to_what_a_request_says() -> None:
    """Whoever sends the text is struck, each time; nobody else is."""
    misfortune = Misfortune(parse_faults(b'{"faults": [{"kind": "exit", "contains": "poison"}]}'))
    bodies = [b'{"prompt": "tea"}', b'{"prompt": "poison"}', b'{"prompt": "more poison"}']
    assert [misfortune.strike("/x", body) is not None for body in bodies] == [False, True, True]


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (b"{", "not JSON"),
        (b'{"faults": [{"kind": "melt", "nth": 1}]}', "faults.0.kind"),
        (b'{"faults": [{"kind": "cut"}]}', "exactly one of nth, every, probability"),
        (b'{"faults": [{"kind": "cut", "nth": 0}]}', "faults.0.nth"),
        (b'{"faults": [{"kind": "cut", "nth": 1, "after": 3}]}', "faults.0.after"),
        (b'{"fault": []}', "fault: "),
    ],
)
def test_a_wrong_script_says_what_is_wrong(document: bytes, complaint: str) -> None:
    """Every fault is named with its place."""
    with pytest.raises(ValueError, match=complaint):
        parse_faults(document)


@against(INSTANT)
async def test_a_wrong_script_over_http_is_refused(site: Site) -> None:
    """The old script stays in force."""
    assert (await site.post("/faults", {"faults": [{"kind": "melt"}]})).status == 400
    assert (await site.chat(max_tokens=1)).status == 200
