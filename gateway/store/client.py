"""What the rest of the gateway uses of the store: one connection for calls, and one for messages.

Rules. `connected` makes the connection for calls; nothing else does. So a call never reaches a server whose run id its
caller has not seen. Calls of all pools that are made at once cost one write and one read. The connection for messages
comes back by itself, with growing pauses; it is renewed too when calls reach another server than before.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import hiredis

from gateway.config import Replicas
from gateway.replicas import budget_call, quota_call
from gateway.replicas.budget_call import BUDGETS, BudgetCall, BudgetReply
from gateway.replicas.call import TURN, Call, Reply, read_reply
from gateway.replicas.quota_call import QUOTAS, QuotaCall, QuotaReply
from gateway.replicas.script import Script
from gateway.store.connection import Command, StoreConnection
from gateway.store.failures import StoreFailed, explain
from gateway.store.inbox import Inbox
from gateway.store.line import Line

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0


class StoreClient:
    """The store of the `replicas`.

    A call has `timeout_seconds` for its reply, and twice that if the server has to learn the script first.
    """

    def __init__(self, replicas: Replicas, *, timeout_seconds: float = 0.05) -> None:
        """Connect to nothing yet."""
        self._line = Line(replicas)
        self._timeout_seconds = timeout_seconds
        self._connecting = asyncio.Lock()
        self._calls: StoreConnection | None = None
        self._run_id = ""
        self._hearing: StoreConnection | None = None
        self._hears_run_id = ""
        self._closing = asyncio.Event()
        self.deaf_because = ""  # why no messages come; "" if they do

    @property
    def is_connected(self) -> bool:
        """True while the connection for calls is good, as far as anybody knows."""
        return self._calls is not None and not self._calls.has_failed

    async def connected(self) -> str:
        """The run id of the server that calls go to; connects if there is no connection.

        `StoreFailed` if there is none: after 0.25 s if the server is silent, after a second if nobody is there.
        """
        async with self._connecting:
            if not self.is_connected:
                self._refuse_if_closed()
                self._calls, self._run_id = await self._line.open()
                if self._hearing is not None and self._hears_run_id != self._run_id:
                    self._hearing.fail("calls go to another server now")
        return self._run_id

    async def turns(self, calls: Sequence[tuple[str, Call]]) -> list[Reply]:
        """Carry out `calls`, each with its pool, and return their replies, in order.

        Each call names the run id that `connected` returned. `StoreFailed` if a reply is missing or is an error: the
        connection is closed then, and the store may have carried out all, some or none of the calls.
        """
        if any(call.store != self._run_id for _, call in calls):
            raise StoreFailed("store: the call was meant for another server; connect first")
        uses = [(TURN.keys(pool), call.arguments()) for pool, call in calls]
        return [read_reply(reply) for reply in await self._run(TURN.script, uses)]

    async def limits(self, fleet: str, call: QuotaCall) -> QuotaReply:
        """Carry out one call about the limits of tenants; what it names and how it fails is as with `turns`."""
        if call.store != self._run_id:
            raise StoreFailed("store: the call was meant for another server; connect first")
        return quota_call.read_reply(await self.run(QUOTAS.script, QUOTAS.keys(fleet), call.arguments()))

    async def budgets(self, fleet: str, call: BudgetCall) -> BudgetReply:
        """Carry out one call about budgets; what it names and how it fails is as with `turns`."""
        if call.store != self._run_id:
            raise StoreFailed("store: the call was meant for another server; connect first")
        return budget_call.read_reply(await self.run(BUDGETS.script, BUDGETS.keys(fleet), call.arguments()))

    async def run(self, program: Script, names: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """The reply to another script with the keys `names`; failures are those of `turns`."""
        (reply,) = await self._run(program, [(names, arguments)])
        return reply

    async def messages(self, channels: Sequence[str]) -> AsyncGenerator[tuple[str, bytes], None]:
        """The messages on `channels`, each with its channel, until `close`; `deaf_because` says why none come.

        While the connection is lost, messages are lost. If the reader is slow, the oldest are.
        """
        pause_seconds = FIRST_PAUSE_SECONDS
        while not self._closing.is_set():
            try:
                self._hearing, self._hears_run_id = await self._line.open()
                inbox = Inbox(self._hearing, channels)
                while not self._closing.is_set():
                    message = await inbox.next()
                    if inbox.hears_all:
                        self.deaf_because, pause_seconds = "", FIRST_PAUSE_SECONDS
                    if message is not None:
                        yield message
            except StoreFailed as failure:
                self.deaf_because = str(failure)
            finally:
                await self._hear_no_more()
            await self._pause(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    async def close(self) -> None:
        """End both connections, and the messages."""
        self._closing.set()
        self._line.close()
        async with self._connecting:
            if self._calls is not None:
                await self._calls.close()
        await self._hear_no_more()

    async def _run(self, program: Script, uses: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        connection = self._calls
        if connection is None:
            raise StoreFailed("store: there is no connection; connect first")
        commands = [("EVALSHA", program.digest, len(names), *names, *words) for names, words in uses]
        replies = await connection.ask(commands, self._timeout_seconds)
        unknown = [place for place, reply in enumerate(replies) if _is_unknown_script(reply)]
        if unknown:
            again: list[Command] = [("SCRIPT", "LOAD", program.text), *(commands[place] for place in unknown)]
            loaded, *rest = await connection.ask(again, self._timeout_seconds)
            replies = [loaded, *replies]
            for place, reply in zip(unknown, rest, strict=True):
                replies[place + 1] = reply
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                connection.fail(explain(str(reply)))
                raise connection.failure()
        return replies[-len(uses) :]

    async def _hear_no_more(self) -> None:
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            await hearing.close()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    def _refuse_if_closed(self) -> None:
        if self._closing.is_set():
            raise StoreFailed("store: the client is closed")


def _is_unknown_script(reply: Any) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")
