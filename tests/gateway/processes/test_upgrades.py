"""A new gateway takes the port over from the one that runs, under load: no request fails, one store holds the account.

The engine bears witness that there is never more in flight than the window.
`UPGRADES` says how many; `make test-upgrades` does twenty.
"""

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served import Served, has_ended, serving, watching

from gateway.cli.service_manager import VARIABLE

from .several import (
    ARGUMENTS,
    BODY,
    SILENT,
    SILENT_TAKE_OVER,
    TAKE_OVER,
    WINDOW,
    ask,
    directory,
    engine,
    gateways,
    key,
    most_held,
    read_until,
    refused,
    several,
    store_of,
    write_config,
)

UPGRADES = int(os.environ.get("UPGRADES", "2"))


class Load:
    """Clients that ask one after the other, each on a connection that it keeps, as long as it is kept.

    Clients that are `fleeting` have a connection for each request.
    """

    def __init__(self, url: str, secret: str, clients: int, *, fleeting: bool = False) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._url = urlsplit(url)
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        if fleeting:
            self._headers["Connection"] = "close"
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(number,)) for number in range(clients)]

    def _ask_on(self, number: int) -> None:
        assert self._url.hostname is not None
        connection = http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=60)
        body = json.dumps(json.loads(BODY) | {"stream": number % 2 == 0, "max_tokens": 20})
        while not self._is_over.is_set() and len(self.failures) < 10:
            try:
                connection.request("POST", "/v1/chat/completions", body, self._headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200 or (number % 2 == 0 and b"[DONE]" not in content):
                    self.failures.append(f"{answer.status} {content[:200]!r}")
                self.answered += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask until the end of the block, and at least once there."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in self._threads:
                thread.join()


def test_upgrades_under_load_fail_no_request(tmp_path: Path) -> None:
    """Each new gateway serves at the same URL by the same store; each old one ends by itself, with 0."""
    with engine("cpu-tiny") as url, ExitStack() as stack:
        config = write_config(tmp_path, url)
        child = stack.enter_context(several(config))
        store = store_of(child)
        loads = [Load(child.url, key(tmp_path), clients=WINDOW, fleeting=fleeting) for fleeting in (False, True)]
        with loads[0].running(), loads[1].running():
            for number in range(UPGRADES):
                before = [load.answered for load in loads]
                heir = stack.enter_context(serving(config, TAKE_OVER))
                assert heir.url == child.url, heir.ended()[2]
                status, out, err = child.ended()
                assert (status, out) == (0, "") and '"event":"replaced"' in err
                assert all(load.answered > had for load, had in zip(loads, before, strict=True))
                assert [load.failures for load in loads] == [[], []], f"after upgrade {number}"
                child = heir
        assert [load.failures for load in loads] == [[], []]
        assert most_held(url) == WINDOW
        with watching(store) as descriptor:
            assert ask(child, tmp_path) == 200
            child.process.terminate()
            assert child.ended()[0] == 0
            assert has_ended(descriptor)
    assert not directory(config).path.exists()


def test_a_process_that_ends_late_takes_no_name_of_a_later_gateway(tmp_path: Path) -> None:
    """Two upgrades come before the first gateway has ended: the pages of the third show both of its processes."""
    with engine() as url:
        config = write_config(tmp_path, url)
        with several(config) as first:
            late = gateways(first)[0]
            os.kill(late, signal.SIGSTOP)
            with serving(config, TAKE_OVER) as second:
                assert second.url == first.url
                with serving(config, TAKE_OVER) as third:
                    assert third.url == first.url
                    os.kill(late, signal.SIGCONT)
                    assert (first.ended()[0], second.ended()[0]) == (0, 0)
                    status, body = third.request("/ready")
                    assert (status, [*json.loads(body)["processes"].values()]) == (200, ["ready", "ready"])
                    assert len(directory(config).gateways()) == 2, "the other process finds it too"


def test_a_second_gateway_needs_the_word(tmp_path: Path) -> None:
    """Without --take-over it leaves the first alone and says what to do; the first serves on."""
    with engine() as url:
        config = write_config(tmp_path, url)
        with several(config) as child:
            assert "--take-over" in refused(config, ARGUMENTS)
            assert ask(child, tmp_path) == 200


@contextmanager
def starting(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, Path]]:
    """A gateway that is about to start; its processes go on once the file has been made."""
    (folder / "sitecustomize.py").write_text(
        "import os, time\n"
        "while 'VTC_GATEWAY_MEMBER' in os.environ and not os.path.exists(os.environ['MAY_START']):\n"
        "    time.sleep(0.02)\n"
    )
    may_start = folder / "may-start"
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("MAY_START", str(may_start))
    with serving(config, SILENT) as first:
        while len(gateways(first)) < 2:
            assert first.process.poll() is None
            time.sleep(0.02)
        yield first, may_start


def test_a_successor_waits_for_a_gateway_that_is_about_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes it over then; without the word a second gateway says what the matter is."""
    with engine() as url:
        config = write_config(tmp_path, url)
        with starting(config, tmp_path, monkeypatch) as (first, may_start):
            assert "about to start" in refused(config, ARGUMENTS)
            with serving(config, SILENT_TAKE_OVER) as heir:
                read_until(heir, "waiting for the gateway")
                may_start.touch()
                status, _, err = first.ended()
                assert status == 0 and '"event":"replaced"' in err
                heir.url = str(read_until(heir, '"event":"ready"', '"process":"parent"')["url"])
                assert ask(heir, tmp_path) == 200


def test_a_successor_that_waits_for_a_start_in_vain_begins_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway that was about to start has ended: its office, its port and its directory are free."""
    with engine() as url, ExitStack() as stack:
        config = write_config(tmp_path, url)
        first, may_start = stack.enter_context(starting(config, tmp_path, monkeypatch))
        heir = stack.enter_context(serving(config, SILENT_TAKE_OVER))
        read_until(heir, "waiting for the gateway")
        first.signal(signal.SIGKILL)
        first.process.wait()
        may_start.touch()
        heir.url = str(read_until(heir, '"event":"ready"', '"process":"parent"')["url"])
        assert ask(heir, tmp_path) == 200
        heir.signal(signal.SIGTERM)
        assert heir.ended()[0] == 0
    assert not directory(config).path.exists()


def test_a_successor_that_fails_late_fails_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes accept beside the old ones, and then systemd does not hear it: the old gateway serves on."""
    with engine("cpu-tiny") as url:
        config = write_config(tmp_path, url)
        with several(config) as child:
            load = Load(child.url, key(tmp_path), clients=2 * WINDOW, fleeting=True)
            monkeypatch.setenv(VARIABLE, str(tmp_path / "nobody"))
            with load.running():
                for _ in range(3):
                    assert VARIABLE in refused(config, TAKE_OVER)
            assert load.failures == []
            assert load.answered > 0


def test_a_successor_that_fails_changes_nothing(tmp_path: Path) -> None:
    """One that cannot start its processes, and one whose configuration has become wrong; the next succeeds."""
    with engine() as url:
        config = write_config(tmp_path, url)
        with several(config) as child:
            processes, good = gateways(child), config.read_text()
            config.write_text(good + "replicas: {store: 'redis://127.0.0.1:1'}\n")
            assert "store" in refused(config, TAKE_OVER)
            config.write_text(good)
            assert gateways(child) == processes
            assert ask(child, tmp_path) == 200
            with serving(config, TAKE_OVER) as heir:
                assert heir.url == child.url
                assert child.ended()[0] == 0
                read_until(heir, '"event":"ready"', '"process":"parent"')
                assert ask(heir, tmp_path) == 200
