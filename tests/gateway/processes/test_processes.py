"""`vtc-gateway serve --processes 2`: one URL, one end, and every process and the store come back when they are lost."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from served import has_ended, serving, watching

from .several import (
    ARGUMENTS,
    ask,
    directory,
    engine,
    gateways,
    key,
    read_until,
    rest_of,
    several,
    store_of,
    streaming,
    without,
    write_config,
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An engine for all tests."""
    with engine() as address:
        yield address


def test_one_url_many_processes_one_end(tmp_path: Path, url: str) -> None:
    """Each process takes part of the connections; SIGTERM ends all of them, the store and the directory, with 0."""
    config = write_config(tmp_path, url)
    with several(config) as child, ExitStack() as watches:
        pids = gateways(child)
        assert len(pids) == 2
        everything = [watches.enter_context(watching(pid)) for pid in child.descendants()]
        asked = {"1": 0, "2": 0}
        while 0 in asked.values():
            assert sum(asked.values()) < 1000
            assert ask(child, tmp_path) == 200
            line = json.loads(child.log_until('"event":"request"'))
            asked[line["process"]] += 1
        assert directory(config).path.stat().st_mode & 0o777 == 0o700
        child.signal(signal.SIGTERM)
        status, out, err = child.ended()
        assert (status, out) == (0, "")
        assert json.loads(err.splitlines()[-1])["event"] == "stopped"
        assert all(has_ended(each) for each in everything)
    assert not directory(config).path.exists()


def test_a_process_that_is_killed_is_replaced(tmp_path: Path, url: str) -> None:
    """The others answer meanwhile; the log says which process ended and how; the new one serves."""
    with several(write_config(tmp_path, url)) as child:
        before = gateways(child)
        os.kill(before[0], signal.SIGKILL)
        line = read_until(child, "gateway process ended")
        assert (line["status"], line["process"], line["level"]) == (-signal.SIGKILL, "parent", "error")
        assert ask(child, tmp_path) == 200
        read_until(child, '"event":"ready"', f'"process":"{line["name"]}"')
        after = gateways(child)
        assert len(after) == 2 and len(set(before) & set(after)) == 1
        assert ask(child, tmp_path) == 200


def test_a_store_that_is_killed_is_started_again(tmp_path: Path, url: str) -> None:
    """Requests are answered before, during and after."""
    with several(write_config(tmp_path, url)) as child:
        store = store_of(child)
        os.kill(store, signal.SIGKILL)
        read_until(child, "store ended")
        assert ask(child, tmp_path) == 200
        read_until(child, "store started again")
        assert store_of(child) != store
        assert ask(child, tmp_path) == 200


def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, url: str) -> None:
    """The gateway processes drain and end, the store ends."""
    with several(write_config(tmp_path, url)) as child, ExitStack() as watches:
        everything = [watches.enter_context(watching(pid)) for pid in child.descendants()]
        assert len(everything) == 4
        child.signal(signal.SIGKILL)
        assert all(has_ended(each) for each in everything)


def test_a_new_gateway_knows_whether_an_earlier_one_lives(tmp_path: Path) -> None:
    """It says so if a process answers whose parent was killed; then the new store waits, as after its loss."""
    with engine("cpu-tiny") as slow, ExitStack() as stack:
        config = write_config(tmp_path, slow)
        first = stack.enter_context(several(config))
        answer = stack.enter_context(streaming(first, key(tmp_path), 1900))
        first.signal(signal.SIGKILL)
        first.process.wait()
        second = stack.enter_context(several(config))
        line = read_until(second, "an earlier gateway has not ended")
        assert line["processes"]
        assert ask(second, tmp_path) == 200
        answer.close()
        second.signal(signal.SIGTERM)
        assert second.ended()[0] == 0
        with several(config) as third:
            third.signal(signal.SIGTERM)
            assert "has not ended" not in third.ended()[2]


def test_a_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    """An answer that would take long is cut off; the exit status is 130."""
    with engine("cpu-tiny") as slow, several(write_config(tmp_path, slow)) as child, ExitStack() as watches:
        everything = [watches.enter_context(watching(pid)) for pid in child.descendants()]
        answer = watches.enter_context(streaming(child, key(tmp_path), 1900))
        child.signal(signal.SIGINT)
        read_until(child, '"event":"draining"')
        child.signal(signal.SIGINT)
        assert child.ended()[0] == 130
        assert all(has_ended(each) for each in everything)
        assert b"[DONE]" not in rest_of(answer)


def test_sighup_reaches_every_process(tmp_path: Path, url: str) -> None:
    """Each reads the configuration again and says so under its own name."""
    with several(write_config(tmp_path, url)) as child:
        child.signal(signal.SIGHUP)
        names = {read_until(child, "configuration applied")["process"] for _ in range(2)}
        assert names == {"1", "2"}


def test_without_a_store_program_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 1, what is missing and what helps; nothing is left."""
    monkeypatch.setenv("PATH", without(tmp_path / "bin", "valkey-server", "redis-server"))
    config = write_config(tmp_path, "http://127.0.0.1:9")
    with serving(config, ARGUMENTS) as child:
        status, out, err = child.ended()
    assert (status, out) == (1, "")
    reason = json.loads(err.splitlines()[-1])["reason"]
    assert "valkey-server" in reason and "replicas.store" in reason
    assert not directory(config).path.exists()


def test_a_process_that_cannot_start_ends_the_start(tmp_path: Path, url: str) -> None:
    """The parent does not try again and again what has never worked; it ends with 1 and leaves nothing behind."""
    config = write_config(tmp_path, url)
    stopper = tmp_path / "sitecustomize.py"
    stopper.write_text("import os\nif 'VTC_GATEWAY_MEMBER' in os.environ:\n    os._exit(3)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with serving(config, ARGUMENTS) as child:
            status, _, err = child.ended()
    assert status == 1
    assert "ended with status 3 before it was ready" in json.loads(err.splitlines()[-1])["reason"]
    assert not directory(config).path.exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("scheduler: {policy: fcfs}", "`vtc`"),
        (f"admin: {{listen: '127.0.0.1:8001', key: {{sha256: '{'0' * 64}'}}}}", "`admin.listen`"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(section: str, said: str, tmp_path: Path) -> None:
    """The option is held to what the configuration's own `processes` is held to."""
    config = write_config(tmp_path, "http://127.0.0.1:9")
    config.write_text(f"{config.read_text()}{section}\n")
    with serving(config, ARGUMENTS) as child:
        status, out, err = child.ended()
    assert (status, out) == (1, "") and "--processes" in err and said in err


def test_the_configuration_says_how_many(tmp_path: Path, url: str) -> None:
    """Three by the file, without an option; a reload finds nothing changed in them."""
    config = write_config(tmp_path, url)
    config.write_text(config.read_text() + "processes: 3\n")
    with several(config, ("--create-keys", "--announce")) as child:
        assert len(gateways(child)) == 3
        child.signal(signal.SIGHUP)
        assert read_until(child, "configuration applied")["needs_restart"] == []
