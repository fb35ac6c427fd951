"""systemd hears which process is the gateway: when it serves, and before the one that it replaces is told to end."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import STUCK_SECONDS, serving

from gateway.cli.service_manager import VARIABLE, NotHeard, ServiceManager

from .several import ARGUMENTS, SILENT_TAKE_OVER, ask, engine, read_until, several, write_config

MOST_BYTES = 4096


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An engine for all tests."""
    with engine() as address:
        yield address


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where systemd listens, as the environment of a service says."""
    path = Path(os.environ["XDG_RUNTIME_DIR"]) / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.settimeout(STUCK_SECONDS)
        monkeypatch.setenv(VARIABLE, str(path))
        yield end


def main_process(ear: socket.socket) -> int:
    """The process that the next message names, which is ready."""
    ready, main = ear.recv(MOST_BYTES).decode().splitlines()
    assert ready == "READY=1" and main.startswith("MAINPID=")
    return int(main.removeprefix("MAINPID="))


@pytest.mark.parametrize("arguments", [("--create-keys", "--announce"), ARGUMENTS], ids=["one", "several"])
def test_a_gateway_says_once_that_it_is_ready(
    arguments: tuple[str, ...], tmp_path: Path, url: str, ear: socket.socket
) -> None:
    """The process that was started says it, none of those that it has started itself; nobody says that it ends."""
    with serving(write_config(tmp_path, url), arguments) as child:
        assert child.url
        assert main_process(ear) == child.process.pid
        assert ask(child, tmp_path) == 200
        child.signal(signal.SIGTERM)
        assert child.ended()[0] == 0
    ear.setblocking(False)
    with pytest.raises(BlockingIOError):
        ear.recv(MOST_BYTES)


def test_a_successor_is_the_main_process_before_the_old_one_leaves(
    tmp_path: Path, url: str, ear: socket.socket
) -> None:
    """When the old one has been told that it is replaced, systemd has the message."""
    config = write_config(tmp_path, url)
    with several(config) as first, serving(config, SILENT_TAKE_OVER) as heir:
        assert main_process(ear) == first.process.pid
        read_until(first, '"event":"replaced"')
        ear.setblocking(False)
        assert main_process(ear) == heir.process.pid
        assert first.ended()[0] == 0


def test_a_first_gateway_that_is_not_heard_serves(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable may come from somewhere else; the log says so."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nobody"))
    with several(write_config(tmp_path, url)) as child:
        assert VARIABLE in str(read_until(child, '"event":"service manager"')["reason"])
        assert ask(child, tmp_path) == 200


def test_an_address_outside_the_file_system_is_understood() -> None:
    """It begins with @. Without an address nothing is said."""
    name = f"vtc-gateway-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        environment = {VARIABLE: f"@{name}"}
        ServiceManager(environment).hear_ready()
        assert environment == {}
        assert main_process(end) == os.getpid()
    with pytest.raises(NotHeard, match=name):
        ServiceManager({VARIABLE: f"@{name}"}).hear_ready()
    ServiceManager({}).hear_ready()
