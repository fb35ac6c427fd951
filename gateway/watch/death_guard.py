"""Finds out whether a worker has died, and decides how the requests that were there go on.

A lost connection means a death only if the worker is gone too. So the guard asks the worker for its health at once: it
is dead if it cannot be connected to, or if the engine calls itself dead. A silent worker is not dead (`health` gives it
up if it stays silent). A worker that the
supervisor was ending died of that, not of a request. `quarantine` decides which requests a death makes suspects, and
which of them must wait. A suspect runs alone among suspects at its worker: that is its trial. Here suspects wait for
their trial, and a timer ends a trial that lasts.
"""

import asyncio
from collections.abc import Callable

from gateway.endpoints.failures import GatewayShort, HostUnknown, WorkerSilent, WorkerUnreachable
from gateway.endpoints.upstream import fetch
from gateway.endpoints.workers import WorkerEndpoint, WorkerEndpoints
from gateway.watch.health import Health
from gateway.workers import Blame, Clearance, Quarantine, Signal, Suspect, SuspectSnapshot
from gateway.workers.quarantine import TRIAL_SECONDS, Standing

_CONFIRMATION_SECONDS = 2.0
_MAX_ANSWER_BYTES = 64 * 1024


class DeathGuard:
    """The deaths of workers, and the requests that may have caused them."""

    def __init__(
        self,
        endpoints: WorkerEndpoints,
        health: Health,
        is_being_ended: Callable[[str], bool],
        vouch: Callable[[str], None],
    ) -> None:
        """Start without suspects.

        `is_being_ended` says whether the supervisor itself ends a worker; `vouch` is called for each worker that is
        found alive.
        """
        self._vouch = vouch
        self._endpoints = endpoints
        self._health = health
        self._is_being_ended = is_being_ended
        self._quarantine = Quarantine()
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._timers: dict[Suspect, asyncio.TimerHandle] = {}
        self._confirmations: dict[str, asyncio.Task[bool]] = {}
        self._reports: set[asyncio.Task[Blame | None]] = set()
        self._questioned: set[Suspect] = set()  # suspects whose worker is being asked whether it lives
        self._is_closed = False

    def is_convicted(self, suspect: Suspect) -> bool:
        """True for a request whose body is refused, because workers died of it."""
        return self._quarantine.standing(suspect, self._loop.time()) is Standing.CONVICTED

    def snapshots(self) -> tuple[SuspectSnapshot, ...]:
        """Every body that was at a worker when it died of late, the latest first."""
        return self._quarantine.snapshots(self._loop.time())

    def forget_worker(self, worker: str) -> None:
        """Forget a worker that was removed and has no request."""
        self._quarantine.forget_worker(worker)

    # -- trials

    async def send(self, suspect: Suspect, worker: str) -> Clearance:
        """Wait until no other suspect's trial bars `suspect` from `worker`; returns what may be done with it then.

        WAIT means that the worker died meanwhile. Cancelled: the caller calls `leave`; its place among the waiters is
        skipped.
        """
        life = self._quarantine.life(worker)
        while not self._is_closed and life == self._quarantine.life(worker):
            clearance = self._quarantine.send(suspect, worker, self._loop.time())
            if clearance is not Clearance.WAIT:
                self._limit(suspect)
                return clearance
            waiting = self._loop.create_future()
            self._waiting.setdefault(worker, []).append(waiting)
            await waiting
        return Clearance.WAIT

    def _limit(self, suspect: Suspect) -> None:
        if self._quarantine.is_on_trial(suspect):
            self._timers[suspect] = self._loop.call_later(TRIAL_SECONDS, self.survived, suspect)

    def survived(self, suspect: Suspect) -> None:
        """End the trial of `suspect`: its first byte came, or the worker has lived with it for `TRIAL_SECONDS`."""
        self._disarm(suspect)
        self._quarantine.survived(suspect)
        self._call(suspect.worker)

    def answered(self, suspect: Suspect) -> None:
        """Clear `suspect`: its complete answer came."""
        self._quarantine.answered(suspect, self._loop.time())

    def leave(self, suspect: Suspect) -> None:
        """Note that `suspect` is no longer at its worker; it stays while the worker is being asked whether it lives."""
        if suspect not in self._questioned:
            self._disarm(suspect)
            self._quarantine.leave(suspect)
            self._call(suspect.worker)

    def _disarm(self, suspect: Suspect) -> None:
        timer = self._timers.pop(suspect, None)
        if timer is not None:
            timer.cancel()

    def _call(self, worker: str) -> None:
        """Wake those who wait for `worker`, in their order, if no trial runs there any more."""
        if self._waiting and not self._has_trial(worker):
            for waiting in self._waiting.pop(worker, ()):
                if not waiting.done():
                    waiting.set_result(None)

    def _has_trial(self, worker: str) -> bool:
        return self._quarantine.has_trial(worker) and not self._is_closed

    # -- confirmations of a death

    async def judge(self, suspect: Suspect) -> Blame | None:
        """What its worker's death means for `suspect`, whose connection was lost; None if the worker lives."""
        return await asyncio.shield(self.report(suspect))  # cancelled: the question to the worker goes on

    def report(self, suspect: Suspect) -> "asyncio.Task[Blame | None]":
        """As `judge`, but without waiting for the verdict."""
        task = asyncio.create_task(  # noqa: TID251 - `close` awaits it
            self._judge(suspect), name=f"account of {suspect.worker}"
        )
        self._questioned.add(suspect)
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)
        return task

    async def _judge(self, suspect: Suspect) -> Blame | None:
        confirmation = self._confirm(suspect.worker)
        await asyncio.wait({confirmation})
        self._questioned.discard(suspect)
        if confirmation.cancelled() or not confirmation.result():
            self.leave(suspect)
            return None
        self._disarm(suspect)
        blame = self._quarantine.died(suspect, self._loop.time())
        self._call(suspect.worker)
        return blame

    def _confirm(self, worker: str) -> "asyncio.Task[bool]":
        task = self._confirmations.get(worker)
        if task is None:
            is_excused = self._is_being_ended(worker)
            task = asyncio.create_task(  # noqa: TID251 - `_judge` awaits it
                self._has_died(worker, self._endpoints[worker], is_excused), name=f"confirmation of {worker}"
            )
            self._confirmations[worker] = task
            task.add_done_callback(lambda _: self._confirmations.pop(worker, None))
        return task

    async def _has_died(self, worker: str, endpoint: WorkerEndpoint, is_excused: bool) -> bool:
        try:
            answer = await fetch(
                endpoint.control,
                endpoint.health_request,
                seconds=_CONFIRMATION_SECONDS,
                max_bytes=_MAX_ANSWER_BYTES,
                fresh=True,
            )
            is_dead = answer.status >= 500
            if not is_dead:
                self._vouch(worker)
        except (WorkerSilent, HostUnknown, GatewayShort):
            is_dead = False
        except WorkerUnreachable:
            is_dead = True
        if is_dead:
            self._health.report(worker, Signal.GONE, "its connections broke and it is gone")
        return is_dead and not is_excused

    # -- end

    async def close(self) -> None:
        """End all waiting: waiters go on, and the questions to workers are cancelled."""
        self._is_closed = True
        for worker in list(self._waiting):
            self._call(worker)
        for suspect in list(self._timers):
            self._disarm(suspect)
        for confirmation in self._confirmations.values():
            confirmation.cancel()
        if self._reports:
            await asyncio.wait(set(self._reports))
