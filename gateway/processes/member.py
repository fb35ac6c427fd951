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

from gateway.processes.channel import Channel, Message
from gateway.processes.directory import RuntimeDirectory

VARIABLE = "VTC_GATEWAY_MEMBER"


@dataclass(frozen=True, slots=True)
class Member:
    """One gateway process among several; `listeners` and `parent` are descriptors."""

    name: str
    directory: str
    listeners: tuple[int, ...]
    parent: int
    store: str

    def described(self) -> str:
        """The value of the environment variable."""
        return orjson.dumps(self).decode()

    @property
    def meeting_place(self) -> RuntimeDirectory:
        """The directory in which the processes meet."""
        return RuntimeDirectory(Path(self.directory))

    def listening_sockets(self) -> Sequence[socket.socket]:
        """The inherited sockets, as objects that own them."""
        return [socket.socket(fileno=os.dup(descriptor)) for descriptor in self.listeners]


def member_of(environment: MutableMapping[str, str]) -> Member | None:
    """Who this process is; None if it is a gateway of its own. The variable is removed: no child may inherit it."""
    described = environment.pop(VARIABLE, None)
    if described is None:
        return None
    fields = orjson.loads(described)
    return Member(fields["name"], fields["directory"], tuple(fields["listeners"]), fields["parent"], fields["store"])


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
