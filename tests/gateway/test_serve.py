"""`vtc-gateway serve` from start to end, as a process: what it prints, what signals do, what survives it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from served import STUCK_SECONDS, Served, has_ended, serving, watching, write_config

from gateway.cli.serve import ServeOptions, serve
from gateway.config import ConfigError, load
from gateway.watch.launched import LaunchedWorkers


def _body(tokens: int, *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": "Hello"}]
    limits = {"max_tokens": tokens, "min_tokens": tokens}
    return json.dumps({"model": "tiny", "messages": messages, "stream": stream, **limits}).encode()


def _key(folder: Path) -> str:
    return (folder / "alice.key").read_text().strip()


def _streaming(child: Served, key: str, tokens: int) -> socket.socket:
    """A connection on which an answer of `tokens` has begun."""
    host, _, port = child.url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=STUCK_SECONDS)
    body = _body(tokens, stream=True)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert connection.recv(1024).startswith(b"HTTP/1.1 200")
    return connection


def _rest(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def test_a_gateway_loads_no_library_of_what_it_is_not_configured_to_do() -> None:
    """They would take memory and time at every start: for the page, the webhook, a database, the terminal."""
    found = "print([name for name in ('aiohttp', 'asyncpg', 'rich') if name in sys.modules])"
    command = [sys.executable, "-c", f"import sys, gateway.cli.serve; {found}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_greeting_shows_keys_and_a_command_that_works(tmp_path: Path) -> None:
    """The printed curl, run by a shell as it stands, brings a streamed answer."""
    with serving(write_config(tmp_path), ["--create-keys"]) as child:
        lines = [child.say()]
        while not lines[-1].strip().startswith("curl "):
            lines.append(child.say())
            assert child.process.poll() is None
        assert lines[0].startswith("vtc-gateway serves at http://127.0.0.1:")
        assert f"  tenant alice: key {_key(tmp_path)}" in lines
        command = lines[-1].strip()
        shown = subprocess.run(["bash", "-c", command], capture_output=True, timeout=STUCK_SECONDS, check=True)
        assert shown.stdout.rstrip().endswith(b"data: [DONE]")
        child.signal(signal.SIGINT)
        assert child.ended()[0] == 0


def test_the_command_without_known_keys_takes_one_from_the_environment(tmp_path: Path) -> None:
    """Keys that were made elsewhere are not printed; the shell puts `$KEY` in."""
    path = write_config(tmp_path)
    with serving(path) as child:
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0
    with serving(path, []) as child:
        lines = [child.say()]
        while not lines[-1].strip().startswith("curl "):
            lines.append(child.say())
        assert _key(tmp_path) not in "".join(lines)
        environment = os.environ | {"KEY": _key(tmp_path)}
        shown = subprocess.run(
            ["bash", "-c", lines[-1].strip()], capture_output=True, timeout=STUCK_SECONDS, check=True, env=environment
        )
        assert shown.stdout.rstrip().endswith(b"data: [DONE]")


def test_announce_prints_one_line_and_sigterm_ends_it_with_0(tmp_path: Path) -> None:
    """`ready URL` and nothing else on standard output; log lines are JSON on standard error; the worker ends too."""
    with serving(write_config(tmp_path)) as child:
        assert child.request("/health")[0] == 200
        assert child.request("/v1/chat/completions", _key(tmp_path), _body(3))[0] == 200
        _, worker = child.descendants()
        with watching(worker) as descriptor:
            child.signal(signal.SIGTERM)
            status, out, err = child.ended()
            assert (status, out) == (0, "")
            assert has_ended(descriptor)
    lines = [json.loads(line) for line in err.splitlines()]
    assert (lines[0]["event"], lines[-1]["event"]) == ("starting", "stopped")
    assert lines[0]["configuration"] == str(tmp_path / "config.yaml")
    assert [line["event"] for line in lines if line["event"] in ("ready", "draining", "request")] == [
        "ready",
        "request",
        "draining",
    ]
    assert _key(tmp_path) not in err


def test_sigterm_lets_a_running_answer_finish(tmp_path: Path) -> None:
    """A stream that began before the signal comes to its own end; then the exit status is 0."""
    with serving(write_config(tmp_path, profile="cpu-tiny")) as child:
        connection = _streaming(child, _key(tmp_path), 200)
        child.signal(signal.SIGTERM)
        assert b"data: [DONE]" in _rest(connection)
        connection.close()
        assert child.ended()[0] == 0


def test_a_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    """The first waits for a long answer, the second does not; no worker is left behind."""
    with serving(write_config(tmp_path, profile="cpu-tiny")) as child:
        connection = _streaming(child, _key(tmp_path), 1900)
        _, worker = child.descendants()
        with watching(worker) as descriptor:
            child.signal(signal.SIGINT)
            while child.request("/ready")[0] != 503:
                assert child.process.poll() is None
            child.signal(signal.SIGINT)
            assert child.ended()[0] == 130
            assert has_ended(descriptor)
        assert b"[DONE]" not in _rest(connection)
        connection.close()


def test_workers_end_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    """`kill -9` leaves no orphan."""
    with serving(write_config(tmp_path)) as child:
        _, worker = child.descendants()
        with watching(worker) as descriptor:
            child.signal(signal.SIGKILL)
            assert child.ended()[0] == -signal.SIGKILL
            assert has_ended(descriptor)


def _replace(path: Path, text: str) -> None:
    """Write as editors do: another file takes the name."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def _last_reload_succeeded(child: Served) -> bool:
    metrics = child.request("/metrics")[1].decode()
    name = "vtc_gateway_config_last_reload_successful "
    return float(next(line for line in metrics.splitlines() if line.startswith(name)).removeprefix(name)) == 1


def test_a_changed_file_is_taken_over_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """Replaced by an editor, broken, mended, and by SIGHUP: the log and the metric tell, the last good one serves."""
    path = write_config(tmp_path)
    with serving(path) as child:
        key, good = _key(tmp_path), path.read_text()
        assert _last_reload_succeeded(child)
        _replace(path, good.replace("model: tiny", "model: tiny\n    aliases: [small]"))
        child.log_until("configuration applied")
        assert child.request("/v1/models/small", key)[0] == 200

        _replace(path, good.replace("tenants:", "tenantz:"))
        assert "tenantz" in child.log_until("configuration rejected")
        assert not _last_reload_succeeded(child)
        assert child.request("/v1/models/small", key)[0] == 200

        _replace(path, good.replace("file: alice.key", "file: alice.key, disabled: true"))
        child.log_until("configuration applied")
        assert _last_reload_succeeded(child)
        assert child.request("/v1/models", key)[0] == 401

        child.signal(signal.SIGHUP)
        child.log_until("configuration applied")
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0


def test_a_change_during_the_start_is_not_lost(tmp_path: Path) -> None:
    """The file that changed while a worker was loading is read when the gateway serves."""
    path = write_config(tmp_path)
    with serving(path, ["--create-keys"]) as child:
        child.log_until('"state":"loading"')
        _replace(path, path.read_text().replace("model: tiny", "model: tiny\n    aliases: [small]"))
        assert "aliases" in child.log_until("configuration applied")
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0


def test_modules_of_the_folder_it_is_started_in_are_not_imported(tmp_path: Path) -> None:
    """Neither by the gateway nor by its supervisor or worker, whatever lies there under the names that they import."""
    folder = tmp_path / "of the user"
    folder.mkdir()
    for name in ("backend", "yaml", "orjson", "aiohttp", "typer", "random"):
        (folder / f"{name}.py").write_text("raise SystemExit('a module of the user')\n")
    (folder / "backend").mkdir()
    (folder / "backend" / "__init__.py").write_text("raise SystemExit('a package of the user')\n")
    with serving(write_config(tmp_path), folder=folder) as child:
        assert child.request("/v1/chat/completions", _key(tmp_path), _body(3))[0] == 200
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0


def test_a_port_in_use_is_reported_in_words(tmp_path: Path) -> None:
    """Exit status 1, the port and what to do; no worker is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(write_config(tmp_path), ["--create-keys", "--port", str(port)]) as child:
            status, out, err = child.ended()
    assert (status, out) == (1, "")
    reason = json.loads(err.splitlines()[-1])["reason"]
    assert f"port {port} of 127.0.0.1 is in use" in reason and "--port" in reason


def test_a_broken_configuration_is_reported_fault_by_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, each fault with its line."""
    path = tmp_path / "config.yaml"
    path.write_text("listn: {port: 1}\npools: []\n")
    with pytest.raises(ConfigError):
        load(path)
    assert serve(ServeOptions(path)) == 1
    assert f"{path}:1: listn" in capsys.readouterr().err


def test_a_worker_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 1 where the embedded engine ends at once."""
    path = write_config(tmp_path)
    monkeypatch.setattr("gateway.watch.supervisor.sys.executable", "/bin/false")
    assert serve(ServeOptions(path, create_keys=True)) == 1


def test_an_interrupt_during_the_start_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops the gateway while a worker is slow to start does not wait for it; SIGHUP meanwhile is harmless."""
    path = write_config(tmp_path)
    cancelled = []

    async def never(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    monkeypatch.setattr(LaunchedWorkers, "started", never)
    assert serve(ServeOptions(path, create_keys=True)) == 0
    assert cancelled


def test_the_process_takes_as_many_descriptors_as_it_may() -> None:
    """Whatever the shell that started it says at first."""
    script = (
        "import resource as r; from gateway.cli.serve import raise_descriptor_limit; "
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (256, hard)); "
        "raise_descriptor_limit(); print(r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard))"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert child.stdout == "True\n"
