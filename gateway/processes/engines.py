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
class Holder:
    """A gateway process that may hold workers: how it is told."""

    send: Send


class Engines:
    """Carries out what the processes order together."""

    def __init__(self, supervise: Callable[[SupervisorCallbacks], Supervisor] = SupervisorProcess) -> None:
        """Run nothing before the first order; `supervise` makes the supervisor."""
        self._supervisor = supervise(SupervisorCallbacks(self._changed, self._wrote, self._lost))
        self._members: list[Holder] = []
        self._plans: dict[str, WorkerPlan] = {}
        self._statuses: dict[str, LaunchStatus] = {}
        self._holders: dict[str, set[Holder]] = {}
        self._let_go: set[str] = set()  # workers that at least one process has let go

    def join(self, send: Send) -> Holder:
        """Take a process in, which hears by `send` what runs now and every change from now on."""
        holder = Holder(send)
        self._members.append(holder)
        send({"engines": dict(self._plans)})
        for status in self._statuses.values():
            send(self._told(status))
        return holder

    def leave(self, holder: Holder) -> None:
        """Forget a process that has ended."""
        self._members.remove(holder)
        for name in list(self._holders):
            self._release(name, holder)

    def obey(self, holder: Holder, order: Message) -> None:
        """Carry out an order of a process; what is no order is left to others."""
        match order:
            case {"start": {"name": str(name)} as plan}:
                self._start(holder, name, plan)
            case {"stop": str(name)}:
                self._let_go.add(name)
                self._release(name, holder)
            case {"restart": str(name), "reason": str(reason)}:
                self._supervisor.restart(name, reason)

    async def close(self) -> None:
        """End every worker."""
        await self._supervisor.close()

    def _start(self, holder: Holder, name: str, plan: dict[str, Any]) -> None:
        self._holders.setdefault(name, set()).add(holder)
        running = self._plans.get(name)
        if running is None or (running != plan and runs_alike(running, plan)):
            self._plans[name] = plan
            self._let_go.discard(name)
            self._supervisor.start(name, plan)
            self._tell_all({"plan": plan})

    def _release(self, name: str, holder: Holder) -> None:
        """Take a worker from a process, and stop it if it was the last and the worker is not wanted."""
        holders = self._holders.get(name, set())
        holders.discard(holder)
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
        for holder in self._members[:1]:
            holder.send({"output": {"worker": worker, "line": line}})

    def _lost(self, reason: str) -> None:
        self._statuses.clear()
        self._tell_all({"lost": reason})

    def _tell_all(self, message: Message) -> None:
        for holder in self._members:
            holder.send(message)
