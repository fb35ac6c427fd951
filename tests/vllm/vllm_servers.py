"""Server processes for the tests: started as a user starts them, waited for by their `ready URL` line, ended by pid.

Each server runs in a process group of its own, so that a Ctrl-C reaches pytest alone, which then ends them in order.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

END_SECONDS = 20


class ServerFailed(Exception):
    """A server did not become ready; the message carries the end of its log."""


@contextmanager
def running(
    command: Sequence[str], log: Path, ready_seconds: float, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The URL of the server that `command` starts, while the context is open; its log goes to `log`."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield _ready_url(process, log, ready_seconds)
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def python(*arguments: str) -> list[str]:
    """The command line of a module of ours."""
    return [sys.executable, "-m", *arguments]


def _ready_url(process: subprocess.Popen[bytes], log: Path, ready_seconds: float) -> str:
    assert process.stdout is not None
    # Ending the process ends its output, and with it the wait.
    timer = threading.Timer(ready_seconds, process.terminate)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith(b"ready "):
                return line.decode().split()[1]
    finally:
        timer.cancel()
    end = "\n".join(log.read_text("utf-8", "replace").splitlines()[-30:])
    raise ServerFailed(f"{' '.join(map(str, process.args))} was not ready within {ready_seconds:.0f} s:\n{end}")
