"""`/metrics`, `/ready` and `/debug/state` of several processes: one answer, whichever is asked, whoever is silent."""

import json
import os
import signal
from pathlib import Path

from served import Served

from .several import ask, engine, gateways, key, read_until, several, write_config


def series(child: Served, start: str) -> dict[str, float]:
    """The samples of a scrape whose names begin with `start`."""
    status, body = child.request("/metrics")
    assert status == 200
    pairs = (line.rpartition(" ") for line in body.decode().splitlines() if line.startswith(start))
    return {name: float(value) for name, _, value in pairs}


COMPLETED = 'vtc_gateway_requests_total{pool="tiny",tenant="alice",outcome="completed"}'


def completed(child: Served) -> float:
    """How many requests of alice were answered, by the metrics."""
    return series(child, COMPLETED).get(COMPLETED, 0.0)


def test_metrics_count_for_all_and_never_go_back(tmp_path: Path) -> None:
    """Every scrape counts every request, also those of a process that was killed or is frozen, which is named."""
    with engine() as url, several(write_config(tmp_path, url)) as child:
        for number in range(1, 21):
            assert ask(child, tmp_path) == 200
            assert completed(child) == number
        os.kill(gateways(child)[0], signal.SIGKILL)
        read_until(child, "gateway process ended")
        for _ in range(10):
            assert completed(child) == 20
        read_until(child, '"event":"ready"')
        assert completed(child) == 20
        assert series(child, "vtc_gateway_process_up") == {
            f'vtc_gateway_process_up{{process="{name}"}}': 1.0 for name in "12"
        }
        frozen = gateways(child)[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            up = series(child, "vtc_gateway_process_up")
            assert sorted(up.values()) == [0.0, 1.0]
            assert completed(child) == 20
            status, body = child.request("/ready")
            assert status == 200 and "no answer" in json.loads(body)["processes"].values()
        finally:
            os.kill(frozen, signal.SIGCONT)


def test_a_process_that_cannot_start_again_is_named(tmp_path: Path) -> None:
    """The others serve on, and every page says which one is missing."""
    with engine() as url:
        config = write_config(tmp_path, url)
        with several(config) as child:
            config.write_text("pools: none\n")
            os.kill(gateways(child)[0], signal.SIGKILL)
            read_until(child, "gateway process ended")
            assert sorted(series(child, "vtc_gateway_process_up").values()) == [0.0, 1.0]
            status, body = child.request("/ready")
            assert status == 200 and sorted(json.loads(body)["processes"].values()) == ["no answer", "ready"]


def test_state_shows_every_process(tmp_path: Path) -> None:
    """Under the admin key: each process's whole dump, and sums."""
    with engine() as url:
        config = write_config(tmp_path, url)
        config.write_text(config.read_text() + "admin: {key: {file: admin.key}}\n")
        (tmp_path / "admin.key").write_text("vtc-" + "a" * 43 + "\n")
        with several(config) as child:
            assert ask(child, tmp_path) == 200
            assert child.request("/debug/state", key(tmp_path))[0] == 401
            status, body = child.request("/debug/state", (tmp_path / "admin.key").read_text().strip())
            state = json.loads(body)
            assert status == 200 and set(state["processes"]) == {"1", "2"}
            assert state["sums"]["pools"] == [{"pool": "tiny", "queued": 0, "in_flight": 0}]
            assert all(each["gateway"]["version"] for each in state["processes"].values())
