"""`vtc-backend supervise` as a process: orders in, states out, and no worker outlives it."""

import json
import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HOPELESS_SECONDS = 90
COMMAND = [sys.executable, "-m", "backend", "supervise"]
PLAN = {"name": "w0", "engine": "embedded", "profile": "instant", "served_name": "tiny"}


class Session:
    """A supervisor and what it says."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.key = self.hear()["supervisor"]["api_key"]

    def order(self, order: object) -> None:
        """Write a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The next message."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def until(self, state: str) -> Any:
        """The next word of a worker in `state`."""
        while (said := self.hear().get("worker", {})).get("state") != state:
            pass
        return said

    def workers(self) -> list[int]:
        """Descriptors of its workers' processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [os.pidfd_open(int(pid)) for pid in path.read_text().split()]


@pytest.fixture
def session() -> Iterator[Session]:
    """A running supervisor."""
    with _running(COMMAND) as process:
        yield Session(process)


@contextmanager
def _running(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def _have_ended(descriptors: list[int]) -> bool:
    ended = [bool(select.select([descriptor], [], [], HOPELESS_SECONDS)[0]) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    return all(ended)


def _status(url: str, key: str = "") -> int:
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=HOPELESS_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_worker_is_started_and_stopped_by_order_and_asks_for_the_key(session: Session) -> None:
    """Loading, ready on loopback with a key that only the session knows, draining, stopped."""
    session.order({"start": PLAN})
    assert "embedded engine (it invents its answers)" in session.until("loading")["engine"]
    url = session.until("ready")["url"]
    assert url.startswith("http://127.0.0.1:")
    assert (_status(url, session.key), _status(url, "other"), _status(url)) == (200, 401, 401)
    assert len(session.key) > 40
    session.order({"stop": "w0"})
    session.until("draining")
    session.until("stopped")


def _kill(session: Session) -> None:
    session.process.kill()


def _tell(session: Session) -> None:
    session.process.terminate()


def _close_input(session: Session) -> None:
    assert session.process.stdin is not None
    session.process.stdin.close()


def _talk_nonsense(session: Session) -> None:
    session.order({"begin": PLAN})


@pytest.mark.parametrize("end", [_kill, _tell, _close_input, _talk_nonsense], ids=lambda end: end.__name__.strip("_"))
@pytest.mark.parametrize("is_frozen", [False, True], ids=["running", "frozen"])
def test_no_worker_outlives_it(end: Callable[[Session], None], is_frozen: bool, session: Session) -> None:
    """However it ends, two workers end with it, one that is stopped by SIGSTOP too."""
    for name in ("w0", "w1"):
        session.order({"start": PLAN | {"name": name}})
    session.until("ready")
    session.until("ready")
    workers = session.workers()
    assert len(workers) == 2
    if is_frozen:
        signal.pidfd_send_signal(workers[0], signal.SIGSTOP)
    end(session)
    assert _have_ended(workers)
    assert session.process.wait(HOPELESS_SECONDS) == {_kill: -signal.SIGKILL, _talk_nonsense: 1}.get(end, 0)


def test_a_file_of_workers_is_run_for_a_person(tmp_path: Path) -> None:
    """The key first, then a line for each change with the URL of a ready worker."""
    file = tmp_path / "workers.yaml"
    file.write_text(json.dumps([PLAN]))  # JSON is YAML
    with _running([*COMMAND, str(file)]) as process:
        assert process.stdout is not None
        word, key = process.stdout.readline().decode().split()
        assert word == "key"
        line = process.stdout.readline()
        while b"ready" not in line:
            assert line.startswith(b"w0 ")
            line = process.stdout.readline()
        assert _status(line.decode().split()[2], key) == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workers: []", "is not a list of workers"),
        ("- {name: a, cuont: 2}", "cuont"),
        ("[{name: a}, {name: a}]", "gives a name twice"),
        ("- {name: [}", "expected"),
    ],
)
def test_a_wrong_file_is_reported(text: str, words: str, tmp_path: Path) -> None:
    """The command prints one line and ends with status 1."""
    file = tmp_path / "workers.yaml"
    file.write_text(text)
    done = subprocess.run([*COMMAND, str(file)], capture_output=True, text=True, timeout=HOPELESS_SECONDS, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
