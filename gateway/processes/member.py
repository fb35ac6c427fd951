"""What a gateway process knows of the gateway that it is a part of: its name, the sockets it inherited, its parent.

The parent describes it in one environment variable. Over the channel the process says that it is ready, and the parent
says when to end. If the parent is gone, the process drains and ends too.
"""

import os
import socket
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from gateway.config import Config, Replicas
from gateway.processes.channel import Channel, Message
from gateway.processes.directory import RuntimeDirectory

VARIABLE = "VTC_GATEWAY_MEMBER"


@dataclass(frozen=True, slots=True)
class Member:
    """One gateway process among `count`; `listeners` and `parent` are descriptors, `store` a URL."""

    name: str
    count: int
    directory: str
    listeners: tuple[int, ...]
    store: str
    parent: int = -1

    def described(self) -> str:
        """The value of the environment variable."""
        return orjson.dumps(self).decode()

    @property
    def meeting_place(self) -> RuntimeDirectory:
        """The directory in which the processes meet."""
        return RuntimeDirectory(Path(self.directory))

    def replicas(self, config: Config) -> Replicas:
        """How this process shares the account: a replica of its own, whose name says which process it is.

        Replicas that `config` describes are gateways, each of `count` processes. Without any there is this one alone.
        """
        shared = config.replicas or Replicas(store=self.store, expected=1)
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
    """The channel to the parent; `end` is called if the parent orders the end or is gone."""

    def __init__(self, member: Member, end: Callable[[], None]) -> None:
        self._end = end
        self._channel = Channel(socket.socket(fileno=member.parent), self._heard, end)

    def say_ready(self, url: str) -> None:
        """Tell the parent that this process serves at `url`."""
        self._channel.send({"ready": url})

    def close(self) -> None:
        """Hear nothing more."""
        self._channel.close()

    def _heard(self, message: Message, _descriptors: Sequence[int]) -> None:
        match message:
            case {"end": True}:
                self._end()
