"""A new gateway takes the port over from the one that runs, under load: no request fails, one store holds the account.

`UPGRADES` says how many; `make test-upgrades` does twenty.
"""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from served import has_ended, serving, watching

from .several import ARGUMENTS, BODY, ask, directory, engine, gateways, key, read_until, several, store_of, write_config

UPGRADES = int(os.environ.get("UPGRADES", "2"))
TAKE_OVER = (*ARGUMENTS, "--take-over")


class Load:
    """Clients that ask one after the other, each on a connection that it keeps, as long as it is kept."""

    def __init__(self, url: str, secret: str, clients: int) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._url = urlsplit(url)
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
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
        store, load = store_of(child), Load(child.url, key(tmp_path), clients=6)
        with load.running():
            for number in range(UPGRADES):
                before = load.answered
                heir = stack.enter_context(serving(config, TAKE_OVER))
                assert heir.url == child.url, heir.ended()[2]
                status, out, err = child.ended()
                assert (status, out) == (0, "") and '"event":"replaced"' in err
                assert load.answered > before
                assert load.failures == [], f"after upgrade {number}"
                child = heir
        assert load.failures == []
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


def refused(config: Path, arguments: Sequence[str]) -> str:
    """Why a second gateway does not start."""
    with serving(config, arguments) as second:
        status, out, err = second.ended()
    assert (status, out) == (1, "")
    reason: str = json.loads(err.splitlines()[-1])["reason"]
    return reason


def test_a_second_gateway_needs_the_word(tmp_path: Path) -> None:
    """Without --take-over it leaves the first alone and says what to do; the first serves on."""
    with engine() as url:
        config = write_config(tmp_path, url)
        with several(config) as child:
            assert "--take-over" in refused(config, ARGUMENTS)
            assert ask(child, tmp_path) == 200


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
