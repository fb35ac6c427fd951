"""Plays requests open loop: each leaves at its own time, however earlier ones ended.

The workload alone sets the time at which a request ought to leave (`intended_at`), and every wait counts from that
time. So the figures of a server that stalls include the requests that had to wait (no coordinated omission). They also
include the player's own delay, which is reported separately as `lag`. Every request has a connection of its own, as
independent clients have. A client that leaves closes its connection. At most `MAX_OPEN` requests are open; the player
does not send a further one and reports it. When the player has sent the last request, those in flight have
`grace_seconds`.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.load.client import Client, Endpoint
from evaluation.load.connection import ExchangeRecord, cut_off
from evaluation.requests import Request

# Descriptors of one process; `ulimit -n` is 1024 to 524288 where servers run.
MAX_OPEN = 10_000
NOT_SENT = f"not sent: {MAX_OPEN} requests are open"
_TICK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Cue:
    """One request of the play: when it ought to leave, counted from the start, with which key and prompt."""

    request: Request
    after_seconds: float
    key: str | None
    prompt: Callable[[], str]


@dataclass(slots=True)
class Played:
    """What became of one cue; times are loop time."""

    request: Request
    intended_at: float
    record: ExchangeRecord

    @property
    def lag_seconds(self) -> float:
        """How late the player itself was."""
        return self.record.sent_at - self.intended_at


class Player:
    """One play of `cues`, which are in the order of their times."""

    def __init__(self, endpoint: Endpoint, cues: Sequence[Cue], on_progress: Callable[[float], None]) -> None:
        self._client = Client(endpoint)
        self._cues = cues
        self._on_progress = on_progress
        self._open: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []
        self.played: list[Played] = []

    async def play(self, grace_seconds: float) -> float:
        """Send everything and wait for the answers. Returns the time at which it started."""
        start = asyncio.get_running_loop().time()
        try:
            for cue in self._cues:
                await self._wait_until(start + cue.after_seconds)
                self._send(cue, start + cue.after_seconds)
            if self._open:
                await asyncio.wait(self._open, timeout=grace_seconds)
        finally:
            await cut_off(self._open)
        if self._faults:
            raise self._faults[0]
        return start

    async def _wait_until(self, moment: float) -> None:
        """Sleep until `moment`, and report progress meanwhile."""
        loop = asyncio.get_running_loop()
        while (left := moment - loop.time()) > 0:
            before = loop.time()
            await asyncio.sleep(min(left, _TICK_SECONDS))
            self._on_progress(loop.time() - before)

    def _send(self, cue: Cue, intended_at: float) -> None:
        loop = asyncio.get_running_loop()
        record = ExchangeRecord(cue.request.tenant, loop.time(), cue.request.leaves_after_tokens)
        record.prompt_guess = cue.request.prompt_tokens
        self.played.append(Played(cue.request, intended_at, record))
        if len(self._open) >= MAX_OPEN:
            record.error, record.ended_at = NOT_SENT, record.sent_at
            return
        task = loop.create_task(self._exchange(cue, record), name=f"replay {len(self.played)}")
        self._open.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._faults.append(fault)

    async def _exchange(self, cue: Cue, record: ExchangeRecord) -> None:
        request = self._client.render(cue.prompt(), cue.request.output_tokens, cue.key)
        # The request leaves only now: the player itself caused the delay until here.
        record.sent_at = asyncio.get_running_loop().time()
        connection = await self._client.exchange(request, record, _already_noted)
        if connection is not None:
            connection.close()


def _already_noted(at: float, prompt_tokens: int, output_tokens: int) -> None:
    """Ignore tokens as they come: the record has noted them."""
