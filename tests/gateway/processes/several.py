"""Several gateway processes behind one URL, as real processes, in front of an engine that is not theirs."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from served import STUCK_SECONDS, Served, descendants, serving

from gateway.processes import runtime_directory
from gateway.processes.directory import RuntimeDirectory

ROOT = Path(__file__).parents[3]
ARGUMENTS = ("--create-keys", "--announce", "--processes", "2")
TAKE_OVER = (*ARGUMENTS, "--take-over")
SILENT = ("--create-keys", "--processes", "2")  # such a gateway can be watched before it serves
SILENT_TAKE_OVER = (*SILENT, "--take-over")
BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}).encode()
WINDOW = 4  # sequences; the engine itself takes many more
CONFIG = """\
listen: {{port: 0, drain_seconds: 60}}
pools:
  - model: tiny
    window: {{sequences: {window}, slack: 0}}
    workers: [{{url: "{url}"}}]
tenants:
  - name: alice
    keys: [{{id: main, file: alice.key}}]
"""


@contextmanager
def engine(profile: str = "instant") -> Iterator[str]:
    """The URL of an embedded engine."""
    command = [sys.executable, "-m", "backend", "embedded", "--profile", profile, "--end-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("ready ").strip()
        finally:
            process.terminate()


def write_config(folder: Path, url: str) -> Path:
    """A configuration with one tenant and the engine at `url`."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(url=url, window=WINDOW))
    return path


def most_held(url: str) -> int:
    """The most sequences that the engine at `url` ever had at once, as it says itself."""
    with urlopen(f"{url}/witness", timeout=STUCK_SECONDS) as answer:
        return int(json.loads(answer.read())["max_held"])


@contextmanager
def several(config: Path, arguments: Sequence[str] = ARGUMENTS) -> Iterator[Served]:
    """A parent and its gateway processes, which serve."""
    with serving(config, arguments) as child:
        assert child.url.startswith("http://")
        yield child


def refused(config: Path, arguments: Sequence[str]) -> str:
    """Why a second gateway does not start."""
    with serving(config, arguments) as second:
        status, out, err = second.ended()
    assert (status, out) == (1, "")
    (line,) = [line for line in err.splitlines() if "the gateway could not start" in line]
    reason: str = json.loads(line)["reason"]
    return reason


def directory(config: Path) -> RuntimeDirectory:
    """Where the processes meet that serve `config` on a free port."""
    return runtime_directory(config, 0, os.environ)


def key(folder: Path) -> str:
    """Alice's key."""
    return (folder / "alice.key").read_text().strip()


def running(parent: int, words: str) -> list[int]:
    """The processes below `parent` whose command line has `words`."""
    return [pid for pid in descendants(parent) if words in command_line(pid)]


def command_line(pid: int) -> str:
    """The command line of a process; "" if it has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def gateways(child: Served) -> list[int]:
    """The gateway processes of a parent."""
    return running(child.process.pid, "gateway/__main__.py")


def store_of(child: Served) -> int:
    """The store of a parent: the program itself, not its guard."""
    (store,) = [pid for pid in running(child.process.pid, "-server") if "guard.py" not in command_line(pid)]
    return store


def without(folder: Path, *names: str) -> str:
    """A PATH with all programs but those called `names`."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            if program.name not in names and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    assert all(shutil.which(name, path=str(folder)) is None for name in names)
    return str(folder)


def ask(child: Served, folder: Path) -> int:
    """The status of one small request, on a connection of its own."""
    return child.request("/v1/chat/completions", key(folder), BODY)[0]


def read_until(child: Served, *words: str) -> dict[str, object]:
    """The first log line from here on that has all of `words`."""
    while True:
        line = child.log_until(words[0])
        if all(word in line for word in words):
            found: dict[str, object] = json.loads(line)
            return found


def streaming(child: Served, secret: str, tokens: int) -> socket.socket:
    """A connection on which an answer of `tokens` has begun."""
    host, _, port = child.url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=STUCK_SECONDS)
    fields = {"model": "tiny", "prompt": "x", "max_tokens": tokens, "min_tokens": tokens, "stream": True}
    body = json.dumps(fields).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert connection.recv(1024).startswith(b"HTTP/1.1 200")
    return connection


def rest_of(connection: socket.socket) -> bytes:
    """All that still comes on a connection, up to its end or its break."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received
