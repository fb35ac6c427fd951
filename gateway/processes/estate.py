"""What ended processes have counted, so that the sums over all processes never go back.

Prometheus takes any decrease of a counter for a restart and counts its whole value again. So each process leaves its
counters in a file of the runtime directory before it shows them to anybody, and once more at its end: what was shown is
never lost, however the process ends. The parent adds the file of an ended process to one file for all of them, which
says whom it contains. A reader reads the single files first, so that it finds each process in one of the two places.
"""

from collections.abc import Collection, Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path

import orjson

from gateway.processes.merging import MergedMetrics

_ENDED = "ended.metrics"
_MOST_NAMES = 100  # of processes whose own file may not be removed yet


class Estate:
    """The counters in one runtime directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def leave(self, process: str, text: bytes) -> None:
        """Replace what `process` (a name that no other process ever has) leaves."""
        _replace(self._file(process), text)

    def left(self, living: Collection[str]) -> Iterator[str]:
        """The texts of all processes but those `living`, which have been asked themselves."""
        single = {file.stem: file.read_text() for file in self._directory.glob("left-*.metrics") if file.exists()}
        names, ended = self._ended()
        yield ended
        for name, text in single.items():
            process = name.removeprefix("left-")
            if process not in living and process not in names:
                yield text

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
        merged.add_ended(ended)
        merged.add_ended(file.read_text())
        head = orjson.dumps([*names, process][-_MOST_NAMES:])
        _replace(self._directory / _ENDED, head + b"\n" + merged.text().encode())
        file.unlink()

    def _ended(self) -> tuple[list[str], str]:
        try:
            head, _, text = (self._directory / _ENDED).read_text().partition("\n")
        except FileNotFoundError:
            return [], ""
        return orjson.loads(head), text

    def _file(self, process: str) -> Path:
        return self._directory / f"left-{process}.metrics"


def _replace(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(file)
