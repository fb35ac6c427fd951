"""Where the processes of one gateway meet: a directory that only their user can enter, with their Unix sockets.

One configuration and port have one directory, so that a gateway that is started again finds the one that runs. It lies
where the machine keeps such things: systemd's `RUNTIME_DIRECTORY`, else `XDG_RUNTIME_DIR`, else the directory for
temporary files. Its path is short, because a Unix socket's path has at most 107 bytes.
"""

import os
import socket
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

_MOST_PATH_BYTES = 107  # of a socket (sun_path)
_LONGEST_NAME = "/gateway-9999.sock"


class DirectoryFault(Exception):
    """The directory cannot be used; the text says why and what helps."""


class RuntimeDirectory:
    """The directory and the names in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def parent(self) -> Path:
        """Where the parent listens to a successor."""
        return self.path / "parent.sock"

    @property
    def office(self) -> Path:
        """The file that the parent in office has locked."""
        return self.path / "office.lock"

    @property
    def store(self) -> Path:
        """Where the store beside the gateway listens."""
        return self.path / "store.sock"

    def gateway(self, name: str) -> Path:
        """Where the gateway process `name` answers the others."""
        return self.path / f"gateway-{name}.sock"

    def gateways(self) -> Sequence[str]:
        """The names of the gateway processes that answer here, or should."""
        return [file.stem.removeprefix("gateway-") for file in self.path.glob("gateway-*.sock")]

    def answering(self) -> Sequence[str]:
        """Those of them that live."""
        return [name for name in self.gateways() if _answers(self.gateway(name))]

    def prepare(self) -> None:
        """Make the directory, or check that the one that is there is ours alone; raises `DirectoryFault`."""
        if len(os.fsencode(self.path)) + len(_LONGEST_NAME) > _MOST_PATH_BYTES:
            raise DirectoryFault(f"{self.path} is too long for Unix sockets; set XDG_RUNTIME_DIR to a shorter path")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            remedy = "set XDG_RUNTIME_DIR to a directory that this user may write to"
            raise DirectoryFault(f"{self.path} cannot be made ({error.strerror}); {remedy}") from None
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise DirectoryFault(f"{self.path} is open to other users or belongs to one; remove it")

    def remove(self) -> None:
        """Remove it and what is in it; nobody meets there any more. No effect if it was never made."""
        if self.path.is_dir():
            self.clear()
            self.office.unlink(missing_ok=True)
            with suppress(OSError):  # somebody who waits for the end has just looked for the lock
                self.path.rmdir()

    def clear(self) -> None:
        """Remove what is in it, but for the lock."""
        for file in self.path.iterdir():
            if file != self.office:
                file.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.setblocking(False)
        try:
            end.connect(str(path))
        except BlockingIOError:  # it has more callers than it takes
            return True
        except OSError:
            return False
    return True


def runtime_directory(configuration: Path, port: int, environment: Mapping[str, str]) -> RuntimeDirectory:
    """The directory of the gateway that serves `configuration` on `port`."""
    named = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0] or environment.get("XDG_RUNTIME_DIR")
    base = Path(named or tempfile.gettempdir())
    digest = sha256(f"{configuration.resolve()}:{port}".encode()).hexdigest()[:8]
    return RuntimeDirectory(base / f"vtc-gateway-{os.geteuid()}-{digest}")
