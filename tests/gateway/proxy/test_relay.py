"""The relay by itself: what it reports to the scheduler while an answer streams, and in a second attempt."""

import asyncio
from typing import cast

from uncompiled import needs_sources

from gateway.endpoints.connection import Loss
from gateway.endpoints.progress import Patience, Progress
from gateway.fairness import POLICIES, PREDICTORS, Linear, PoolAccount, PoolSpec, Rules, Ticket
from gateway.fairness.tenants import TenantRegister
from gateway.proxy.dispatcher import Dispatcher
from gateway.proxy.record import AnswerFacts
from gateway.proxy.relay import Relay
from gateway.usage import Usage
from gateway.wire.meters import meter_for
from gateway.wire.request import Rights, read_request
from gateway.wire.surface import ENDPOINTS

CHAT = ENDPOINTS["/v1/chat/completions"]
ASKED = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true}'


class Heard:
    """What the relay reports to the scheduler; its account charges."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.started_at: list[float] = []
        self._account = PoolAccount(
            PoolSpec("p", Linear()), Rules(lambda: POLICIES["vtc"](None), lambda: PREDICTORS["none"](None))
        )
        self.tenant = self._account.queue.tenant("t", TenantRegister())

    def started(self, ticket: Ticket) -> None:
        """The first token."""
        self.started_at.append(asyncio.get_running_loop().time())

    def account(self, _pool: str) -> PoolAccount:
        """The account of its pool."""
        return self._account


def event(tokens: int) -> bytes:
    """A chunk of a stream after which the answer has `tokens`."""
    return (
        b'data: {"id":"x","model":"tiny","choices":[{"index":0,"delta":{"content":"word"},"logprobs":null,'
        b'"finish_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d}}\n\n'
    ) % (5 + tokens, tokens)


def attempt(ticket: Ticket, heard: Heard, facts: AnswerFacts) -> Relay:
    meter = meter_for(read_request(CHAT, ASKED, Rights()), b"")
    patience = Patience(Progress(), 20.0, 5.0, 100.0, is_streamed=True)
    relay = Relay(ticket, meter, cast(Dispatcher, heard), facts, patience, {b""})
    relay.on_head(200, ())
    return relay


@needs_sources
def test_tokens_within_the_reservation_are_counted_and_not_charged() -> None:
    """The first report is charged, as it tells the prompt; then every token beyond what was paid at dispatch."""

    async def play() -> None:
        ticket, heard = Ticket("r", "t", "k", "p"), Heard()
        ticket.reserved_tokens = 4
        heard.account("p").open_charges(ticket, heard.tenant, (0, 0))
        relay = attempt(ticket, heard, AnswerFacts())
        paid = [heard.tenant.service]
        for tokens in range(1, 7):
            relay.on_body(event(tokens))
            assert ticket.usage == Usage(5, 0, tokens)
            paid.append(heard.tenant.service)
        assert paid == [1 + 4 * 2, *[5 + 4 * 2] * 4, 5 + 5 * 2, 5 + 6 * 2]

    asyncio.run(play())


@needs_sources
def test_a_second_attempt_tells_of_its_first_token_too() -> None:
    """The prefill's room of the second worker is free as soon as its first token comes."""

    async def play() -> None:
        ticket, heard = Ticket("r", "t", "k", "p"), Heard()
        heard.account("p").open_charges(ticket, heard.tenant, (0, 0))
        first = attempt(ticket, heard, AnswerFacts())
        first.on_body(event(1))
        first.on_lost("gone", Loss.STALE)
        facts = AnswerFacts()
        second = attempt(ticket, heard, facts)
        second.on_body(event(1))
        assert len(heard.started_at) == 2
        assert facts.started_at is not None

    asyncio.run(play())
