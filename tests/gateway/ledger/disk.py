"""A disk that fails as a test says: every connection to SQLite that is made meanwhile writes through it."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread

import apsw

_BASE = "unix"


class Disk(apsw.VFS):
    """The machine's own disk, but each write raises `failure` while that is set.

    It makes threads whose name begins with `held_thread` wait while `goes_on` is not set. Whoever waits for a lock of
    another program does not wait in truth: `slept_us` says for how long it would have waited.
    """

    def __init__(self) -> None:
        """Be the disk of all new connections."""
        super().__init__("faulty", _BASE, makedefault=True)
        self.failure: type[apsw.Error] | None = None
        self.goes_on = Event()
        self.goes_on.set()
        self.held_thread = ""  # the beginning of the name of the thread that waits for `goes_on`
        self.slept_us = 0

    def xOpen(self, name: "str | apsw.URIFilename | None", flags: list[int]) -> "DiskFile":
        """A file on it."""
        return DiskFile(self, name, flags)

    def xSleep(self, microseconds: int) -> int:
        """Count how long SQLite would have waited."""
        self.slept_us += microseconds
        return microseconds

    def wait(self) -> None:
        """Hold the thread that is to be held."""
        if self.held_thread and current_thread().name.startswith(self.held_thread):
            self.goes_on.wait()


class DiskFile(apsw.VFSFile):
    """One file of it."""

    def __init__(self, disk: Disk, name: "str | apsw.URIFilename | None", flags: list[int]) -> None:
        """Open it on the machine's own disk."""
        self._disk = disk
        super().__init__(_BASE, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read as the disk allows."""
        self._disk.wait()
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write as the disk allows."""
        self._disk.wait()
        if self._disk.failure is not None:
            raise self._disk.failure
        super().xWrite(data, offset)


@contextmanager
def faulty_disk() -> Iterator[Disk]:
    """A disk, for the connections that are made in the context."""
    disk = Disk()
    try:
        yield disk
    finally:
        disk.failure = None
        disk.goes_on.set()
        disk.unregister()
