"""`vtc-gateway serve` as a child process: its lines, its answers, its end."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

STUCK_SECONDS = 120.0  # then the child is killed and the test fails; nothing waits so long on any machine

CONFIG = """\
listen: {{port: {port}, drain_seconds: 60}}
pools:
  - model: tiny
    workers: [{{launch: {{engine: embedded, profile: {profile}}}}}]
tenants:
  - name: alice
    keys: [{{id: main, file: alice.key}}]
"""


def write_config(folder: Path, *, port: int = 0, profile: str = "instant") -> Path:
    """A configuration with one tenant and one embedded worker in `folder`."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(port=port, profile=profile))
    return path


class Served:
    """One child process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.url = ""
        self.log: list[str] = []  # as far as it was read

    def say(self) -> str:
        """The next line of standard output, "" at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def log_until(self, words: str) -> str:
        """The first line of standard error from here on that holds `words`."""
        stderr: IO[str] | None = self.process.stderr
        assert stderr is not None
        before = len(self.log)
        for line in stderr:
            self.log.append(line)
            if words in line:
                return line
        raise AssertionError(f"{words!r} was not logged: {''.join(self.log[before:])}")

    def signal(self, number: signal.Signals) -> None:
        """Send the child a signal."""
        self.process.send_signal(number)

    def ended(self) -> tuple[int, str, str]:
        """Wait for the end: exit status, the rest of standard output and of standard error."""
        out, err = self.process.communicate(timeout=STUCK_SECONDS)
        self.log += err.splitlines()
        return self.process.returncode, out, err

    def request(self, path: str, key: str | None = None, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urlopen(Request(self.url + path, body, headers), timeout=STUCK_SECONDS) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            with error:
                return error.code, error.read()

    def descendants(self) -> list[int]:
        """Process ids of all that the child has started: its supervisor and the workers."""
        return descendants(self.process.pid)


def descendants(pid: int) -> list[int]:
    """Children of a process, then theirs; one that ends while it is looked at has none."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return children + [each for child in children for each in descendants(child)]


@contextmanager
def serving(
    config: Path,
    arguments: Sequence[str] = ("--create-keys", "--announce"),
    folder: Path | None = None,
    stuck_seconds: float = STUCK_SECONDS,
) -> Iterator[Served]:
    """A child that serves `config`, started in `folder`; killed in the end, at the latest after `stuck_seconds`."""
    command = [sys.executable, "-m", "gateway", "serve", str(config), *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        cwd=folder,
    )
    watchdog = threading.Timer(stuck_seconds, process.kill)
    watchdog.start()
    try:
        child = Served(process)
        if "--announce" in arguments:
            line = child.say()
            child.url = line.removeprefix("ready ")
        yield child
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextmanager
def watching(pid: int) -> Iterator[int]:
    """A descriptor that becomes readable when process `pid` has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def has_ended(descriptor: int) -> bool:
    """Wait until the watched process has ended; False where it runs on and on."""
    return bool(select.select([descriptor], [], [], STUCK_SECONDS)[0])
