"""Meters answers that are not streamed: the body passes unchanged, and the meter reads its usage.

The meter keeps a short body and reads it at its end. In a longer body it finds the few members that it needs while the
body passes (`members`), so that it needs little memory and no long step. Embeddings are the longest bodies. Their usage
is the last member, and the client wrote nothing before it, so their meter reads only the last bytes.
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
_WANTED: Final = ("error", "system_fingerprint", "usage")

_LAST_USAGE: Final = re.compile(rb'"usage":\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})\s*\}\s*\Z')


class BodyMeter(Meter):
    """Meter of one JSON body; `read_usage` reads its `usage` member and is None if such bodies have none."""

    __slots__ = ("_kept", "_kept_bytes", "_members", "_read_usage")

    def __init__(self, read_usage: Callable[[object], Usage | None] | None) -> None:
        super().__init__()
        self.is_stream = False
        self._read_usage = read_usage
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._members: Members | None = None  # of a body that is too long to be kept

    def whole(self) -> Meter:
        """This meter: it already reads whole bodies."""
        return self

    def feed(self, data: bytes) -> bytes:
        """Meter `data` and return it unchanged; white space does not count as output."""
        if data:
            self.outputs += not data.isspace()
            self._keep(data)
        return data

    def end(self) -> bytes:
        """Read the usage at the true end of the body; nothing is left for the client."""
        self.is_complete = True
        self._take(self._usage())
        self._kept = []
        return b""

    def cut(self) -> bytes:
        """Nothing is left for the client, because `feed` passes everything at once."""
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
        """The members that the meter needs, perhaps with others; None if the body is no JSON object."""
        if self._members is not None:
            self._members.end()
            return self._members.values
        try:
            body = orjson.loads(b"".join(self._kept))
        except orjson.JSONDecodeError:
            return None
        return body if isinstance(body, dict) else None


class TailMeter(BodyMeter):
    """Meter of an embedding's body; it keeps only the last bytes."""

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
