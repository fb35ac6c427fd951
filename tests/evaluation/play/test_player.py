"""In virtual time, the player sends requests to a scripted server on real sockets when they are due."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from virtual_time import virtual_loop, virtual_time
from workers_on_stage import Respond, ScriptedWorker

from evaluation.load.client import CUT_OFF, Endpoint
from evaluation.play import player as player_module
from evaluation.play.player import NOT_SENT, Cue, Played, Player
from evaluation.play.result import Ended, Result, ended, per_token_seconds, ttft_seconds, whole_seconds
from evaluation.requests import Request

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _usage(prompt: int, output: int) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    return b"data: " + json.dumps({"choices": [{"text": "x"}], "usage": usage}).encode() + b"\n\n"


DONE = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Script:
    """Notes when each request arrives, waits `before`, and answers `tokens`, one every `step_seconds`."""

    def __init__(self, before: Respond | None = None, tokens: int = 2, step_seconds: float = 1.0) -> None:
        self.arrived: list[float] = []
        self._before, self._tokens, self._step = before, tokens, step_seconds

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived.append(asyncio.get_running_loop().time())
        if self._before is not None:
            await self._before(reader, writer)
        writer.write(HEAD)
        for token in range(1, self._tokens + 1):
            await asyncio.sleep(self._step)
            writer.write(_chunk(_usage(5, token)))
        writer.write(DONE)


def _cues(moments: Sequence[float], **fields: int) -> list[Cue]:
    made = []
    for moment in moments:
        request = Request(moment, "alice", 5, 2, **fields)  # type: ignore[arg-type]
        made.append(Cue(request, moment, "secret", lambda: "hello"))
    return made


async def _played(
    respond: Respond, cues: Sequence[Cue], grace_seconds: float = 1000.0, worker: ScriptedWorker | None = None
) -> list[Played]:
    worker = worker or ScriptedWorker(respond)
    await worker.start()
    player = Player(Endpoint(worker.url, "tiny", guesses=True), cues, lambda _seconds: None)
    try:
        await player.play(grace_seconds)
    finally:
        await worker.stop()
    return player.played


@virtual_time
async def test_a_server_that_stalls_delays_no_request() -> None:
    """The server answers nothing before t = 30, and still every request arrives at its own time."""
    opened = asyncio.Event()

    async def stall(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await opened.wait()

    asyncio.get_running_loop().call_later(30, opened.set)
    script = Script(stall)
    played = await _played(script, _cues([0.5, 1, 1, 7, 20]))
    assert script.arrived == pytest.approx([0.5, 1, 1, 7, 20], abs=0.01)
    assert [ttft_seconds(each, 99) for each in played] == pytest.approx([30.5, 30, 30, 24, 11], abs=0.01)
    assert [whole_seconds(each, 99) for each in played] == pytest.approx([31.5, 31, 31, 25, 12], abs=0.01)
    assert [per_token_seconds(each, 99) for each in played] == pytest.approx([1.0] * 5, abs=0.01)
    assert {ended(each) for each in played} == {Ended.COMPLETED}


@virtual_time
async def test_waits_count_from_the_intended_moment_and_the_lag_is_reported() -> None:
    """The player is busy from t = 1 to 4, so the requests of 1 and 2 leave at 4, and their waits include that."""

    def busy() -> str:
        virtual_loop().selector.now += 3.0
        return "hello"

    cues = _cues([1, 2, 6])
    cues[0] = Cue(cues[0].request, 1, None, busy)
    script = Script(tokens=1)
    played = await _played(script, cues)
    assert [each.lag_seconds for each in played] == pytest.approx([3, 2, 0], abs=0.01)
    assert script.arrived == pytest.approx([4, 4, 6], abs=0.01)
    assert [ttft_seconds(each, 99) for each in played] == pytest.approx([4, 3, 1], abs=0.01)
    assert [text[:40] for text in Result(0.0, 10.0, played).warnings()] == ["the player was late by 2.980 s (99th per"]


@virtual_time
async def test_what_is_sent_is_what_was_asked_for() -> None:
    """A request has the key, model and prompt, its exact length by `ignore_eos`, and running usage."""
    worker = ScriptedWorker(Script())
    await _played(Script(), _cues([0]), worker=worker)
    head, body = worker.requests[0]
    assert b"Authorization: Bearer secret" in head and head.startswith(b"POST /v1/completions ")
    assert body == {
        "model": "tiny",
        "prompt": "hello",
        "max_tokens": 2,
        "stream": True,
        "ignore_eos": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


@virtual_time
async def test_a_client_that_leaves_takes_what_it_said() -> None:
    """The client leaves after three of a hundred tokens."""
    (played,) = await _played(Script(tokens=100), _cues([0], leaves_after_tokens=3))
    assert ended(played) is Ended.LEFT
    assert played.record.output_tokens == 3
    assert whole_seconds(played, 99) is None and ttft_seconds(played, 99) == pytest.approx(1, abs=0.01)


@virtual_time
async def test_refused_broken_and_unreachable_are_distinguished() -> None:
    """An error status is a refusal; a connection that breaks or is not there is a failure."""

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nslow")

    async def break_off(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + _chunk(_usage(5, 1)))
        await writer.drain()
        writer.close()

    (refused,) = await _played(refuse, _cues([0]))
    assert (ended(refused), refused.record.status, refused.record.error) == (Ended.REFUSED, 429, "slow")
    (broken,) = await _played(break_off, _cues([0]))
    assert ended(broken) is Ended.FAILED and broken.record.output_tokens == 1
    player = Player(Endpoint("http://127.0.0.1:1", "tiny"), _cues([0]), lambda _seconds: None)
    await player.play(1)
    assert ended(player.played[0]) is Ended.FAILED and "cannot connect" in player.played[0].record.error


@virtual_time
async def test_what_does_not_end_is_cut_off_and_its_wait_counts() -> None:
    """The cut comes five seconds after the last request; one without a token has waited until then."""

    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().create_future()

    played = await _played(Script(never), _cues([1, 3]), grace_seconds=5)
    end = asyncio.get_running_loop().time()
    assert [each.record.error for each in played] == [CUT_OFF, CUT_OFF]
    assert [ttft_seconds(each, end) for each in played] == pytest.approx([7, 5], abs=0.01)
    assert "2 requests were cut off" in Result(0.0, end, played).warnings()[0]


@virtual_time
async def test_too_many_open_requests_are_reported_not_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third request is not sent later instead, because that would be a closed loop."""
    monkeypatch.setattr(player_module, "MAX_OPEN", 2)
    script = Script(step_seconds=10)
    played = await _played(script, _cues([1, 2, 3, 30]))
    assert [ended(each) for each in played] == [Ended.COMPLETED, Ended.COMPLETED, Ended.FAILED, Ended.COMPLETED]
    assert played[2].record.error == NOT_SENT
    assert script.arrived == pytest.approx([1, 2, 30], abs=0.01)


@virtual_time
async def test_a_play_that_is_cancelled_leaves_nothing_open() -> None:
    """Its requests are cut off, and their connections are closed."""
    worker = ScriptedWorker(Script(step_seconds=100))
    await worker.start()
    player = Player(Endpoint(worker.url, "tiny"), _cues([1, 50]), lambda _seconds: None)
    task = asyncio.ensure_future(player.play(1000))
    await asyncio.sleep(10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each.record.error for each in player.played] == [CUT_OFF]
    await worker.stop()


@virtual_time
async def test_a_fault_of_the_player_itself_is_raised() -> None:
    """A fault of our own does not count as a failure of the server."""

    def broken() -> str:
        raise AssertionError("ours")

    with pytest.raises(AssertionError, match="ours"):
        await _played(Script(), [Cue(Request(0, "alice", 5, 2), 0, None, broken)])


@virtual_time
async def test_progress_adds_up_to_the_time_played() -> None:
    """The reported progress adds up to the time until the last request."""
    worker = ScriptedWorker(Script())
    await worker.start()
    progress: list[float] = []
    await Player(Endpoint(worker.url, "tiny"), _cues([1, 3, 4.1]), progress.append).play(100)
    assert sum(progress) == pytest.approx(4.1, abs=0.01)
    await worker.stop()
