"""The life of one scheduled request, from the body that was read to its one end.

The request waits for a grant, is sent, and its answer is relayed. `workers.judgement` judges what each attempt met and
says what follows. If a worker breaks before the client has a byte, the request is sent again: at most two failed
attempts, and at most four in all where workers died of other requests. If an engine has no room, the request goes back
to the head of its queue. A request of which two workers died is not sent again (`death_guard`). The ticket is settled
exactly once and the record ends with exactly one outcome, even if the task is cancelled at an await: `run` then calls
`_leave`. After the first byte nothing is tried again. A reload may take the key, the model or a right from a request
that waits: this is checked before each sending.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from gateway.clients.downstream import ClientStalled, WholeAnswer
from gateway.clients.refusal import Refusal, message
from gateway.config import EngineOrder
from gateway.endpoints.failures import WorkerUnreachable, evidence_of_failure
from gateway.endpoints.progress import Patience
from gateway.endpoints.workers import WorkerEndpoint
from gateway.events import OpenRequest
from gateway.fairness import Ticket, TicketState
from gateway.outcomes import Outcome
from gateway.proxy.attempt import before_answer, in_answer
from gateway.proxy.budgets import refusal_of, shortened_rest
from gateway.proxy.dispatcher import Refused
from gateway.proxy.record import NOTHING_SENT, AnswerFacts, Context, RequestRecord
from gateway.proxy.relay import AttemptEnd, Relay
from gateway.proxy.services import Services
from gateway.usage import Usage
from gateway.wire.engine_answer import retry_after_seconds, types_for
from gateway.wire.errors import error_event
from gateway.wire.headers import request_head
from gateway.wire.meters import meter_for
from gateway.workers import Action, Blame, Clearance, Effect, Evidence, Situation, Suspect, judge

MAX_FAILED_ATTEMPTS: Final = 2
MAX_FULL_ATTEMPTS: Final = 8  # attempts at which the engine had no room
MAX_BROKEN_ATTEMPTS: Final = 4  # failed attempts, including those whose worker died of another request
_SLOWEST_TOKENS_PER_SECOND: Final = 1.0  # an engine that generates an unseen answer more slowly counts as silent

LOCAL_RETRY_SECONDS = 1.0  # after this time the gateway may again have what it lacked (descriptors, memory)
FULL_RETRY_SECONDS = 5.0

_RETRY_SECONDS: Final = {Outcome.GATEWAY_EXHAUSTED: LOCAL_RETRY_SECONDS, Outcome.NO_ROOM: FULL_RETRY_SECONDS}
# If an answer that is not streamed breaks off, only a broken connection can tell the client.
_BROKEN: Final = frozenset({Outcome.WORKER_LOST_STREAMING, Outcome.WORKER_STALLED, Outcome.CUT_BY_SHUTDOWN})


class Exchange:
    """One scheduled request."""

    def __init__(
        self,
        services: Services,
        context: Context,
        ticket: Ticket,
        record: RequestRecord,
        check_standing: Callable[[Context], None],
    ) -> None:
        """An exchange for `context`, whose place in the queue is `ticket`.

        `check_standing` is called before each sending: it raises `RequestFault` if the request may no longer run.
        """
        self._services = services
        self._context = context
        self._ticket = ticket
        self._record = record
        self._check_standing = check_standing
        parsed, pool = context.parsed, context.pool
        self._parsed = parsed
        self._rest = b""
        self._adapter = parsed.model if pool.adapters and parsed.model in pool.adapter_names else ""
        self._suspect = Suspect(ticket.tenant, parsed.endpoint.path, pool.model, parsed.identity)
        self._relay: Relay | None = None
        self._downstream = services.delivery.downstream(context.request, context.request_id)
        self._failures = self._breaks = self._fulls = 0
        self._unsent: Evidence | None = None  # why the request could not be sent
        self._is_cut = False
        self._is_flushing = False

    async def run(self) -> bool:
        """Carry the request to its end; True if the client's connection is kept.

        Raises `RequestFault` if the request ends before the client has a byte of an answer.

        Cancelled anywhere below: the `except` names the outcome and `_leave` gives back what the request holds.
        """
        dispatcher, ticket = self._services.dispatcher, self._ticket
        try:
            if self._services.guard.is_convicted(self._suspect):
                raise Refusal(Outcome.QUARANTINED)
            if ticket.claim is not None:
                await self._services.weigh(self._context, ticket.claim)  # cancelled: nothing is held
            await dispatcher.admit(ticket)  # cancelled: the ticket is queued or just granted; nothing was sent
            return await self._attempts()
        except Refused as refused:
            if refused.outcome is Outcome.BUDGET_USED_UP:
                raise refusal_of(ticket.claim) from None
            raise Refusal(refused.outcome, refused.retry_after_seconds or None) from None
        except asyncio.CancelledError:
            self._record.end(self._place_of_leaving())
            raise
        finally:
            self._leave()

    def cut(self) -> None:
        """End the request wherever it is, because the gateway's grace time is over."""
        self._is_cut = True
        if self._relay is not None:
            self._relay.cut(AttemptEnd.CUT, "shutdown")

    def so_far(self) -> OpenRequest:
        """What the request, which was granted, has used so far."""
        dispatcher, ticket = self._services.dispatcher, self._ticket
        worker_seconds = dispatcher.worker_seconds(ticket)
        return self._record.so_far(dispatcher.loop.time(), dispatcher.account(ticket.pool), worker_seconds)

    # -- attempts

    async def _attempts(self) -> bool:
        dispatcher, guard, ticket = self._services.dispatcher, self._services.guard, self._ticket
        while True:
            self._record.answer = NOTHING_SENT
            # Cancelled here: the ticket holds its grant and nothing was sent, so `_leave` refunds it.
            match await guard.send(self._suspect, ticket.worker):
                case Clearance.REFUSE:
                    self._give_up(Outcome.QUARANTINED)
                case Clearance.WAIT:  # the worker died before the request was sent
                    await dispatcher.readmit(ticket, failed_worker=ticket.worker)  # cancelled: as at `admit`
                    continue
                case Clearance.SEND:
                    pass
            self._check_standing(self._context)
            relay = await self._attempt()
            evidence = self._unsent or before_answer(relay)
            effect = judge(Situation.WAITING, evidence)
            self._signal_circuit(effect, relay)
            if effect.action in (Action.RELAY, Action.FORWARD):
                self._let_go_of_body()
            match effect.action:
                case Action.RELAY:
                    guard.survived(self._suspect)
                    return await self._relay_answer(relay)
                case Action.FORWARD:
                    return await self._pass_on(relay)
                case Action.WAIT:
                    self._relay = None
                    self._count_full(relay, evidence)
                    dispatcher.full(ticket, retry_after_seconds(relay.headers))
                    await dispatcher.readmit(ticket)  # cancelled: as at `admit`; the first worker ran nothing
                case Action.AGAIN:
                    self._relay = None
                    self._write_off(relay)
                    await self._count_failure(relay, effect, evidence)
                    await dispatcher.readmit(ticket, failed_worker=ticket.worker)
                case _:
                    assert effect.outcome is not None
                    self._write_off(relay)
                    self._give_up(effect.outcome, relay)

    def _let_go_of_body(self) -> None:
        """Drop the body: an answer has begun, so nothing is sent again."""
        self._suspect.let_go()
        self._parsed.let_go()
        self._rest = b""
        self._context.custody.let_go()

    def _count_full(self, relay: Relay, evidence: Evidence) -> None:
        """Count an attempt at which the engine had no room; raises `Refusal` if it was the last one allowed."""
        self._services.guard.leave(self._suspect)
        self._fulls += 1
        self._record.detail = f"{self._ticket.worker}: {relay.reason}"
        if self._fulls == MAX_FULL_ATTEMPTS:
            self._give_up(_last_outcome(evidence), relay)

    async def _count_failure(self, relay: Relay, effect: Effect, evidence: Evidence) -> None:
        """Count an attempt that failed before the client had a byte; raises `Refusal` if no other is allowed."""
        blame = await self._blame(effect)  # cancelled: the guard still finds out whether the worker died
        self._breaks += 1
        self._failures += blame is not Blame.EXCUSED
        if blame is Blame.CONVICTED:
            relay.reason = f"the second worker that died of it: {relay.reason}"
            self._give_up(Outcome.QUARANTINED, relay)
        if self._failures == MAX_FAILED_ATTEMPTS or self._breaks == MAX_BROKEN_ATTEMPTS:
            self._give_up(_last_outcome(evidence), relay)
        self._record.detail = f"{self._ticket.worker}: {relay.reason}"

    async def _blame(self, effect: Effect) -> Blame | None:
        """What the worker's death means for the request; None if it did not die, or never had the request."""
        if effect.may_be_death:
            return await self._services.guard.judge(self._suspect)
        self._services.guard.leave(self._suspect)
        return None

    def _write_off(self, relay: Relay) -> None:
        """Note what the engine has done for an attempt that is given up: nobody pays for it."""
        before, lost = self._record.lost, relay.lost_work()
        self._record.lost = Usage(
            before.prompt_tokens + lost.prompt_tokens,
            before.cached_tokens + lost.cached_tokens,
            before.output_tokens + lost.output_tokens,
        )

    def _give_up(self, outcome: Outcome, relay: Relay | None = None) -> NoReturn:
        self._services.dispatcher.settle(self._ticket, None)
        worker_message = ""
        if relay is not None:
            self._record.detail = relay.reason
            worker_message = relay.reason if outcome is Outcome.WORKER_FAILED and relay.status else ""
        raise Refusal(outcome, _RETRY_SECONDS.get(outcome), worker_message)

    async def _attempt(self) -> Relay:
        """Send to the granted worker and wait for the first output or the end.

        If a kept connection proves stale, the request is sent again over a new one; this is no failed attempt.
        """
        context, parsed = self._context, self._parsed
        worker = self._record.worker = self._ticket.worker
        endpoint = self._services.endpoints[worker]
        self._unsent = None
        payer = context.identity.payer
        ordered_by = payer if endpoint.engine_order is EngineOrder.VTC else None
        self._rest = shortened_rest(parsed, self._ticket.claim)
        start = parsed.upstream_start(self._adapter or endpoint.pool.engine_model, payer.name, ordered_by)
        head = request_head(
            endpoint.upstream,
            parsed.endpoint.path,
            context.request_id,
            len(start) + len(self._rest),
            context.request.headers.fields,
        )
        relay = await self._send(endpoint, head + start, fresh=False)
        if relay.end is AttemptEnd.STALE:
            relay = await self._send(endpoint, head + start, fresh=True)
        return relay

    async def _send(self, endpoint: WorkerEndpoint, start: bytes, *, fresh: bool) -> Relay:
        """Send `start` and the rest of the client's body; the relay has begun or ended when this returns."""
        meter = meter_for(self._parsed, endpoint.fingerprint)
        patience, accepts = self._patience(endpoint), types_for(self._parsed)
        facts = self._record.answer = AnswerFacts()
        relay = self._relay = Relay(self._ticket, meter, self._services.dispatcher, facts, patience, accepts)
        if self._is_cut:
            relay.cut(AttemptEnd.CUT, "shutdown")
            return relay
        try:
            seconds, rest = self._context.pool.timeouts.connect_seconds, self._rest
            # Cancelled here: the port drops a half-made connection; nothing was sent, so `_leave` refunds the ticket.
            connection = await endpoint.data.send(start, rest, relay, seconds, fresh=fresh)
        except WorkerUnreachable as error:
            self._unsent = evidence_of_failure(error)
            if fresh and self._unsent is Evidence.UNREACHABLE:
                self._unsent = Evidence.LOST  # it was sent before, on the connection that broke
            relay.cut(AttemptEnd.LOST, str(error))
            return relay
        relay.attach(connection)
        # Cancelled here: the engine may run the request, so `_leave` closes the connection and charges an estimate.
        await relay.begun()
        return relay

    def _patience(self, endpoint: WorkerEndpoint) -> Patience:
        timeouts, ticket = self._context.pool.timeouts, self._ticket
        tokens = max(ticket.max_output_tokens / ticket.sequences, self._parsed.max_output_tokens or 0)
        longest = tokens / _SLOWEST_TOKENS_PER_SECOND
        return Patience(
            endpoint.data.progress,
            timeouts.first_byte_seconds,
            timeouts.stall_seconds,
            timeouts.first_byte_seconds + longest,
            is_streamed=self._parsed.stream,
        )

    def _signal_circuit(self, effect: Effect, relay: Relay) -> None:
        """Signal to the circuit of the worker what the request met there."""
        if effect.signal is not None:
            self._services.health.report(self._ticket.worker, effect.signal, relay.reason, self._suspect)

    # -- answers

    async def _pass_on(self, relay: Relay) -> bool:
        """Pass on the engine's refusal of the request (4xx), in the engine's own words; nothing is charged."""
        self._services.guard.answered(self._suspect)
        self._services.dispatcher.settle(self._ticket, None)
        headers = self._services.answer_headers(relay.headers, self._context, self._ticket.claim)
        answer = WholeAnswer(relay.status, relay.take_buffered(), headers)
        self._downstream.send(answer)
        return await self._flushed(Outcome.REJECTED_BY_ENGINE)

    async def _relay_answer(self, relay: Relay) -> bool:
        downstream = self._downstream
        headers = self._services.answer_headers(relay.headers, self._context, self._ticket.claim)
        downstream.open(relay.status, headers, self._length(relay))
        relay.flow(downstream)
        try:
            # Cancelled at either await: `_leave` cuts the relay, which settles the ticket at what was generated.
            while await relay.blocked_or_ended():
                with self._services.remainders.behind(self._ticket, relay, self._context.custody):
                    await downstream.drain()
                relay.unblock()
        except ClientStalled:
            relay.cut(AttemptEnd.CUT, "client stalled")
            self._record.end(Outcome.CLIENT_STALLED)
            return False
        return await self._flushed(self._end_answer(relay), relay.reason)

    def _end_answer(self, relay: Relay) -> Outcome:
        """Learn from a complete answer, or write the last bytes of another; returns how the request ends."""
        if relay.meter.fingerprint is not None:
            self._services.endpoints[self._ticket.worker].fingerprint = relay.meter.fingerprint
        if relay.is_complete:
            self._services.guard.answered(self._suspect)
            self._learn_prompt(relay)
            return Outcome.COMPLETED
        assert relay.end is not None
        effect = judge(Situation.BEGUN, in_answer(relay))
        outcome = effect.outcome
        assert outcome is not None
        last = relay.last_bytes
        if relay.meter.has_error:
            relay.reason = relay.reason or "the engine reported an error"
        elif relay.meter.is_stream:
            family, number = self._parsed.endpoint.family, relay.meter.next_sequence_number
            last += error_event(family, outcome, message(outcome), self._context.request_id, number)
        self._downstream.write(last)
        if effect.may_be_death:
            self._services.guard.report(self._suspect)
        self._signal_circuit(effect, relay)
        return outcome

    async def _flushed(self, outcome: Outcome, reason: str = "") -> bool:
        """Wait until the client has taken nearly everything; the request then ends with `outcome`."""
        self._is_flushing = True
        downstream = self._downstream
        is_stream = self._relay is not None and self._relay.meter.is_stream
        is_broken = outcome in _BROKEN and not is_stream
        if not is_broken:
            downstream.finish()
        # Cancelled here: the ticket is settled already; the client has missed the last bytes.
        is_kept = await self._services.delivery.end(downstream, self._record, outcome, reason)
        if is_broken:
            downstream.break_off()
        return is_kept and not is_broken

    def _learn_prompt(self, relay: Relay) -> None:
        parsed = self._parsed
        if relay.meter.has_usage and parsed.prompt_tokens is None and parsed.media_parts == 0:
            ticket = self._ticket
            self._services.dispatcher.account(ticket.pool).prompts.observe(
                ticket.tenant, parsed.prompt_bytes, ticket.spent.prompt_tokens, prompts=parsed.prompts
            )

    def _length(self, relay: Relay) -> int | None:
        """The length in bytes of a body that passes unchanged; None for a stream, whose length is not known."""
        if relay.meter.is_stream:
            return None
        for name, value in relay.headers:
            if name == b"content-length" and value.isdigit():
                return int(value)
        return None

    # -- ends

    def _place_of_leaving(self) -> Outcome:
        """The outcome of a cancelled request: why its task was cancelled, or how far it was when the client left."""
        if self._is_cut:
            return Outcome.CUT_BY_SHUTDOWN
        if self._context.custody.is_pushed_out:
            return Outcome.BODY_PUSHED_OUT
        if self._ticket.state in (TicketState.NEW, TicketState.QUEUED):
            return Outcome.CLIENT_GONE_QUEUED
        relay = self._relay
        if not self._downstream.is_open or relay is None:
            return Outcome.CLIENT_GONE_WAITING
        if relay.is_complete and not relay.is_blocked and not self._is_flushing:
            return Outcome.COMPLETED  # the client read the end marker and did not wait for the connection's last bytes
        return Outcome.CLIENT_GONE_STREAMING

    def _leave(self) -> None:
        """Give back whatever the request still holds; this never waits, so no cancellation can interrupt it."""
        relay = self._relay
        self._services.guard.leave(self._suspect)
        if relay is not None and relay.end is None:
            relay.cut(AttemptEnd.CUT, "client gone")
        may_be_read = self._record.answer.sent_at is not None and self._ticket.state is TicketState.GRANTED
        if relay is not None and may_be_read and (relay.is_answer or not relay.status):
            relay.settle()  # the client left before the first byte: the prompt may have been read
        self._services.dispatcher.settle(self._ticket, None)


def _last_outcome(evidence: Evidence) -> Outcome:
    """The outcome of a request whose last attempt met `evidence`."""
    outcome = judge(Situation.LAST, evidence).outcome
    assert outcome is not None
    return outcome
