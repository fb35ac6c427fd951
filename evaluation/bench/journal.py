"""The gateway's own account of finished requests, read from its structured log.

One JSON line per finished request, without the fields that are not known; other lines are passed over.
Times are wall-clock seconds of the gateway's stamp, taken at the end of the request, when its room had just
been given back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import orjson


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """What the bench needs of one line. `queue_wait_seconds` is None where the request never was queued."""

    tenant: str
    worker: str
    outcome: str
    finished_at: float
    duration_seconds: float
    queue_wait_seconds: float | None

    @property
    def arrived_at(self) -> float:
        """When the gateway began with the request."""
        return self.finished_at - self.duration_seconds

    @property
    def granted_at(self) -> float | None:
        """When it was given room at a worker; None where it never was."""
        if self.queue_wait_seconds is None or not self.worker:
            return None
        return self.arrived_at + self.queue_wait_seconds

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """The record of a line, None where the line is about something else."""
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(fields, dict) or fields.get("event") != "request":
            return None
        return cls(
            tenant=fields.get("tenant", ""),
            worker=fields.get("worker", ""),
            outcome=fields["outcome"],
            finished_at=datetime.fromisoformat(fields["timestamp"]).timestamp(),
            duration_seconds=fields["duration_seconds"],
            queue_wait_seconds=fields.get("queue_wait_seconds"),
        )


def read_journal(log: Path) -> list[FinishedRequest]:
    """Every finished request of a gateway's log file, in the order of their ends."""
    with log.open("rb") as lines:
        return parse_journal(lines)


def parse_journal(lines: Iterable[bytes]) -> list[FinishedRequest]:
    """Every finished request among `lines`."""
    found = (FinishedRequest.parse(line) for line in lines)
    return [record for record in found if record is not None]
