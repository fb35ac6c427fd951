"""The relay by itself: what the scheduler hears of an answer while it streams, and of one that needs two attempts."""

import asyncio
from typing import cast

from uncompiled import needs_sources

from gateway.endpoints.connection import Loss
from gateway.endpoints.progress import Patience, Progress
from gateway.fairness import Ticket
from gateway.proxy.dispatcher import Dispatcher
from gateway.proxy.record import RequestRecord
from gateway.proxy.relay import Relay
from gateway.usage import Usage
from gateway.wire.meters import meter_for
from gateway.wire.request import Rights, read_request
from gateway.wire.surface import ENDPOINTS

CHAT = ENDPOINTS["/v1/chat/completions"]
ASKED = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true}'


class Heard:
    """What the scheduler is told; charges as it takes them."""

    def __init__(self) -> None:
        self.started_at: list[float] = []
        self.charged: list[int] = []

    def account(self, pool: str) -> "Heard":
        """Whom the charges are told."""
        return self

    def started(self, ticket: Ticket) -> None:
        """The first token."""
        self.started_at.append(asyncio.get_running_loop().time())

    def charge(self, ticket: Ticket, usage: Usage) -> None:
        """A charge."""
        self.charged.append(usage.output_tokens)
        ticket.report(usage)

    def charge_output(self, ticket: Ticket, output_tokens: int) -> None:
        """A charge of more output."""
        self.charge(ticket, Usage(5, 0, output_tokens))


def event(tokens: int) -> bytes:
    """A chunk of a stream after which the answer has `tokens`."""
    return (
        b'data: {"id":"x","model":"tiny","choices":[{"index":0,"delta":{"content":"word"},"logprobs":null,'
        b'"finish_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d}}\n\n'
    ) % (5 + tokens, tokens)


def attempt(ticket: Ticket, heard: Heard, record: RequestRecord) -> Relay:
    meter = meter_for(read_request(CHAT, ASKED, Rights()), b"")
    patience = Patience(Progress(), 20.0, 5.0, 100.0, is_streamed=True)
    relay = Relay(ticket, meter, cast(Dispatcher, heard), record, patience, {b""})
    relay.on_head(200, ())
    return relay


@needs_sources
def test_tokens_within_the_reservation_are_counted_and_not_charged() -> None:
    """The first report is charged, as it tells the prompt; then every token beyond what was paid at dispatch."""

    async def play() -> None:
        ticket, heard = Ticket("r", "t", "k", "p"), Heard()
        ticket.reserved_tokens = 4
        relay = attempt(ticket, heard, RequestRecord("r", "chat", 0.0))
        for tokens in range(1, 7):
            relay.on_body(event(tokens))
            assert ticket.usage == Usage(5, 0, tokens)
        assert heard.charged == [1, 5, 6]

    asyncio.run(play())


@needs_sources
def test_a_second_attempt_tells_of_its_first_token_too() -> None:
    """The prefill's room of the second worker is free as soon as its first token comes."""

    async def play() -> None:
        ticket, heard, record = Ticket("r", "t", "k", "p"), Heard(), RequestRecord("r", "chat", 0.0)
        first = attempt(ticket, heard, record)
        first.on_body(event(1))
        first.on_lost("gone", Loss.STALE)
        second = attempt(ticket, heard, record)
        second.on_body(event(1))
        assert len(heard.started_at) == 2
        assert record.started_at is not None

    asyncio.run(play())
