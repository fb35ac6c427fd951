"""The streaming path: from a worker's connection through the meter to the client, without a task per chunk.

A `Relay` is the sink of one attempt. The call that receives a buffer also meters it, charges it and writes it to the
client; the relay holds the bytes until the exchange has opened the client's side. An answer begins with its first
output. Events before that output are held too, so that a worker that breaks before it can still be replaced.
`progress` says how long the answer may be silent. The ticket is settled (`settlement`) at the true end of the worker's
body, so that its room is free while a slow client still reads.
"""

import asyncio
from collections.abc import Set
from enum import Enum
from typing import Final

from gateway.clients.downstream import Downstream
from gateway.endpoints.connection import Headers, Loss, WorkerConnection
from gateway.endpoints.progress import Patience
from gateway.fairness import Ticket
from gateway.proxy.dispatcher import Dispatcher
from gateway.proxy.record import AnswerFacts
from gateway.proxy.settlement import (
    generated_until,
    reported_by,
    settle_at_estimate,
    settle_at_figures,
    work_done,
)
from gateway.usage import NOTHING, Usage
from gateway.wire.answer_id import answers_another
from gateway.wire.engine_answer import JSON, media_type
from gateway.wire.meter import Meter
from gateway.wire.sse import MalformedStream

MAX_BUFFERED_BYTES: Final = 256 * 1024  # of an answer before the client's side is open
MAX_ERROR_BYTES: Final = 1024 * 1024  # of a response that is no answer: an error, a page


class AttemptEnd(Enum):
    """How the worker's side of an attempt ended."""

    WHOLE = "whole"
    LOST = "lost"
    STALE = "stale"
    STALLED = "stalled"
    MALFORMED = "malformed"
    CUT = "cut"


_ENDS: Final = {
    Loss.STALE: AttemptEnd.STALE,
    Loss.BROKEN: AttemptEnd.LOST,
    Loss.MALFORMED: AttemptEnd.MALFORMED,
    Loss.SILENT: AttemptEnd.STALLED,
}


class Relay:
    """One attempt's answer on its way from the worker to the client.

    `meter` reads the answer: others may ask it, and the relay alone feeds it. Before the head of the answer has come,
    it is the meter of an answer in the form that was asked for.
    """

    __slots__ = (
        "_accepts",
        "_account",
        "_buffered",
        "_buffered_bytes",
        "_connection",
        "_dispatcher",
        "_downstream",
        "_facts",
        "_has_bytes",
        "_has_output",
        "_is_charged",
        "_is_read",
        "_loop",
        "_patience",
        "_progress",
        "_prompt_tokens",
        "_silent_since",
        "_spare_bytes",
        "_ticket",
        "_wake",
        "end",
        "headers",
        "is_answer",
        "is_blocked",
        "last_bytes",
        "meter",
        "reason",
        "status",
    )

    def __init__(
        self,
        ticket: Ticket,
        meter: Meter,
        dispatcher: Dispatcher,
        facts: AnswerFacts,
        patience: Patience,
        accepts: Set[bytes],
    ) -> None:
        """Charge and settle `ticket`, and write `facts`; `accepts` has the media types of an answer."""
        self._accepts = accepts
        self._ticket = ticket
        self._is_charged = not ticket.reports_at_end
        self.meter = meter
        self._dispatcher = dispatcher
        self._account = dispatcher.account(ticket.pool)
        self._facts = facts
        self._loop = dispatcher.loop
        self._patience = patience
        self._progress = patience.progress
        self._downstream: Downstream | None = None
        self._buffered: list[bytes] = []
        self._buffered_bytes = 0
        self._has_bytes = False
        self._wake: asyncio.Future[None] | None = None
        self._silent_since = 0.0
        self._is_read = False
        self._has_output = False
        self._prompt_tokens = -1  # the prompt tokens of the last charge
        self._connection: WorkerConnection | None = None
        self._spare_bytes = 0  # may still be read although the client is behind
        self.is_blocked = False
        self.status = 0
        self.headers: Headers = ()
        self.is_answer = False
        self.end: AttemptEnd | None = None
        self.reason = ""
        self.last_bytes = b""

    def attach(self, connection: WorkerConnection) -> None:
        """Take the connection on which the answer comes; close it if the relay has ended already."""
        self._facts.sent_at = self._silent_since = self._loop.time()
        if self.end is None:
            self._connection = connection
            self._limit_silence()
        else:
            connection.abandon()

    # -- what the exchange waits for

    @property
    def has_begun(self) -> bool:
        """True once the answer has output, or more bytes before it than may be held.

        A response that is no answer has begun only when it has ended.
        """
        is_enough = self._has_output or self._buffered_bytes > MAX_BUFFERED_BYTES
        return self.end is not None or (self.is_answer and is_enough)

    @property
    def has_bytes(self) -> bool:
        """True once a byte of the body has come."""
        return self._has_bytes

    @property
    def buffered(self) -> bytes:
        """The bytes of the body that have come and were not taken yet."""
        return b"".join(self._buffered)

    async def begun(self) -> None:
        """Wait for the first output, or the end."""
        while not self.has_begun:
            await self._sleep()

    async def blocked_or_ended(self) -> bool:
        """Wait until the client is behind (True) or the answer has ended (False)."""
        while self.end is None and not self.is_blocked:
            await self._sleep()
        return self.is_blocked and self.end is None

    async def _sleep(self) -> None:
        self._wake = self._loop.create_future()
        try:
            await self._wake  # cancelled: the connection still delivers, until the exchange cuts the relay
        finally:
            self._wake = None

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # -- the way through

    def take_buffered(self) -> bytes:
        """Hand over the bytes that are held for the client."""
        buffered, self._buffered, self._buffered_bytes = self._buffered, [], 0
        return b"".join(buffered)

    def flow(self, downstream: Downstream) -> None:
        """Write to `downstream` from now on, beginning with the bytes that are held."""
        self._downstream = downstream
        rest = self.take_buffered()
        if rest and not downstream.write(rest):
            self._fall_behind()
        if self.end is None:
            if not self.is_blocked:
                self._read_on()
            self._limit_silence()
        elif self.is_complete:
            downstream.end(self.last_bytes)

    def unblock(self) -> None:
        """The client has caught up: read on."""
        self.is_blocked, self._spare_bytes = False, 0
        self._ticket.resume(self._loop.time())
        self._read_on()

    def _read_on(self) -> None:
        self._silent_since = self._loop.time()
        if self._connection is not None:
            self._connection.resume()

    def read_on(self, most_bytes: int) -> bool:
        """Read about `most_bytes` more although the client is behind.

        False, and without effect, if the client is not behind, if such bytes are left, or if no connection is there.
        """
        if not self.is_blocked or self._connection is None or self._spare_bytes:
            return False
        self._spare_bytes = most_bytes
        self._read_on()
        return True

    def _spend(self, size_bytes: int) -> None:
        """The client is behind: stop reading once the spare bytes are used up."""
        self._spare_bytes = max(0, self._spare_bytes - size_bytes)
        if not self._spare_bytes:
            self._block()

    def _fall_behind(self) -> None:
        self.is_blocked = True
        self._ticket.fall_behind(self._loop.time())

    def _block(self) -> None:
        self._fall_behind()
        if self._connection is not None:
            self._connection.pause()
        self._notify()

    def _begin(self, now: float) -> None:
        """Note that the engine has read the prompt, and that the first output came, if they have."""
        meter = self.meter
        if not self._is_read and (meter.has_usage or meter.outputs):
            self._is_read = True
            self._dispatcher.started(self._ticket)
        if meter.outputs:
            self._has_output = True
            self._ticket.begin_output(meter.output_tokens)
            self._facts.started_at = self._facts.last_token_at = now
        if meter.has_usage:
            self._charge()

    def _charge(self) -> None:
        if self._is_charged and self.end is None:
            self._prompt_tokens = self.meter.prompt_tokens
            self._account.charge(self._ticket, reported_by(self.meter))

    # -- Sink

    def on_head(self, status: int, headers: Headers) -> None:
        """Take the status and headers; the exchange wakes only at the first output.

        If the engine sends a JSON body in place of a stream, the body is metered as JSON.
        """
        self.status, self.headers = status, headers
        kind = media_type(headers)
        self.is_answer = status == 200 and kind in self._accepts
        if self.is_answer and self.meter.is_stream and kind == JSON:
            self.meter = self.meter.whole()

    def on_body(self, data: bytes) -> None:  # noqa: C901 - each call more costs every token
        """Meter and charge bytes of the body and write them to the client: the hot path."""
        if not self.is_answer:
            self._hold(data)
            return
        now = self._loop.time()
        meter, ticket = self.meter, self._ticket
        before, outputs = meter.output_tokens, meter.outputs
        try:
            visible = meter.feed(data)
        except MalformedStream as error:
            self._finish(AttemptEnd.MALFORMED, str(error))
            return
        tokens = meter.output_tokens
        if meter.outputs != outputs:
            self._silent_since = self._progress.output_at = now
        if not self._has_output:
            if not self._has_bytes and answers_another(data, ticket.request_id.encode()):
                self._finish(AttemptEnd.MALFORMED, "the answer is to another request")
                return
            self._begin(now)
        elif tokens != before:
            facts = self._facts
            gap = now - facts.last_token_at
            if gap > facts.longest_gap_seconds:
                facts.longest_gap_seconds = gap
            facts.last_token_at = now
            if meter.prompt_tokens != self._prompt_tokens:
                self._charge()
            elif self._is_charged and self.end is None:
                self._account.charge_output(ticket, tokens)
        downstream = self._downstream
        if downstream is None:
            self._hold(visible)
        elif visible and not downstream.write(visible) and self.end is None:
            self._spend(len(visible))

    def on_end(self) -> None:
        """End the relay at the true end of the body: the engine is done, and its room is free."""
        self._finish(AttemptEnd.WHOLE)

    def on_lost(self, reason: str, loss: Loss) -> None:
        """End the relay because the worker broke off.

        If the connection broke, the worker is paused: nobody gets the freed room until it is seen alive.
        """
        if loss is Loss.BROKEN:
            self._dispatcher.lost(self._ticket.worker)
        self._finish(_ENDS[loss], reason)

    def _hold(self, visible: bytes) -> None:
        if visible:
            self._has_bytes = True
            self._buffered.append(visible)
            self._buffered_bytes += len(visible)
        if not self.is_answer and self._buffered_bytes > MAX_ERROR_BYTES:
            self._finish(AttemptEnd.MALFORMED, "error answer too long")
        elif self.is_answer and self._buffered_bytes > MAX_BUFFERED_BYTES and self._connection is not None:
            self._connection.pause()
        self._notify()

    # -- ends

    def cut(self, end: AttemptEnd, reason: str) -> None:
        """End the attempt from this side, once what has come is metered; the closed connection tells the engine."""
        if self._connection is not None:
            self._connection.catch_up()
        self._finish(end, reason)

    def _limit_silence(self) -> None:
        """Look again when this silence would be too long; sooner if that is far off, since the limit may change."""
        if self._connection is not None:
            self._connection.look_at(min(self._silence_ends_at(), self._loop.time() + self._patience.shorter_seconds))

    def on_look(self, now: float) -> None:
        """End the attempt if its silence is too long."""
        if self.is_blocked:
            self._silent_since = now
        if self._silence_ends_at() > now:
            self._limit_silence()
        else:
            self._finish(AttemptEnd.STALLED, f"no output for {now - self._silent_since:.0f} s")

    def _silence_ends_at(self) -> float:
        return self._patience.ends_at(
            self._silent_since, has_output=self._has_output, is_announced=self._has_bytes and self.is_answer
        )

    def _finish(self, end: AttemptEnd, reason: str = "") -> None:
        if self.end is not None:
            return
        self.end, self.reason = end, reason
        connection, self._connection = self._connection, None
        if connection is not None and end is not AttemptEnd.WHOLE:
            connection.abandon()
        if self.is_answer:
            self.last_bytes = self.meter.end() if end is AttemptEnd.WHOLE else self.meter.cut()
            if self._has_bytes and (end is AttemptEnd.WHOLE or self._downstream is not None):
                self.settle()
            if self.is_complete and self._downstream is not None:
                self._downstream.end(self.last_bytes)
        self._notify()

    @property
    def is_complete(self) -> bool:
        """True if the engine's answer says that it is at its end, whatever the connection did after that."""
        return self.meter.is_complete and not self.meter.has_error

    def settle(self) -> None:
        """Settle the ticket: at the engine's figures if they are final, else at an estimate."""
        meter = self.meter
        if meter.has_usage and (self.end is AttemptEnd.WHOLE or meter.is_complete):
            settle_at_figures(self._dispatcher, self._ticket, meter)
            return
        until = self._generated_until()
        self._facts.estimated_tokens = settle_at_estimate(self._dispatcher, self._ticket, meter, until)

    def lost_work(self) -> Usage:
        """What the engine should have done for this attempt, which is given up; nothing if it refused the request."""
        if self._facts.sent_at is None or (self.status and not self.is_answer):
            return NOTHING
        return work_done(self._dispatcher, self._ticket, self.meter, self._generated_until())[0]

    def _generated_until(self) -> float:
        is_silence = (self._has_output and not self.is_blocked) or self.end is AttemptEnd.STALLED
        return generated_until(self._progress, self._silent_since, self._loop.time(), is_silence=is_silence)
