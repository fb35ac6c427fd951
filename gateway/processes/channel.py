"""Messages between two processes of one machine: JSON objects, one a line, over a connected Unix stream socket.

A message may carry descriptors, which the kernel copies into the other process (SCM_RIGHTS). They leave with the first
byte of their line, so they have arrived when the line is complete. A peer that does not read may leave at most
`MAX_WAITING_BYTES` unsent; then it counts as lost, as one that has closed its end does.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

MAX_WAITING_BYTES = 16 * 2**20
MAX_LINE_BYTES = 16 * 2**20
_READ_BYTES = 64 * 1024
_MOST_DESCRIPTORS = 8

Message = dict[str, Any]
Heard = Callable[[Message, Sequence[int]], None]
"""Told of a message and of the descriptors that came with it, which then belong to whoever was told."""


class Channel:
    """One end, driven by the running event loop; `lost` is called once, when the other end is gone."""

    def __init__(self, end: socket.socket, heard: Heard, lost: Callable[[], None]) -> None:
        """Own `end` and read from it at once."""
        end.setblocking(False)
        self._end = end
        self._heard = heard
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._descriptors: list[int] = []
        self._unsent = bytearray()
        self._is_open = True
        self._loop.add_reader(end.fileno(), self._read)

    @property
    def is_open(self) -> bool:
        """True until the other end is gone or this end was closed."""
        return self._is_open

    def send(self, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
        """Send `message`, with copies of `descriptors`; no effect if the other end is gone.

        A message with descriptors must be the first to wait: it is sent in an exchange of question and answer.
        """
        if not self._is_open:
            return
        line = orjson.dumps(message) + b"\n"
        try:
            if descriptors:
                assert not self._unsent
                line = line[socket.send_fds(self._end, [line], list(descriptors)) :]
            elif not self._unsent:
                line = line[self._end.send(line) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lose()
            return
        self._keep(line)

    def close(self) -> None:
        """Close this end; `lost` is not called."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
            self._end.close()
            for descriptor in self._descriptors:
                os.close(descriptor)

    def _keep(self, rest: bytes) -> None:
        """Send what is left of a message when the other end has room for it."""
        if not rest:
            return
        self._unsent += rest
        if len(self._unsent) > MAX_WAITING_BYTES:
            self._lose()
        else:
            self._loop.add_writer(self._end.fileno(), self._send_on)

    def _send_on(self) -> None:
        try:
            del self._unsent[: self._end.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        if not self._unsent:
            self._loop.remove_writer(self._end.fileno())

    def _read(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, _READ_BYTES, _MOST_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        self._received += data
        if not data or len(self._received) > MAX_LINE_BYTES:
            self._lose()
            return
        while self._is_open and (length := self._received.find(b"\n")) >= 0:
            line = bytes(self._received[:length])
            del self._received[: length + 1]
            came, self._descriptors = self._descriptors, []
            self._heard(orjson.loads(line), came)

    def _lose(self) -> None:
        self.close()
        self._lost()
