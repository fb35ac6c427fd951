"""Stand-ins for engines: small scripts that are started as vLLM is, and a machine that has no other."""

import asyncio
import os
import sys
from collections.abc import Callable
from random import Random

from backend.supervisor.gpus import NoGpuLeft
from backend.supervisor.machine import CannotStart, Machine, Recipe
from backend.supervisor.plan import WorkerPlan
from backend.supervisor.supervisor import Supervisor
from backend.supervisor.worker import Pace, Status, WorkerCallbacks

HOPELESS_SECONDS = 90.0
QUICK = Pace(probe_seconds=0.05, probe_limit_seconds=0.5, failures_in_a_row=2, unhealthy_seconds=0.2)
GRACE_SECONDS = 1.0

SCRIPT = """\
import http.server, os, signal, subprocess, sys, time

how = sys.argv[1]
print("pid", os.getpid(), flush=True)
if how == "fail":
    print("the model is too large", flush=True)
    sys.exit(3)
if how == "never-ready":
    signal.pause()
if how == "talkative":
    for number in range(5000):
        print("line", number, flush=True)
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "tree":
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    print("pid", child.pid, flush=True)

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if how == "ill" else 200)
        self.end_headers()
    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Health)
print("ready http://127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
"""


def plan(how: str, name: str = "w", **fields: object) -> WorkerPlan:
    """A worker that behaves as `how` says."""
    return WorkerPlan(name, arguments=(how,), **fields)  # type: ignore[arg-type]


class ScriptedMachine(Machine):
    """Starts the script, whatever the plan says besides; while `is_taken` its GPUs are others'."""

    is_taken = False

    def recipe(self, plan: WorkerPlan) -> Recipe:
        """The script's command."""
        (how,) = plan.arguments
        if how == "impossible":
            raise CannotStart("no room for it")
        if self.is_taken:
            raise NoGpuLeft("others have them")
        shared_gpu = "0" if plan.gpus < 1 else None
        return Recipe((sys.executable, "-S", "-c", SCRIPT, how), os.environ, "stand-in", GRACE_SECONDS, shared_gpu)


class Watch:
    """A supervisor with everything that it reported; a wait ends with a report, and a hopeless one by force."""

    def __init__(self) -> None:
        self.reported: list[Status] = []
        self.pids: list[int] = []
        self.lines: list[str] = []
        self._news = asyncio.Event()
        callbacks = WorkerCallbacks(self._hear, self._wrote)
        self.machine = ScriptedMachine((), {}, "key")
        self.supervisor = Supervisor(self.machine, callbacks, QUICK, Random(1))

    def _hear(self, status: Status) -> None:
        self.reported.append(status)
        self._news.set()

    def _wrote(self, _: str, line: str) -> None:
        self.lines.append(line)
        if line.startswith("pid "):
            self.pids.append(int(line.split()[1]))
        self._news.set()

    async def until(self, holds: Callable[[], object]) -> None:
        """Return when `holds()` is true."""
        async with asyncio.timeout(HOPELESS_SECONDS):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def until_state(self, state: str, worker: str = "w") -> Status:
        """Return when the supervisor reports a worker in `state` after its reports so far."""
        seen = len(self.reported)

        def found() -> list[Status]:
            return [each for each in self.reported[seen:] if each.state == state and each.worker == worker]

        await self.until(found)
        return found()[0]

    @property
    def states(self) -> list[str]:
        """Every reported state, without repetitions."""
        states = [status.state for status in self.reported]
        return [state for place, state in enumerate(states) if not place or states[place - 1] != state]
