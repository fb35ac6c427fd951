"""A real PostgreSQL for tests: a process with a folder of its own, which ends with the test and keeps nothing."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pwd import getpwnam

from real_stores import STARTING_SECONDS, free_port

USER = "vtc"
PASSWORD = "it's 100% secret"
_QUOTED = "it%27s%20100%25%20secret"


def program(name: str) -> str:
    """An executable of the newest PostgreSQL that Debian's packages have installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    assert found, "scripts/install-system installs postgresql"
    return str(found[-1])


class Postgres:
    """A server on a port of loopback, with the superuser `vtc`; `initdb` has made its folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._folder = folder
        # PostgreSQL refuses to run as root.
        owner = getpwnam("nobody") if os.geteuid() == 0 else None
        self._user = None if owner is None else owner.pw_uid
        self._group = None if owner is None else owner.pw_gid
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        password = folder / "password"
        password.write_text(PASSWORD)
        command = [program("initdb"), "-D", str(self._data), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
        self._run([*command, "--locale=C", "--no-sync", f"--pwfile={password}"])
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", password: str = _QUOTED, query: str = "") -> str:
        """The address of a database of it."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}{query}"

    def start(self, *options: str) -> None:
        """Run it; returns when it answers. `options` are `-c name=value` of its own."""
        command = [program("postgres"), "-D", str(self._data), "-p", str(self.port), "-k", "", "-c", "fsync=off"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-c", "listen_addresses=127.0.0.1", *options],
                stdout=log, stderr=log, user=self._user, group=self._group,
            )  # fmt: skip
        deadline = time.monotonic() + STARTING_SECONDS
        while self._answers() != 0:
            assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def keeping(self, certificate: Path, key: Path) -> list[str]:
        """The options with which it shows `certificate`; the server gets files of its own."""
        options = []
        for name, source in (("ssl_cert_file", certificate), ("ssl_key_file", key)):
            copy = self._folder / name
            copy.write_bytes(source.read_bytes())
            copy.chmod(0o600)
            if self._user is not None and self._group is not None:
                os.chown(copy, self._user, self._group)
            options += ["-c", f"{name}={copy}"]
        return options

    def query(self, text: str, database: str = "postgres") -> list[list[str]]:
        """What the superuser is told: the lines of the result, each with its fields."""
        command = [program("psql"), "-X", "-q", "-A", "-t", "-F", "|", "-v", "ON_ERROR_STOP=1", "-c", text]
        result = subprocess.run([*command, self.url(database)], check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return [line.split("|") for line in result.stdout.splitlines()]

    def freeze(self) -> None:
        """Let nothing of it run: it keeps its connections and answers nothing."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, all its processes; `start` runs it again on the same data."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)  # it starts no session that nobody ends
        sessions = self._signal_all(signal.SIGKILL)
        self._process.wait()
        self._process = None
        while any(map(_runs, sessions)):
            time.sleep(0.005)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _signal_all(self, number: signal.Signals) -> list[int]:
        """Send a signal to the server and its sessions; returns the sessions."""
        assert self._process is not None
        parent = self._process.pid
        sessions = [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        for process in (parent, *sessions):
            with suppress(ProcessLookupError):  # a session that has just ended
                os.kill(process, number)
        return sessions

    def _answers(self) -> int:
        command = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode

    def _run(self, command: list[str]) -> None:
        result = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=self._folder, user=self._user, group=self._group
        )
        assert result.returncode == 0, result.stderr


def _runs(process: int) -> bool:
    """True unless it has ended, reaped or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def a_database() -> Iterator[Postgres]:
    """A running `Postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="vtc-postgres-"))  # pytest's own folders let only their owner in
    server: Postgres | None = None
    try:
        server = Postgres(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
