"""Children are waited for, explained when they fail, and never outlive their context."""

import asyncio
import os
import select
from pathlib import Path

import pytest

from evaluation.load.processes import ChildFailed, child

SERVES = """
import signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready http://127.0.0.1:1/", flush=True)
threading.Event().wait()
"""
STUBBORN = SERVES.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
PARENT = """
import subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
print(f"ready {child.pid}", flush=True)
threading.Event().wait()
"""
FAILS = "import sys; print('no memory', file=sys.stderr); sys.exit(3)"
SILENT = "import threading; threading.Event().wait()"


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_is_ready_with_its_url_and_gone_afterwards(tmp_path: Path) -> None:
    """The context opens when the child prints `ready`, and no process is left when it closes."""

    async def body() -> int:
        async with child("server", ["-c", SERVES], tmp_path, 30) as running:
            assert running.url == "http://127.0.0.1:1"
            running.raise_if_ended()
            assert _is_alive(running.pid)
            return running.pid

    assert not _is_alive(asyncio.run(body()))


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that does not end by itself is killed after a bounded time."""
    monkeypatch.setattr("evaluation.load.processes.END_SECONDS", 0.01)

    async def body() -> int:
        async with child("stubborn", ["-c", STUBBORN], tmp_path, 30) as running:
            return running.pid

    assert not _is_alive(asyncio.run(body()))


def test_grandchildren_end_with_their_parent(tmp_path: Path) -> None:
    """The whole process group ends, whatever processes the child left behind."""

    async def body() -> int:
        async with child("parent", ["-c", PARENT], tmp_path, 30) as running:
            return os.pidfd_open(int(running.url))

    descriptor = asyncio.run(body())
    try:
        ended, _, _ = select.select([descriptor], [], [], 30)
    finally:
        os.close(descriptor)
    assert ended, "the grandchild still runs"


def test_a_child_that_fails_is_explained_by_its_log(tmp_path: Path) -> None:
    """The error has the child's status and the last lines of its log."""

    async def body() -> None:
        async with child("engine", ["-c", FAILS], tmp_path, 30):
            raise AssertionError("never ready")

    with pytest.raises(ChildFailed, match=r"(?s)engine ended with status 3.*no memory"):
        asyncio.run(body())


def test_a_child_that_never_is_ready_times_out(tmp_path: Path) -> None:
    """Waiting for `ready` is bounded, and the child is ended."""

    async def body() -> None:
        async with child("engine", ["-c", SILENT], tmp_path, 0.01):
            raise AssertionError("never ready")

    with pytest.raises(ChildFailed, match="was not ready within"):
        asyncio.run(body())


def test_an_error_inside_the_context_still_ends_the_child(tmp_path: Path) -> None:
    """A bench that fails leaves nothing running."""
    pids: list[int] = []

    async def body() -> None:
        async with child("server", ["-c", SERVES], tmp_path, 30) as running:
            pids.append(running.pid)
            raise KeyError("bench")

    with pytest.raises(KeyError):
        asyncio.run(body())
    assert not _is_alive(pids[0])
