"""A program that keeps a ledger under load until it is killed; a test starts it with the path of the file.

It prints a line for each commit that it has seen: how many rows are written. Requests are numbered in the order of
their ends, and some run for longer than the program is likely to live.
"""

import asyncio
import sys
from pathlib import Path

from gateway.config import Ledger
from gateway.events import OpenRequest, RequestDispatched, RequestFinished
from gateway.ledger.recorder import Recorder
from gateway.ledger.writer import LedgerWriter
from gateway.outcomes import Outcome

TENANTS = 5


def _finished(number: int) -> RequestFinished:
    tenant = f"t{number % TENANTS}"
    return RequestFinished(
        f"{number}", "/v1/completions", tenant, "main", "tiny", "tiny", "w0", Outcome.COMPLETED, 200, False, 1, 10, 0,
        number, 10.0 + number, 0.0, None, None, None, 0.0, 0.1,
    )  # fmt: skip


def _open(request_id: str) -> OpenRequest:
    return OpenRequest(request_id, "t0", "main", "", "tiny", "tiny", "w0", 1, 10, 0, 1, 11.0, 0.0, 0.1, 0.05)


async def main(path: Path) -> None:
    """End some requests in each millisecond, for ever."""
    writer = LedgerWriter(path, Ledger(folder=path.parent), lambda reason: None, lambda place, reason: None)
    recorder = Recorder(writer, _open, lambda: ())
    recorder.start()
    number = seen = 0
    for each in range(3):
        recorder.observe(RequestDispatched(f"long {each}", "t0", "tiny", "w0", 0.0))
    while True:
        for _ in range(5):
            recorder.observe(RequestDispatched(f"{number}", f"t{number % TENANTS}", "tiny", "w0", 0.0))
            recorder.observe(_finished(number))
            number += 1
        await asyncio.sleep(0.001)
        written = writer.snapshot().written_rows
        if written != seen:
            seen = written
            sys.stdout.write(f"{seen}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
