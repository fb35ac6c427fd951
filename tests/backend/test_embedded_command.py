"""`backend embedded` as a process: one line when ready, an end on SIGTERM, and with its parent where asked to."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-m", "backend", "embedded", "--profile", "instant"]


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and the line that it printed."""
    started = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True)
    with started:
        try:
            assert started.stdout is not None
            yield started, started.stdout.readline().strip()
        finally:
            started.kill()


def test_it_says_where_it_serves_and_ends_on_sigterm() -> None:
    """Port 0 picks a free one; the line is the only one on standard output; the exit is clean."""
    with process("--model", "named", "--max-model-len", "512") as (server, line):
        url = line.removeprefix("ready ")
        with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as response:
            card = json.load(response)["data"][0]
        assert (card["id"], card["max_model_len"]) == ("named", 512)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
        assert server.stdout is not None
        assert server.stdout.read() == ""


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    """The line names the socket."""
    with process("--uds", str(tmp_path / "engine.sock")) as (_, line):
        assert line == f"ready unix://{tmp_path}/engine.sock"


def _parent_of(*options: str) -> "subprocess.Popen[str]":
    """A process whose only work is a server; both hold the other end of the pipe."""
    command = [*COMMAND, *options]
    script = f"import subprocess; subprocess.Popen({command!r}).wait()"
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_it_ends_with_a_supervisor() -> None:
    """Asked to, it goes with a parent that is killed: end of file is its death."""
    with _parent_of("--end-with-parent") as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("ready ")
        parent.kill()
        assert parent.stdout.read() == ""


def test_it_outlives_the_shell_that_started_it() -> None:
    """Started with `&` it serves on when the shell is gone, and ends on SIGTERM."""
    command = shlex.join(COMMAND)
    with subprocess.Popen(["sh", "-c", f"{command} & echo $!"], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        lines = sorted((shell.stdout.readline().strip(), shell.stdout.readline().strip()))
        server, url = int(lines[0]), lines[1].removeprefix("ready ")
        try:
            assert shell.wait(timeout=30) == 0
            with urllib.request.urlopen(f"{url}/health", timeout=30) as response:
                assert response.status == 200
        finally:
            os.kill(server, signal.SIGTERM)
        assert shell.stdout.read() == ""


def test_wrong_options_are_said_in_words() -> None:
    """No traceback, exit status 2, the remedy on standard error."""
    done = subprocess.run([*COMMAND[:-1], "nowhere"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no profile 'nowhere': choose one of a10g-llama2-7b" in done.stderr
    small = subprocess.run([*COMMAND, "--kv-blocks", "3"], capture_output=True, text=True, timeout=60, check=False)
    assert small.returncode == 2
    assert "do not hold one sequence" in small.stderr
