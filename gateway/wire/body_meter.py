"""Meters answers that are not streamed: the body passes unchanged, its usage is read at the end.

Bodies are kept for reading up to a bound, beyond it the usage stays unknown and the caller settles by its
estimate. Embeddings, the longest of all, are metered from their last bytes: usage is their last member, and
nothing before it is the client's.
"""

import re
from collections.abc import Callable
from typing import Final

import orjson

from gateway.wire.meter import Meter
from gateway.wire.usage import Usage, openai_usage

MAX_METERED_BODY_BYTES: Final = 64 * 2**20
_TAIL_BYTES: Final = 4096

_LAST_USAGE = re.compile(rb'"usage":\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})\s*\}\s*\Z')


class BodyMeter(Meter):
    """Meter of one JSON body; `read_usage` makes sense of its `usage` member, None where it has none."""

    __slots__ = ("_kept", "_kept_bytes", "_read_usage")

    def __init__(self, read_usage: Callable[[object], Usage | None] | None) -> None:
        super().__init__()
        self.is_stream = False
        self._read_usage = read_usage
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def whole(self) -> Meter:
        """Itself."""
        return self

    def feed(self, data: bytes) -> bytes:
        """Keep a reference to what just arrived, and pass it; white space is no output."""
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
        self._kept_bytes += len(data)
        if self._kept_bytes <= MAX_METERED_BODY_BYTES:
            self._kept.append(data)
        else:
            self._kept.clear()

    def _usage(self) -> Usage | None:
        if self._read_usage is None or not self._kept:
            return None
        try:
            body = orjson.loads(b"".join(self._kept))
        except orjson.JSONDecodeError:
            return None
        if not isinstance(body, dict):
            return None
        # `/v1/responses` has "error": null in every good answer.
        self.has_error = body.get("error") is not None
        fingerprint = body.get("system_fingerprint")
        if isinstance(fingerprint, str):
            self.fingerprint = b',"system_fingerprint":' + orjson.dumps(fingerprint)
        return self._read_usage(body.get("usage"))


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
