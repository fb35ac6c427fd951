"""What a gateway process knows of the gateway that it is a part of: its name, the sockets it inherited, its parent.

The parent describes it in one environment variable. Over the channel the process says that it is ready, and the parent
says when to end. If the parent is gone, the process drains and ends too.
"""

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from gateway.config import Config, Replicas
from gateway.processes.channel import Channel, Message
from gateway.processes.directory import RuntimeDirectory
from gateway.watch.supervisor import (
    LaunchStatus,
    Supervisor,
    SupervisorCallbacks,
    WorkerPlan,
    read_status,
    runs_alike,
)

VARIABLE = "VTC_GATEWAY_MEMBER"


@dataclass(frozen=True, slots=True)
class Member:
    """One gateway process among `count`; `listeners` and `parent` are descriptors, `store` a URL.

    `salt` is what all draw the tenants' cache salts from, in hexadecimal, so that a prompt is cached for all of them.
    """

    name: str
    count: int
    directory: str
    listeners: tuple[int, ...]
    store: str
    salt: str = ""
    parent: int = -1

    def described(self) -> str:
        """The value of the environment variable."""
        return orjson.dumps(self).decode()

    @property
    def salt_secret(self) -> bytes:
        """The key of the tenants' cache salts."""
        return bytes.fromhex(self.salt)

    @property
    def meeting_place(self) -> RuntimeDirectory:
        """The directory in which the processes meet."""
        return RuntimeDirectory(Path(self.directory))

    def replicas(self, config: Config) -> Replicas:
        """How this process shares the account: a replica of its own, whose name says which process it is.

        Replicas that `config` describes are gateways, each of `count` processes. Without any there is this one alone.
        """
        shared = config.replicas or Replicas(store=self.store, expected=1, is_beside=True)
        name = self.name if shared.name is None else f"{shared.name}/{self.name}"
        return shared.model_copy(update={"name": name, "expected": shared.expected * self.count})

    def listening_sockets(self) -> Sequence[socket.socket]:
        """The inherited sockets, as objects that own them."""
        return [socket.socket(fileno=os.dup(descriptor)) for descriptor in self.listeners]


def member_of(environment: MutableMapping[str, str]) -> Member | None:
    """Who this process is; None if it is a gateway of its own. The variable is removed: no child may inherit it."""
    described = environment.pop(VARIABLE, None)
    if described is None:
        return None
    fields = orjson.loads(described)
    return Member(**fields | {"listeners": tuple(fields["listeners"])})


class ParentLink:
    """The channel to the parent; `end` is called if the parent orders the end or is gone.

    `is_replaced` is True once the parent has said that other processes accept in this one's place.
    """

    def __init__(self, member: Member, end: Callable[[], None]) -> None:
        """Speak with the parent of `member` from now on."""
        self.member = member
        self.is_replaced = False
        self._end = end
        self._is_greeted = asyncio.Event()
        self._engines: SharedEngines | None = None
        self._unheard: list[Message] = []  # of engines, until somebody listens
        self._channel = Channel(socket.socket(fileno=member.parent), self._heard, self._lost)

    async def greeted(self) -> None:
        """Wait until the parent has said which workers it runs."""
        await self._is_greeted.wait()

    def say_ready(self, url: str) -> None:
        """Tell the parent that this process serves at `url`."""
        self._channel.send({"ready": url})

    def supervise(self, callbacks: SupervisorCallbacks) -> Supervisor:
        """The supervisor that all processes share; `callbacks` hears what it says, beginning with what it has said."""
        self._engines = SharedEngines(self._channel.send, callbacks)
        for message in self._unheard:
            self._engines.hear(message)
        self._unheard.clear()
        return self._engines

    def close(self) -> None:
        """Hear nothing more."""
        self._channel.close()

    def _heard(self, message: Message, _descriptors: Sequence[int]) -> None:
        match message:
            case {"end": how}:
                self.is_replaced = how == "replaced"
                self._end()
            case _ if self._engines is not None:
                self._engines.hear(message)
            case _:
                self._unheard.append(message)
                self._is_greeted.set()

    def _lost(self) -> None:
        self._is_greeted.set()
        self._end()


class SharedEngines:
    """The parent's supervisor as one process uses it: its orders are those of all processes together (`engines`)."""

    def __init__(self, send: Callable[[Message], None], callbacks: SupervisorCallbacks) -> None:
        """Give orders by `send`."""
        self.api_key = ""
        self._send = send
        self._callbacks = callbacks
        self._plans: dict[str, WorkerPlan] = {}  # by which the workers run
        self._statuses: dict[str, LaunchStatus] = {}

    def start(self, name: str, plan: WorkerPlan) -> WorkerPlan:
        """Hold a worker: order it to run by `plan`, or take it as it runs. Returns the plan by which it runs."""
        running = self._plans.get(name, plan)
        plan = plan if runs_alike(running, plan) else running
        self._send({"start": plan})
        if name in self._statuses:
            asyncio.get_running_loop().call_soon(self._callbacks.changed, self._statuses[name])
        return plan

    def stop(self, name: str) -> None:
        """Let a worker go."""
        self._send({"stop": name})

    def restart(self, name: str, reason: str) -> None:
        """Order a new start of a worker that serves, by force if it does not end."""
        self._send({"restart": name, "reason": reason})

    async def close(self) -> None:
        """Do nothing: the workers are the parent's."""

    def hear(self, message: Message) -> None:
        """Take in what the parent says of the workers."""
        match message:
            case {"engines": plans}:
                self._plans = dict(plans)
            case {"plan": {"name": str(name)} as plan}:
                self._plans[name] = plan
            case {"planless": str(name)}:
                self._plans.pop(name, None)
            case {"worker": status, "api_key": str(key)}:
                self.api_key = key
                self._note(read_status(status))
            case {"output": {"worker": str(worker), "line": str(line)}}:
                self._callbacks.wrote(worker, line)
            case {"lost": str(reason)}:
                self._statuses.clear()
                self._callbacks.lost(reason)

    def _note(self, status: LaunchStatus) -> None:
        self._statuses[status.worker] = status
        self._callbacks.changed(status)
