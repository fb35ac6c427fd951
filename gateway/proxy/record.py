"""What is known of one request while it lives, and the one event that says how it ended."""

from gateway.events import RequestFinished
from gateway.outcomes import Outcome


class RequestRecord:
    """Filled in as the request proceeds; times are loop time. `outcome` is set once, by whoever ends the request.

    An `is_minor` request (health, preflight) comes often and nobody pays for it: if it completes, there is no event.
    This is no dataclass, whose `__init__` is not compiled.
    """

    end_user: str = ""
    is_minor: bool = False
    tenant: str = ""
    key_id: str = ""
    pool: str = ""
    asked_pool: str = ""
    model: str = ""
    worker: str = ""
    outcome: Outcome | None = None
    status: int = 0
    streamed: bool = False
    attempts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    estimated_tokens: int | None = None
    service: float = 0.0
    retries: int = 0
    queue_wait_seconds: float | None = None
    submitted_at: float | None = None
    granted_at: float | None = None
    sent_at: float | None = None
    body_read_at: float | None = None
    started_at: float | None = None
    last_token_at: float | None = None
    longest_gap_seconds: float = 0.0
    detail: str = ""

    def __init__(
        self,
        request_id: str,
        endpoint: str,
        arrived_at: float,
        client_request_id: str = "",
        client_address: str = "",
    ) -> None:
        """A request that has just arrived."""
        self.request_id = request_id
        self.endpoint = endpoint
        self.arrived_at = arrived_at
        self.client_request_id = client_request_id
        self.client_address = client_address

    def end(self, outcome: Outcome, detail: str = "", status: int | None = None) -> None:
        """Note how the request ended; only the first call counts. Without `detail` that of the attempts stays."""
        if self.outcome is None:
            self.outcome = outcome
            self.status = outcome.wire_form.status if status is None else status
            self.detail = detail or self.detail

    def finished(self, now: float) -> RequestFinished:
        """The event that reports the request's end."""
        outcome = self.outcome or Outcome.INTERNAL
        started_at = self.started_at if self.streamed else None
        return RequestFinished(  # by position: keywords take more than twice as long
            self.request_id,
            self.endpoint,
            self.tenant,
            self.key_id,
            self.pool,
            self.model,
            self.worker,
            outcome,
            self.status or outcome.wire_form.status,
            self.streamed,
            self.attempts,
            self.prompt_tokens,
            self.cached_tokens,
            self.output_tokens,
            self.service,
            self.queue_wait_seconds,
            None if started_at is None else started_at - self.arrived_at,  # ttft_seconds
            None if started_at is None else self._inter_token(started_at),  # inter_token_seconds
            self.longest_gap_seconds if self.streamed and self.longest_gap_seconds else None,
            self._gateway(),  # gateway_seconds
            now - self.arrived_at,  # duration_seconds
            self.detail,
            self.asked_pool,
            self.client_request_id,
            self.estimated_tokens,
            self.retries or None,
            self.client_address,
            self.end_user,
        )

    def _inter_token(self, started_at: float) -> float | None:
        if self.last_token_at is None or self.output_tokens < 2:
            return None
        return (self.last_token_at - started_at) / (self.output_tokens - 1)

    def _gateway(self) -> float | None:
        if self.sent_at is None or self.body_read_at is None or self.granted_at is None or self.submitted_at is None:
            return None
        return (self.sent_at - self.body_read_at) - (self.granted_at - self.submitted_at)
