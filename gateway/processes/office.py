"""Which parent is in office: the one that holds the lock of the runtime directory, from its start to its end.

The kernel frees the lock when its holder ends, however that happens. A successor gets the open file of the holder, so
at no moment does nobody hold the lock.
"""

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path


class Office:
    """The lock as one parent sees it."""

    def __init__(self, path: Path) -> None:
        """Hold nothing of the file at `path`."""
        self._path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """True if this parent is in office."""
        return self._descriptor is not None

    @property
    def descriptor(self) -> int:
        """The open file, for a successor."""
        assert self._descriptor is not None
        return self._descriptor

    def take(self) -> bool:
        """Take the office; False if another parent has it, or has just removed the directory."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return False
        if not self._lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def inherit(self, descriptor: int) -> None:
        """Hold the open file that the holder has sent."""
        self._descriptor = descriptor

    def leave(self) -> None:
        """Hold it no longer; no effect if this parent does not."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, descriptor: int) -> bool:
        """Lock the file, if it is still the one at the path: its last holder may have removed it meanwhile."""
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except (BlockingIOError, FileNotFoundError):
            return False
