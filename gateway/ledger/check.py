"""SQLite's own check of a file, in a thread beside the one that writes: it reads the whole file, for seconds."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import apsw

from gateway.ledger.faults import LedgerFault, told


class QuickCheck:
    """Checks the file at `path` once; `found` gets what is wrong, in the check's own thread."""

    def __init__(self, path: Path, found: Callable[[str], None]) -> None:
        """Begin at once; raises `LedgerFault` if the file cannot be opened."""
        self._path = path
        self._found = found
        with told(path):
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._thread = Thread(target=self._run, name="ledger-check", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, finished or not."""
        self._connection.interrupt()
        self._thread.join()
        self._connection.close(True)

    def _run(self) -> None:
        try:
            with told(self._path):
                (result,) = [line for (line,) in self._connection.execute("PRAGMA quick_check(1)")]
        except LedgerFault:
            return  # it was stopped, or the writer meets the same fault and says so
        if result != "ok":
            self._found(f"{self._path} is damaged: {result}")
