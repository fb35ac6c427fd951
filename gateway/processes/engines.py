"""The workers that the gateway launches, as all its processes share them: one supervisor, which belongs to the parent.

A gateway process that ends takes no engine with it. Each process says by which plan it wants a worker to run, and when
it can do without it. The first order starts the worker, the others find it running. A worker is stopped when the last
process has let it go, because each lets go of it only when its own requests there have ended; a process that is gone
holds none. Every process hears every state. Lines that workers write go to one process, so that the log has them once.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gateway.processes.channel import Message
from gateway.watch.supervisor import (
    LaunchStatus,
    Supervisor,
    SupervisorCallbacks,
    SupervisorProcess,
    WorkerPlan,
    runs_alike,
)

Send = Callable[[Mapping[str, object]], None]


@dataclass(eq=False, frozen=True, slots=True)
class Seat:
    """A gateway process at the table: how it is told."""

    send: Send


class Engines:
    """Carries out what the processes order together."""

    def __init__(self, supervise: Callable[[SupervisorCallbacks], Supervisor] = SupervisorProcess) -> None:
        """Run nothing before the first order; `supervise` makes the supervisor."""
        self._supervisor = supervise(SupervisorCallbacks(self._changed, self._wrote, self._lost))
        self._seats: list[Seat] = []
        self._plans: dict[str, WorkerPlan] = {}
        self._statuses: dict[str, LaunchStatus] = {}
        self._holders: dict[str, set[Seat]] = {}
        self._let_go: set[str] = set()  # workers that at least one process has let go

    def join(self, send: Send) -> Seat:
        """Seat a process, which hears by `send` what runs now and every change from now on."""
        seat = Seat(send)
        self._seats.append(seat)
        send({"engines": dict(self._plans)})
        for status in self._statuses.values():
            send(self._told(status))
        return seat

    def leave(self, seat: Seat) -> None:
        """Forget a process that has ended."""
        self._seats.remove(seat)
        for name in list(self._holders):
            self._release(name, seat)

    def obey(self, seat: Seat, order: Message) -> None:
        """Carry out an order of a process; what is no order is left to others."""
        match order:
            case {"start": {"name": str(name)} as plan}:
                self._start(seat, name, plan)
            case {"stop": str(name)}:
                self._let_go.add(name)
                self._release(name, seat)
            case {"restart": str(name), "reason": str(reason)}:
                self._supervisor.restart(name, reason)

    async def close(self) -> None:
        """End every worker."""
        await self._supervisor.close()

    def _start(self, seat: Seat, name: str, plan: dict[str, Any]) -> None:
        self._holders.setdefault(name, set()).add(seat)
        running = self._plans.get(name)
        if running is None or (running != plan and runs_alike(running, plan)):
            self._plans[name] = plan
            self._let_go.discard(name)
            self._supervisor.start(name, plan)
            self._tell_all({"plan": plan})

    def _release(self, name: str, seat: Seat) -> None:
        """Take a worker from a process, and stop it if it was the last and the worker is not wanted."""
        holders = self._holders.get(name, set())
        holders.discard(seat)
        if not holders and name in self._let_go:
            self._let_go.discard(name)
            self._holders.pop(name, None)
            if self._plans.pop(name, None) is not None:
                self._tell_all({"planless": name})
                self._supervisor.stop(name)

    def _changed(self, status: LaunchStatus) -> None:
        if status.state == "stopped" and status.worker not in self._plans:
            self._statuses.pop(status.worker, None)
        else:
            self._statuses[status.worker] = status
        self._tell_all(self._told(status))

    def _told(self, status: LaunchStatus) -> Message:
        return {"worker": asdict(status), "api_key": self._supervisor.api_key}

    def _wrote(self, worker: str, line: str) -> None:
        for seat in self._seats[:1]:
            seat.send({"output": {"worker": worker, "line": line}})

    def _lost(self, reason: str) -> None:
        self._statuses.clear()
        self._tell_all({"lost": reason})

    def _tell_all(self, message: Message) -> None:
        for seat in self._seats:
            seat.send(message)
