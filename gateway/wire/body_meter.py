"""Meters answers that are not streamed: the body passes unchanged, its usage is read on the way or at the end.

A short body is kept and read at its end; of a longer one the few members that are needed are found as it passes
(`members`), so that neither memory nor one long step goes into it. Embeddings, the longest of all, are metered from
their last bytes: usage is their last member, and nothing before it is the client's.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from gateway.usage import Usage
from gateway.wire.members import Members
from gateway.wire.meter import Meter
from gateway.wire.usage import openai_usage

MOST_KEPT_BYTES: Final = 64 * 2**10  # read whole at the end, in a fraction of a millisecond
_TAIL_BYTES: Final = 4096
_WANTED = ("error", "system_fingerprint", "usage")

_LAST_USAGE = re.compile(rb'"usage":\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})\s*\}\s*\Z')


class BodyMeter(Meter):
    """Meter of one JSON body; `read_usage` makes sense of its `usage` member, None where it has none."""

    __slots__ = ("_kept", "_kept_bytes", "_members", "_read_usage")

    def __init__(self, read_usage: Callable[[object], Usage | None] | None) -> None:
        super().__init__()
        self.is_stream = False
        self._read_usage = read_usage
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._members: Members | None = None  # of a body that is too long to be kept

    def whole(self) -> Meter:
        """Itself."""
        return self

    def feed(self, data: bytes) -> bytes:
        """Take note of what just arrived, and pass it; white space is no output."""
        if data:
            self.outputs += not data.isspace()
            self._keep(data)
        return data

    def end(self) -> bytes:
        """Read the usage, at the true end of the body; no bytes are left to pass."""
        self.is_complete = True
        self._take(self._usage())
        self._kept = []
        return b""

    def cut(self) -> bytes:
        """Nothing is held back."""
        self._kept = []
        return b""

    def _keep(self, data: bytes) -> None:
        if self._read_usage is None:
            return
        if self._members is not None:
            self._members.feed(data)
            return
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > MOST_KEPT_BYTES:
            self._members = Members(_WANTED)
            for piece in self._kept:
                self._members.feed(piece)
            self._kept = []

    def _usage(self) -> Usage | None:
        members = self._wanted()
        if self._read_usage is None or members is None:
            return None
        # `/v1/responses` has "error": null in every good answer.
        self.has_error = members.get("error") is not None
        fingerprint = members.get("system_fingerprint")
        if isinstance(fingerprint, str):
            self.fingerprint = b',"system_fingerprint":' + orjson.dumps(fingerprint)
        return self._read_usage(members.get("usage"))

    def _wanted(self) -> Mapping[str, object] | None:
        """The members of the body that are needed, perhaps with others; None where it is no object."""
        if self._members is not None:
            self._members.end()
            return self._members.values
        try:
            body = orjson.loads(b"".join(self._kept))
        except orjson.JSONDecodeError:
            return None
        return body if isinstance(body, dict) else None


class TailMeter(BodyMeter):
    """Meter of an embedding's body, of which it keeps the last bytes only."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(openai_usage)

    def _keep(self, data: bytes) -> None:
        self._kept = [b"".join([*self._kept, data])[-_TAIL_BYTES:]]

    def _usage(self) -> Usage | None:
        usage = _LAST_USAGE.search(b"".join(self._kept))
        if usage is None:
            return None
        try:
            return openai_usage(orjson.loads(usage[1]))
        except orjson.JSONDecodeError:
            return None
