"""What the gateway tells beside its answers: the ledger and the webhook, each built if the configuration has one."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import Config, Pool, Postgres
from gateway.events import Event, LifeChanged, Observer
from gateway.fairness.running import Running
from gateway.fairness.shared_time import SharedTime
from gateway.ledger.recorder import Find, Recorder
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.ledger.worker_times import Reading
from gateway.ledger.writer import LedgerWriter
from gateway.processes import ParentLink
from gateway.telemetry import life
from gateway.watch.reconciliation import Reconciliation
from gateway.webhook import WebhookSender, WebhookSnapshot
from gateway.workers import Fleet

if TYPE_CHECKING:
    from gateway.ledger.follower import Follower


class Books:
    """The ledger and the webhook of this process, or none; `observers` are what observes events for them."""

    def __init__(
        self,
        config: Config,
        parent: ParentLink | None,
        parts: tuple[Running, Fleet, Reconciliation],
        find: Find,
        emit: Callable[[Event], None],
    ) -> None:
        """Keep the ledger of `config`, for the requests and the workers of `parts`, and tell its webhook.

        Each process of a gateway has a file of its own. `find` says what a request has used so far. What happens to the
        ledger goes to `emit`.
        """
        self._loop = asyncio.get_running_loop()
        self._emit = emit
        self._running, fleet, self._reconciliation = parts
        fleet.tell_of_departures(self._worker_left)
        self._writer: LedgerWriter | None = None
        self._recorder: Recorder | None = None
        self._follower: Follower | None = None
        if config.ledger is not None:
            process = "" if parent is None else f"-{parent.member.name}"
            path = config.ledger.folder / f"{config.listen.port}{process}.sqlite"
            if config.ledger.postgres is not None:
                self._follower = _follower(path, config.ledger.postgres, self._report_database)
            wrote = None if self._follower is None else self._follower.wake
            self._writer = LedgerWriter(path, config.ledger, self._report, self._moved, wrote=wrote)
            self._recorder = Recorder(self._writer, find, self._readings)

        self._webhook: WebhookSender | None = None
        if config.webhook is not None:
            self._webhook = WebhookSender(config.webhook, lambda reason: emit(life.webhook(reason)))

    @property
    def observers(self) -> Sequence[Observer]:
        """What observes; nothing if there is neither."""
        return tuple(each for each in (self._recorder, self._webhook) if each is not None)

    def configure(self, pools: Iterable[Pool]) -> None:
        """Take over the prices of `pools`."""
        if self._recorder is not None:
            self._recorder.configure(pools)

    def start(self) -> None:
        """Begin to write, and to send on what is written."""
        if self._follower is not None:
            self._follower.start()
        if self._recorder is not None:
            self._recorder.start()
        if self._webhook is not None:
            self._webhook.start()

    async def stop(self) -> None:
        """Send and write what is left, and say if something could not be."""
        if self._webhook is not None and (events := await self._webhook.stop()):
            self._emit(life.webhook_lost(events))
        if self._recorder is not None and (rows := await self._recorder.stop()):
            self._emit(life.ledger_lost(rows))
        if self._follower is not None and (rows := await asyncio.to_thread(self._follower.close)):
            self._emit(life.ledger_behind(rows))

    def snapshot(self) -> LedgerSnapshot | None:
        """How the ledger fares; None if none is kept."""
        if self._writer is None:
            return None
        return replace(self._writer.snapshot(), postgres=None if self._follower is None else self._follower.snapshot())

    def webhook(self) -> WebhookSnapshot | None:
        """How the webhook fares; None if there is none."""
        return None if self._webhook is None else self._webhook.snapshot()

    def _readings(self) -> Iterable[Reading]:
        for worker, time in self._running.times(self._loop.time()):
            yield self._reading(worker, time)

    def _reading(self, worker: str, time: SharedTime) -> Reading:
        generated, read = (self._reconciliation.generated, self._reconciliation.read)
        counts = (generated.totals[worker], read.totals[worker])
        return Reading(worker, time.busy_seconds, time.idle_seconds, *counts)

    def _worker_left(self, worker: str) -> None:
        """Note the last figures of a worker that left the fleet, and forget it."""
        now = self._loop.time()
        if self._recorder is not None:
            time = self._running.time_of(worker, now)
            time.advance(now)
            self._recorder.worker_left(self._reading(worker, time))
        self._running.forget(worker)
        self._reconciliation.forget_growth(worker)

    # -- called in the threads of the writer and of the follower

    def _report(self, reason: str | None) -> None:
        self._emit_on_loop(life.ledger(reason))

    def _report_database(self, reason: str | None) -> None:
        self._emit_on_loop(life.ledger_database(reason))

    def _moved(self, place: Path, reason: str) -> None:
        self._emit_on_loop(life.ledger_moved(place, reason))

    def _emit_on_loop(self, event: LifeChanged) -> None:
        with suppress(RuntimeError):  # the loop is closed: the gateway has ended
            self._loop.call_soon_threadsafe(self._emit, event)


def _follower(path: Path, terms: Postgres, report: Callable[[str | None], None]) -> "Follower":
    from gateway.ledger.follower import Follower  # its library is loaded only where it is used

    return Follower(path, terms, report)
