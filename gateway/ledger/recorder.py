"""Observes grants and ends on the event loop and hands them to the writer, many at a time.

What ends is handed over `FLUSH_SECONDS` later, with all that ends until then. A request that still runs then is noted
as open, and again every `NOTE_SECONDS`, so that little is missing if this process is killed. While the writer cannot
write, only ends are handed over, and the last figures of a worker that leaves. The workers' figures are handed over at
the pace of the notes. A timer is armed only while there is something to hand over or a request runs, and for some
seconds after that.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import time
from typing import Final

from gateway.config import Pool, Prices
from gateway.events import Event, OpenRequest, RequestDispatched, RequestFinished
from gateway.ledger.rows import Ended, Grant, Noted
from gateway.ledger.worker_times import Reading, WorkerTimes
from gateway.ledger.writer import Delivery, LedgerWriter

Find = Callable[[str], OpenRequest | None]  # by the id of a request; None if it has ended

FLUSH_SECONDS: Final = 0.05
NOTE_SECONDS: Final = 1.0
_LAST_LOOKS: Final = 3  # an engine's last figures come up to two seconds after its last request
_NOTES_AT_ONCE: Final = 100  # in one turn of the event loop


class Recorder:
    """The ledger as the gateway's events fill it; times in it are wall-clock times."""

    def __init__(
        self,
        writer: LedgerWriter,
        find: Find,
        readings: Callable[[], Iterable[Reading]],
        wall_clock: Callable[[], float] = time,
    ) -> None:
        """Hand over to `writer`; `find` says what a request has used so far, `readings` how busy each worker was."""
        self._writer = writer
        self._find = find
        self._readings = readings
        self._wall_clock = wall_clock
        self._loop = asyncio.get_running_loop()
        self._prices: dict[str, Prices | None] = {}
        self._open: dict[str, Grant] = {}  # granted and not ended, by request id
        self._fresh: dict[str, None] = {}  # of these, the ones not noted yet
        self._ended: list[Ended] = []
        self._times = WorkerTimes()
        self._flush: asyncio.TimerHandle | None = None
        self._note: asyncio.TimerHandle | None = None
        self._noting: Iterator[str] = iter(())
        self._looks_left = 0  # at the workers, after the last request has ended

    def configure(self, pools: Iterable[Pool]) -> None:
        """Take over the prices of `pools`: they are those of the requests that are granted from now on."""
        self._prices = {pool.model: pool.prices for pool in pools}

    def start(self) -> None:
        """Begin to write, and to count the time of the workers that there are."""
        self._writer.start()
        self._hand_over_times()

    def worker_left(self, last: Reading) -> None:
        """Hand over the last figures of a worker that left, and forget it."""
        parts = self._times.parts([last], self._wall_clock())
        self._times.forget(last.worker)
        if parts:
            self._writer.take(Delivery([], [], parts))

    async def stop(self) -> int:
        """Write what is left; returns how many rows could not be written in time."""
        for timer in (self._flush, self._note):
            if timer is not None:
                timer.cancel()
        self._hand_over([])
        self._hand_over_times()
        return await asyncio.to_thread(self._writer.close)

    # -- events

    def observe(self, event: Event) -> None:
        """Take note of a grant or an end."""
        if isinstance(event, RequestDispatched):
            if event.request_id not in self._open:  # a further attempt belongs to the first grant
                self._open[event.request_id] = Grant(self._wall_clock(), self._prices.get(event.pool))
                self._fresh[event.request_id] = None
        elif isinstance(event, RequestFinished) and event.tenant:
            grant = self._open.pop(event.request_id, None)
            self._fresh.pop(event.request_id, None)
            self._ended.append(Ended(event, grant, self._wall_clock()))
        else:
            return
        if self._flush is None:
            self._flush = self._loop.call_later(FLUSH_SECONDS, self._on_flush)

    # -- handing over

    def _on_flush(self) -> None:
        self._flush = None
        fresh = list(islice(self._fresh, _NOTES_AT_ONCE))
        for request_id in fresh:
            del self._fresh[request_id]
        self._hand_over(fresh)
        if self._fresh:
            self._flush = self._loop.call_later(FLUSH_SECONDS, self._on_flush)
        self._looks_left = _LAST_LOOKS
        if self._note is None:
            self._note = self._loop.call_later(NOTE_SECONDS, self._on_note)
        if not self._open:
            self._hand_over_times()

    def _on_note(self) -> None:
        """Note all that is open, a part in each turn of the event loop."""
        self._noting = iter(tuple(self._open))
        self._hand_over_times()
        self._note_some()

    def _note_some(self) -> None:
        some = list(islice(self._noting, _NOTES_AT_ONCE))
        if some:
            self._hand_over(some)
            self._note = self._loop.call_later(0.0, self._note_some)
        else:
            self._looks_left -= not self._open
            is_over = self._looks_left <= 0 and not self._open
            self._note = None if is_over else self._loop.call_later(NOTE_SECONDS, self._on_note)

    def _hand_over(self, to_note: Iterable[str]) -> None:
        ended, self._ended = self._ended, []
        noted = self._notes(to_note) if self._writer.works else []
        if ended or noted:
            self._writer.take(Delivery(ended, noted, []))

    def _notes(self, request_ids: Iterable[str]) -> list[Noted]:
        now = self._wall_clock()
        found = [(self._find(request_id), self._open.get(request_id)) for request_id in request_ids]
        return [Noted(request, grant, now) for request, grant in found if request is not None and grant is not None]

    def _hand_over_times(self) -> None:
        if not self._writer.works:
            return  # the next reading covers the time until then
        parts = self._times.parts(self._readings(), self._wall_clock())
        if parts:
            self._writer.take(Delivery([], [], parts))
