"""What ended processes have counted, so that the sums over all processes never go back.

Prometheus takes any decrease of a counter for a restart and counts its whole value again. So each process leaves its
counters in a file of the runtime directory before it shows them to anybody, and once more at its end: what was shown is
never lost, however the process ends. The parent adds the file of an ended process to one file for all of them, which
says whom it contains. A reader reads the single files first, so that it finds each process in one of the two places.
"""

from collections.abc import Collection, Sequence
from fcntl import LOCK_EX, flock
from pathlib import Path

import orjson

from gateway.long_work import at_once
from gateway.processes.merging import MergedMetrics

_ENDED = "ended.metrics"
_MOST_NAMES = 100  # of processes whose own file may not be removed yet


class Estate:
    """The counters in one runtime directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def leave(self, process: str, pieces: Sequence[bytes]) -> None:
        """Replace what `process` (a name that no other process ever has) leaves."""
        _replace(self._file(process), pieces)

    def left(self, living: Collection[str]) -> list[Sequence[bytes]]:
        """The texts in pieces of all processes but those `living`, which have been asked themselves."""
        files = {file.stem.removeprefix("left-"): file for file in self._directory.glob("left-*.metrics")}
        single = {process: _read(file) for process, file in files.items() if process not in living}
        names, ended = self._ended()
        return [ended, *(pieces for process, pieces in single.items() if process not in names)]

    def bury(self, process: str) -> None:
        """Add what `process` left to what all ended processes left; it has ended."""
        file = self._file(process)
        if file.exists():
            with (self._directory / "estate.lock").open("w") as lock:
                flock(lock, LOCK_EX)  # two parents may bury at the same time: one takes over from the other
                self._bury(process, file)

    def _bury(self, process: str, file: Path) -> None:
        names, ended = self._ended()
        merged = MergedMetrics()
        for pieces in (ended, _read(file)):
            for _ in merged.add_ended(pieces):
                pass
        head = orjson.dumps([*names, process][-_MOST_NAMES:]) + b"\n"
        _replace(self._directory / _ENDED, [head, *at_once(merged.write())])
        file.unlink()

    def _ended(self) -> tuple[list[str], Sequence[bytes]]:
        """The names of the processes that are buried, and what they left together."""
        head, _, text = b"".join(_read(self._directory / _ENDED)).partition(b"\n")
        return (orjson.loads(head), (text,)) if head else ([], ())

    def _file(self, process: str) -> Path:
        return self._directory / f"left-{process}.metrics"


def _read(file: Path) -> Sequence[bytes]:
    try:
        return (file.read_bytes(),)
    except FileNotFoundError:
        return ()


def _replace(file: Path, pieces: Sequence[bytes]) -> None:
    fresh = file.with_suffix(".new")
    with fresh.open("wb") as writing:
        writing.writelines(pieces)
    fresh.replace(file)
