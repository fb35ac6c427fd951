"""What an engine has finished and a slow client has not taken: read to its end, so that its room is free.

While a client is behind, its worker is not read on, and the gateway cannot see that the answer is done: the request
would hold its slot for as long as the client takes. The engine's own figures say so: where it has fewer sequences than
the gateway counts there, as many of those whose clients are behind have ended, the one that waits longest first. Their
rest is read into memory, piece by piece, while there is memory to spare (`holdings`); a stream that had not ended after
all is only buffered a little further. The answer is settled at its true end, as every other.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway.background import Background
from gateway.clients.custody import Custody
from gateway.fairness import Holdings, Ticket
from gateway.proxy.relay import Relay
from gateway.watch.poller import MetricsPoller
from gateway.workers import Fleet

TICK_SECONDS: Final = 0.5
PIECE_BYTES: Final = 256 * 1024  # of an answer, read on at once


@dataclass(frozen=True, slots=True, eq=False)
class _Behind:
    """An answer whose client is behind."""

    ticket: Ticket
    relay: Relay
    custody: Custody
    since: float


class Remainders:
    """Looks at every worker for answers that have ended unseen."""

    def __init__(self, fleet: Fleet, poller: MetricsPoller, holdings: Holdings[Custody]) -> None:
        """Nobody is behind, and nobody looks yet."""
        self._fleet = fleet
        self._poller = poller
        self._holdings = holdings
        self._behind: dict[_Behind, None] = {}  # the one that waits longest first
        # Without it a slow client holds its slot until it has taken everything.
        self._background = Background("remainders of answers", self._watch, "nobody looks for ends behind slow clients")

    def start(self) -> None:
        """Look on until `stop`."""
        self._background.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._background.stop()

    @contextmanager
    def behind(self, ticket: Ticket, relay: Relay, custody: Custody) -> Iterator[None]:
        """The client of `relay` is behind, for as long as the context lasts; `custody` holds what is read on for it."""
        behind = _Behind(ticket, relay, custody, asyncio.get_running_loop().time())
        self._behind[behind] = None
        try:
            yield
        finally:
            del self._behind[behind]
            custody.let_go()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for worker in {behind.ticket.worker for behind in self._behind}:
                self._look(worker, [behind for behind in self._behind if behind.ticket.worker == worker])

    def _look(self, worker: str, waiting: list[_Behind]) -> None:
        view, sample = self._fleet.look(worker), self._poller.sample(worker)
        if view is None or sample is None:
            return
        ended = view.sequences_in_flight - sample.running - sample.waiting - sample.deferred
        for behind in waiting:
            if behind.relay.end is None and behind.since < sample.asked_at:
                ended -= behind.ticket.sequences
                if ended >= 0:
                    self._read_on(behind)

    def _read_on(self, behind: _Behind) -> None:
        custody = behind.custody
        if self._holdings.held_bytes + PIECE_BYTES <= self._holdings.max_bytes and behind.relay.read_on(PIECE_BYTES):
            custody.hold_aside(custody.size_bytes + PIECE_BYTES)
