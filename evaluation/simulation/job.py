"""One request on its way: what arrived, its ticket with the scheduler, what became of it, how far the engine is."""

from evaluation.requests import Ending, Request, Served
from gateway.fairness import Ticket, Usage


class Job:
    """A request between its arrival and its end.

    `tokens` is what it takes of the engine in all: its true length, or less where its client leaves before.
    """

    __slots__ = ("charged_tokens", "request", "served", "start", "ticket", "tokens")

    def __init__(self, served: Served, ticket: Ticket) -> None:
        """A request that has just arrived; its ticket states the length that its client stated."""
        request = served.request
        self.request: Request = request
        self.served = served
        self.tokens = request.output_tokens
        if request.leaves_after_tokens is not None:
            self.tokens = min(self.tokens, max(1, request.leaves_after_tokens))
        self.start = 0  # the engine's count of decode steps at its admission
        self.charged_tokens = 0
        stated = request.output_tokens if request.max_output_tokens is None else request.max_output_tokens
        self.ticket = ticket.sized(
            sequences=1, prompt_tokens=request.prompt_tokens, max_output_tokens=stated, is_silent=False
        )

    @property
    def stays(self) -> bool:
        """True where the client takes the whole answer."""
        return self.tokens == self.request.output_tokens

    def usage(self, output_tokens: int) -> Usage:
        """What the engine reports after `output_tokens`."""
        return Usage(self.request.prompt_tokens, 0, output_tokens)

    def end(self, output_tokens: int, last_token_at: float | None) -> None:
        """Write down what it got; short of all that it would take it is unfinished."""
        served = self.served
        served.output_tokens, served.last_token_at = output_tokens, last_token_at
        if output_tokens == self.tokens:
            served.ending = Ending.COMPLETED if self.stays else Ending.CLIENT_LEFT
