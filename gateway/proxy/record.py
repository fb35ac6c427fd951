"""What is known of one request, in two parts: a context that never changes, and a record of what happens to it.

Each fact has one keeper. The `Context` is made in one step, when the request has been read and its tenant is known. The
scheduler's ticket has the request's waits, grants and tokens. The record has the rest, and makes the one event that
says how the request ended.
"""

from typing import Final

from gateway.clients.custody import Custody
from gateway.clients.request import ClientRequest
from gateway.config import Pool
from gateway.events import OpenRequest, RequestFinished
from gateway.fairness import PoolAccount, Ticket, TicketState
from gateway.outcomes import Outcome
from gateway.proxy.directory import Identity
from gateway.usage import NOTHING, Usage
from gateway.wire.request import ParsedRequest


class Context:
    """A request that was read: who asks for what, and which pool is to serve it.

    `identity` is of one configuration, by which the request is judged. `asked_pool` is the pool that the client named;
    `pool` is another one if that is its fallback. `read_at` (loop time) is when the body was complete. This is no named
    tuple, which is not made by compiled code.
    """

    __slots__ = ("asked_pool", "custody", "identity", "parsed", "pool", "read_at", "request", "request_id")

    def __init__(  # noqa: PLR0913 - one parameter for each fact
        self,
        request: ClientRequest,
        request_id: str,
        custody: Custody,
        identity: Identity,
        parsed: ParsedRequest,
        asked_pool: Pool,
        pool: Pool,
        read_at: float,
    ) -> None:
        """All that is known when the request has been read."""
        self.request: Final = request
        self.request_id: Final = request_id
        self.custody: Final = custody
        self.identity: Final = identity
        self.parsed: Final = parsed
        self.asked_pool: Final = asked_pool
        self.pool: Final = pool
        self.read_at: Final = read_at

    @property
    def model(self) -> str:
        """The name of the model as the client gave it; that of the pool if it gave none."""
        return self.parsed.model or self.asked_pool.model


class AnswerFacts:
    """What the answer of one attempt has shown; its relay writes it. Times are loop time, None until they come."""

    __slots__ = ("estimated_tokens", "last_token_at", "longest_gap_seconds", "sent_at", "started_at")

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.sent_at: float | None = None
        self.started_at: float | None = None
        self.last_token_at = 0.0
        self.longest_gap_seconds = 0.0
        self.estimated_tokens: int | None = None  # output tokens that the engine did not count


NOTHING_SENT: Final = AnswerFacts()


class RequestRecord:
    """Filled in as the request proceeds. `outcome` is set once, by whoever ends the request.

    `identity` is set as soon as the key is known, `context` when the body was read, `ticket` when the request is
    scheduled; a request may end before each of them. `worker` is the one that the request was sent to last, and
    `answer` is what came of it. `lost` is what engines did for attempts that were given up. An `is_minor` request
    (health, preflight) comes often and nobody pays for it: if it completes, there is no event. This is no dataclass,
    whose `__init__` is not compiled.
    """

    is_minor: bool = False
    identity: Identity | None = None
    end_user: str = ""  # the pseudonym of `end_user_name`
    end_user_name: str = ""
    context: Context | None = None
    ticket: Ticket | None = None
    worker: str = ""
    answer: AnswerFacts = NOTHING_SENT
    lost: Usage = NOTHING
    outcome: Outcome | None = None
    status: int = 0
    detail: str = ""

    def __init__(
        self,
        request_id: str,
        endpoint: str,
        arrived_at: float,
        client_request_id: str = "",
        client_address: str = "",
    ) -> None:
        """A request that arrived at `endpoint` at `arrived_at` (loop time)."""
        self.request_id: Final = request_id
        self.endpoint: Final = endpoint
        self.arrived_at: Final = arrived_at
        self.client_request_id: Final = client_request_id
        self.client_address: Final = client_address

    @property
    def tenant(self) -> str:
        """The name of the tenant; empty until the key is known."""
        return "" if self.identity is None else self.identity.tenant.name

    def end(self, outcome: Outcome, detail: str = "", status: int | None = None) -> None:
        """Note how the request ended; only the first call counts. Without `detail` that of the attempts stays."""
        if self.outcome is None:
            self.outcome = outcome
            self.status = outcome.wire_form.status if status is None else status
            self.detail = detail or self.detail

    def finished(self, now: float) -> RequestFinished:
        """The event that reports the request's end."""
        outcome = self.outcome or Outcome.INTERNAL
        context, ticket, answer = self.context, self.ticket, self.answer
        streamed = context is not None and context.parsed.stream
        started_at = answer.started_at if streamed else None
        prompt_tokens, cached_tokens, output_tokens = (0, 0, 0) if ticket is None else ticket.spent
        return RequestFinished(  # by position: keywords take more than twice as long
            self.request_id,
            self.endpoint,
            self.tenant,
            "" if self.identity is None else self.identity.key_id,
            "" if context is None else context.pool.model,
            "" if context is None else context.model,
            self.worker,
            outcome,
            self.status or outcome.wire_form.status,
            streamed,
            0 if ticket is None else ticket.attempts,
            prompt_tokens,
            cached_tokens,
            output_tokens,
            0.0 if ticket is None else ticket.service,
            None if ticket is None else ticket.waited(now),  # queue_wait_seconds
            None if started_at is None else started_at - self.arrived_at,  # ttft_seconds
            None if started_at is None else _inter_token(answer, started_at, output_tokens),  # inter_token_seconds
            answer.longest_gap_seconds if streamed and answer.longest_gap_seconds else None,
            self._gateway(),  # gateway_seconds
            now - self.arrived_at,  # duration_seconds
            self.detail,
            "" if context is None or context.pool is context.asked_pool else context.asked_pool.model,
            self.client_request_id,
            answer.estimated_tokens,
            None if ticket is None else ticket.retries or None,
            self.client_address,
            self.end_user,
            self.lost.prompt_tokens or None,
            self.lost.output_tokens or None,
            None if ticket is None else ticket.worker_seconds or None,
            1 if context is None else context.parsed.choices,
            self.end_user_name,
        )

    def so_far(self, now: float, account: PoolAccount, worker_seconds: float) -> OpenRequest:
        """What a request that was granted has used by `now`, of the time of its workers `worker_seconds`."""
        context, ticket = self.context, self.ticket
        assert context is not None
        assert ticket is not None
        usage, service = ticket.spent, ticket.service
        if ticket.state is TicketState.GRANTED:
            usage = ticket.usage_so_far
            service = account.cost(ticket, usage)
        return OpenRequest(
            self.request_id,
            self.tenant,
            context.identity.key_id,
            self.end_user,
            ticket.pool,
            context.model,
            ticket.worker,
            ticket.attempts,
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            service,
            ticket.waited_seconds,
            now - self.arrived_at,
            worker_seconds,
            context.parsed.choices,
            self.end_user_name,
        )

    def _gateway(self) -> float | None:
        context, ticket, sent_at = self.context, self.ticket, self.answer.sent_at
        if context is None or ticket is None or sent_at is None:
            return None
        return (sent_at - context.read_at) - (ticket.granted_at - ticket.submitted_at)


def _inter_token(answer: AnswerFacts, started_at: float, output_tokens: int) -> float | None:
    """The mean time between tokens; None for fewer than two."""
    return None if output_tokens < 2 else (answer.last_token_at - started_at) / (output_tokens - 1)
