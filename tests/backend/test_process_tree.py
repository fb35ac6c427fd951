"""A process tree of real children: it ends as one, also where whoever started it was killed and it stands still."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.vllm.process import MAX_LINE_BYTES, ProcessTree

HOPELESS_SECONDS = 60
ROOT = Path(__file__).parents[2]
# A server with a child of its own; `deaf` to SIGTERM where asked.
SERVER = """
import os, signal, subprocess, sys
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
print("pids", os.getpid(), child.pid, flush=True)
signal.pause()
"""
# Whoever starts it and tells what it says.
LAUNCHER = """
import asyncio, os, sys
from backend.vllm.process import MAX_LINE_BYTES, ProcessTree

async def run():
    tell = lambda line: print(line, flush=True)
    tree = await ProcessTree.start((sys.executable, "-S", "-c", sys.argv[1], sys.argv[2]), os.environ, tell)
    await tree.guard(grace_seconds=1.0)
    print("guarded", flush=True)
    await tree.wait()

asyncio.run(run())
"""


def _ends(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], HOPELESS_SECONDS)[0])


@pytest.mark.parametrize(("how", "is_stopped"), [("plain", False), ("plain", True), ("deaf", False), ("deaf", True)])
def test_nothing_outlives_a_killed_launcher(how: str, is_stopped: bool) -> None:
    """`kill -9` of the launcher while its server and that one's child are stopped, or deaf to SIGTERM: both go."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, SERVER, how], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert launcher.stdout is not None
    lines = sorted(launcher.stdout.readline().split() for _ in range(2))
    pids = [int(pid) for pid in lines[1][1:]]
    watched = [os.pidfd_open(pid) for pid in pids]
    if is_stopped:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    launcher.kill()
    assert [_ends(descriptor) for descriptor in watched] == [True, True]
    for descriptor in watched:
        os.close(descriptor)
    launcher.communicate()


def test_an_orderly_end_takes_the_guard_with_it() -> None:
    """No shell is left that would kill a group of the same number later."""

    async def story() -> None:
        lines: list[str] = []
        command = (sys.executable, "-S", "-c", "import signal; signal.pause()")
        tree = await ProcessTree.start(command, os.environ, lines.append)
        await tree.guard()
        guard = tree._guard
        assert guard is not None
        await tree.end()
        assert guard.returncode == -signal.SIGKILL

    asyncio.run(story())


@pytest.mark.parametrize("length", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 40 * MAX_LINE_BYTES])
def test_a_line_of_any_length_ends_no_reading(length: int) -> None:
    """What is too long is cut and says so; the lines after it come, and the child never blocks in its write."""
    script = f"print('a' * {length}); print('next'); print('b' * {length}, end='')"

    async def story() -> list[str]:
        lines: list[str] = []
        tree = await ProcessTree.start((sys.executable, "-S", "-c", script), os.environ, lines.append)
        assert await tree.wait() == 0
        await tree.end()
        return lines

    first, following, last = asyncio.run(story())
    assert following == "next"
    for letter, line in (("a", first), ("b", last)):
        assert line.removesuffix(" [cut]").strip(letter) == ""
        assert len(line) <= MAX_LINE_BYTES + len(" [cut]")
        assert line.endswith(" [cut]") is (len(line.removesuffix(" [cut]")) < length)
