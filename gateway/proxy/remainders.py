"""Reads answers that an engine has finished but a slow client has not taken, so that their room comes free.

While a client is behind, the gateway stops reading from its worker. It cannot see that the answer is done, and the
request would hold its slot for as long as the client takes. The engine's own figures show it: if the engine has fewer
sequences than the gateway counts there, the difference has ended among the answers whose clients are behind. The
gateway takes those that have waited longest, and reads the rest of them into memory, piece by piece, while there is
memory to spare (`holdings`). If the guess is wrong, a stream is only buffered a little further. Each answer is settled
at its true end, as every other is.
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
PIECE_BYTES: Final = 256 * 1024  # of an answer, read at a time


@dataclass(frozen=True, slots=True, eq=False)
class _Behind:
    """An answer whose client is behind."""

    ticket: Ticket
    relay: Relay
    custody: Custody
    since: float


class Remainders:
    """Looks for answers that have ended at their worker while the gateway was not reading."""

    def __init__(self, fleet: Fleet, poller: MetricsPoller, holdings: Holdings[Custody]) -> None:
        """Start with no client behind; `start` begins the search."""
        self._fleet = fleet
        self._poller = poller
        self._holdings = holdings
        self._behind: dict[_Behind, None] = {}  # the client that has been behind longest comes first
        # Without this task a slow client holds its slot until it has taken everything.
        self._background = Background("remainders of answers", self._watch, "nobody looks for ends behind slow clients")

    def start(self) -> None:
        """Look every `TICK_SECONDS` until `stop`."""
        self._background.start()

    async def stop(self) -> None:
        """End the search."""
        await self._background.stop()

    @contextmanager
    def behind(self, ticket: Ticket, relay: Relay, custody: Custody) -> Iterator[None]:
        """A context in which the client of `relay` is behind; `custody` counts what is read for it meanwhile."""
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
            custody.hold_from_outside(custody.size_bytes + PIECE_BYTES)
