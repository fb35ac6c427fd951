"""One gateway process as its parent sees it: started, ready, ended."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.processes.channel import Channel, Message
from gateway.processes.engines import Engines, Holder
from gateway.processes.member import VARIABLE, Member

# The file that was installed beside this one; the name of a package could also mean one in the current folder.
_PROGRAM = (sys.executable, "-P", str(Path(__file__).resolve().parents[1] / "__main__.py"))


class GatewayProcess:
    """A child process; `ready_at` is its URL once it serves."""

    def __init__(self, name: str, became_ready: Callable[[], None], engines: Engines) -> None:
        """Run nothing before `start`; its orders to workers go to `engines`."""
        self.name = name
        self.ready_at = ""
        self._became_ready = became_ready
        self._engines = engines
        self._holder: Holder | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 before it runs."""
        return 0 if self._process is None else self._process.pid

    async def start(self, arguments: Sequence[str], member: Member) -> None:
        """Start `vtc-gateway serve` with `arguments` as `member`, whose `parent` is set here; raises `OSError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            member = replace(member, parent=theirs.fileno())
            self._channel = Channel(ours, self._heard, _nothing)
            self._holder = self._engines.join(self._channel.send)
            self._process = await asyncio.create_subprocess_exec(
                *(*_PROGRAM, "serve", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env=os.environ | {VARIABLE: member.described()},
                pass_fds=(*member.listeners, theirs.fileno()),
                start_new_session=True,  # Ctrl-C reaches the parent alone, which says when to end
            )

    async def ended(self) -> int:
        """Wait for its end; returns its exit status, or the negative number of the signal that ended it."""
        assert self._process is not None
        return await self._process.wait()

    def close(self) -> None:
        """Let go of what it had; it has ended, or ends because the channel closes."""
        if self._holder is not None:
            self._engines.leave(self._holder)
        if self._channel is not None:
            self._channel.close()

    def end(self, *, is_replaced: bool) -> None:
        """Order it to drain and end; if it `is_replaced`, to stop accepting first and to refuse nothing."""
        if self._channel is not None:
            self._channel.send({"end": "replaced" if is_replaced else "drain"})

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def _heard(self, message: Message, _descriptors: Sequence[int]) -> None:
        match message:
            case {"ready": str(url)}:
                self.ready_at = url
                self._became_ready()
            case _ if self._holder is not None:
                self._engines.obey(self._holder, message)


def _nothing() -> None:
    """A process whose channel is closed is about to end; its end is what counts."""
