"""Workers that the gateway starts: killed under load, replaced one by one on reload, and gone with everything else."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from raw_client import Answer, ask
from served import Served, has_ended, serving

CLIENTS = 8  # each asks again as soon as it is answered
ADMIN_KEY = "vtc-" + "d" * 43
CONFIG = """\
listen: {{port: 0, drain_seconds: 60}}
admin: {{key: {{file: admin.key}}}}
pools:
  - model: tiny
    engine_model: {engine_model}
    window: {{sequences: {sequences}, slack: {slack}, prefill_tokens: 100000}}
    timeouts: {{stall_seconds: {stall_seconds}}}
    workers:
      - launch:
          {{engine: embedded, count: {count}, profile: {profile}, max_failed_starts: {limit}, start_seconds: {patience},
            drain_seconds: {patience}, environment: [{environment}]}}
tenants:
  - name: alice
    keys: [{{id: main, file: alice.key}}]
  - name: mallory
    keys: [{{id: main, file: mallory.key}}]
"""
TERMS = {
    "count": 2,
    "profile": "cpu-tiny",
    "limit": "null",
    "engine_model": "tiny",
    "sequences": 2,
    "slack": 1,
    "patience": 600,
    "environment": "",
    "stall_seconds": 300,  # beyond any that a busy machine makes of an engine
}


def _write(folder: Path, **terms: object) -> Path:
    path = folder / "config.yaml"
    draft = path.with_suffix(".new")
    draft.write_text(CONFIG.format(**TERMS | terms))
    key = folder / "admin.key"
    if not key.exists():
        key.write_text(ADMIN_KEY)
        key.chmod(0o600)
    draft.replace(path)
    return path


def _change(child: Served, folder: Path, **terms: object) -> None:
    """Another configuration takes the place of the present one."""
    _write(folder, **terms)
    child.signal(signal.SIGHUP)  # its file may have changed before it was watched


def _state(child: Served) -> Any:
    status, body = child.request("/debug/state", ADMIN_KEY)
    assert status == 200
    return json.loads(body)


def _until_ready(child: Served, restarts: int, worker: str = "tiny/w0") -> None:
    """Ask for the state until a worker is ready in a life after `restarts` deaths."""
    while True:
        (found,) = (each for each in _state(child)["launched"] if each["worker"] == worker)
        if found["state"] == "ready" and found["restarts"] >= restarts:
            return


def _ask(child: Served, folder: Path, tenant: str, prompt: str, path: str = "/v1/completions") -> tuple[int, bytes]:
    body: dict[str, object] = {"model": "tiny", "prompt": prompt}
    if path == "/v1/completions":
        body |= {"max_tokens": 20, "min_tokens": 20, "stream": tenant == "mallory"}
    return child.request(path, (folder / f"{tenant}.key").read_text().strip(), json.dumps(body).encode())


@contextmanager
def _crowd(
    child: Served, folder: Path, paths: Sequence[str] = ("/v1/completions",)
) -> Iterator[list["Future[list[int]]"]]:
    """Clients that ask on and on while the context lasts; each one's statuses."""
    enough = Event()

    def ask_on(path: str) -> list[int]:
        statuses = []
        while not enough.is_set():
            statuses.append(_ask(child, folder, "alice", f"hello {len(statuses)}", path)[0])
        return statuses

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(ask_on, paths[number % len(paths)]) for number in range(CLIENTS)]
        try:
            yield asked
        finally:
            enough.set()


def _statuses(asked: list["Future[list[int]]"]) -> set[int]:
    return {status for each in asked for status in each.result()}


def _ends_well(child: Served) -> bool:
    """Stop the gateway: status 0, and no error in all of its log."""
    child.signal(signal.SIGTERM)
    status, _, _ = child.ended()
    assert [line for line in child.log if '"level":"error"' in line] == []
    return status == 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_changed_launch_replaces_worker_after_worker_without_a_failed_request(count: int, tmp_path: Path) -> None:
    """Another profile while clients ask on and on: every process is another one, every answer is 200."""
    with serving(_write(tmp_path, count=count)) as child:
        supervisor, *before = child.descendants()
        with _crowd(child, tmp_path) as asked:
            _change(child, tmp_path, count=count, profile="instant")
            for worker in range(count):
                child.log_until(f'"worker":"tiny/w{worker}","state":"draining"')
                assert count == 1 or _serves(child, f"tiny/w{1 - worker}")
                child.log_until(f'"worker":"tiny/w{worker}","state":"ready"')
        assert _statuses(asked) == {200}
        assert child.descendants()[0] == supervisor
        after = child.descendants()[1:]
        assert len(after) == count
        assert not set(after) & set(before)
        assert _ends_well(child)


def _serves(child: Served, worker: str) -> bool:
    return any(each["worker"] == worker and each["state"] == "serving" for each in _state(child)["workers"])


def test_another_engine_model_is_a_rolling_change_too(tmp_path: Path) -> None:
    """Each worker serves under the new name before the next is touched; requests that take no room are answered too."""
    with serving(_write(tmp_path)) as child:
        _, *before = child.descendants()
        with _crowd(child, tmp_path, ("/v1/completions", "/tokenize")) as asked:
            _change(child, tmp_path, engine_model="tinier")
            for worker in ("tiny/w0", "tiny/w1"):
                child.log_until(f'"worker":"{worker}","state":"draining"')
                child.log_until(f'"worker":"{worker}","state":"ready"')
        assert _statuses(asked) == {200}
        assert not set(child.descendants()[1:]) & set(before)
        assert _ends_well(child)


@pytest.mark.parametrize("terms", [{"patience": 500}, {"limit": "7"}, {"slack": 0}], ids=str)
def test_what_no_process_sees_replaces_none(terms: dict[str, object], tmp_path: Path) -> None:
    """How long a start may take, how often it may fail, the slack of the window: the first process stays the same."""
    with serving(_write(tmp_path)) as child:
        _, *before = child.descendants()
        _change(child, tmp_path, **terms)
        child.log_until("configuration applied")
        _change(child, tmp_path, **terms, count=1)
        while len(child.descendants()) > 2:  # a rolling restart would have begun with the one that stays
            assert _state(child)
        assert child.descendants()[1:] == before[:1]


def test_more_and_fewer_workers_leave_the_others_alone(tmp_path: Path) -> None:
    """`count` up and down while clients ask: the first worker is the same process throughout."""
    with serving(_write(tmp_path, count=1)) as child:
        _, first = child.descendants()
        with _crowd(child, tmp_path) as asked:
            _change(child, tmp_path, count=2)
            child.log_until('"worker":"tiny/w1","state":"ready"')
            _change(child, tmp_path, count=1)
            child.log_until("configuration applied")
            while len(child.descendants()) > 2:
                assert _state(child)
        assert _statuses(asked) == {200}
        assert child.descendants()[1:] == [first]


def test_a_plan_that_does_not_come_up_stops_the_rolling_restart(tmp_path: Path) -> None:
    """The second worker serves on by the old plan, the log has the engine's words; the old plan mends the first."""
    with serving(_write(tmp_path)) as child:
        with _crowd(child, tmp_path) as asked:
            _change(child, tmp_path, profile="nowhere", limit="1")
            line = json.loads(child.log_until('"worker":"tiny/w0","state":"failed"'))
            assert "no profile 'nowhere'" in line["reason"]
            launched = {each["worker"]: each["state"] for each in _state(child)["launched"]}
            assert launched == {"tiny/w0": "failed", "tiny/w1": "ready"}
            metrics = child.request("/metrics")[1].decode()
            assert 'vtc_gateway_worker_up{pool="tiny",worker="tiny/w0",state="failed"} 0' in metrics
            assert child.request("/ready")[0] == 200
            _change(child, tmp_path)
            child.log_until('"worker":"tiny/w0","state":"ready"')
        assert _statuses(asked) == {200}


def test_a_killed_worker_loses_no_request_and_is_back(tmp_path: Path) -> None:
    """`kill -9` of one of two under load: every request is answered, the worker comes back without help."""
    with serving(_write(tmp_path)) as child:
        _, victim, _ = child.descendants()
        with _crowd(child, tmp_path) as asked:
            os.kill(victim, signal.SIGKILL)
            line = json.loads(child.log_until('"state":"back_off"'))
            assert "ended with status -9" in line["reason"]
            _until_ready(child, restarts=1, worker=line["worker"])
        assert _statuses(asked) == {200}
        assert _ends_well(child)


def test_a_worker_killed_under_full_load_costs_its_streams_and_nothing_else(tmp_path: Path) -> None:
    """100 stream, 50 wait at the workers, 200 in the queue: `kill -9` breaks streams of one worker, each told once."""
    with serving(_write(tmp_path, sequences=50, slack=25)) as child:

        async def story() -> list[Answer]:
            key = {"Authorization": f"Bearer {(tmp_path / 'alice.key').read_text().strip()}"}
            bodies = [
                {"model": "tiny", "prompt": f"tea {n}", "max_tokens": 60, "min_tokens": 60, "stream": True}
                for n in range(350)
            ]
            asking = [asyncio.create_task(ask(child.url, "/v1/completions", body, key)) for body in bodies]
            while await asyncio.to_thread(_streaming, child) < 75:
                assert not any(each.done() for each in asking)
            os.kill(child.descendants()[1], signal.SIGKILL)
            return await asyncio.gather(*asking)

        answers = asyncio.run(story())
        broken = [answer for answer in answers if answer.error is not None]
        assert all(answer.status == 200 and answer.is_whole for answer in answers)
        assert all(answer.is_done for answer in answers if answer.error is None)
        assert 0 < len(broken) <= 50
        assert all(b"[DONE]" not in answer.body for answer in broken)
        assert _ends_well(child)


def _streaming(child: Served) -> int:
    """Requests that have had a token."""
    return sum(each["output_tokens"] > 0 for each in _state(child)["requests"]["oldest_first"])


def _with_faults(folder: Path, *script: dict[str, object]) -> str:
    """The environment of engines that suffer `script`, each in all of its lives."""
    file = folder / "faults.json"
    file.write_text(json.dumps({"faults": list(script)}))
    return f"VTC_EMBEDDED_FAULTS={file}"


def test_a_request_that_kills_its_workers_kills_two(tmp_path: Path) -> None:
    """The others' requests are all answered, though both workers died; it is refused with 422, again and at once."""
    environment = _with_faults(tmp_path, {"kind": "exit", "contains": "poison"})
    with serving(_write(tmp_path, environment=environment)) as child:
        with _crowd(child, tmp_path) as asked:
            while not any(each["sequences_in_flight"] for each in _state(child)["workers"]):
                pass
            for _ in range(3):
                status, body = _ask(child, tmp_path, "mallory", "poison")
                assert status == 422
                assert json.loads(body)["error"]["code"] == "request_quarantined"
            for worker in ("tiny/w0", "tiny/w1"):
                _until_ready(child, restarts=0, worker=worker)
        assert _statuses(asked) == {200}
        assert sum(each["restarts"] for each in _state(child)["launched"]) == 2


def test_a_worker_that_stands_still_behind_a_healthy_server_is_started_anew(tmp_path: Path) -> None:
    """Its engine freezes and its `/health` does not: found by its progress, replaced, with its last lines kept."""
    environment = _with_faults(tmp_path, {"kind": "freeze", "contains": "freeze", "after_tokens": 1})
    with serving(_write(tmp_path, count=1, environment=environment, stall_seconds=6)) as child:
        assert _ask(child, tmp_path, "alice", "hello")[0] == 200
        with ThreadPoolExecutor(1) as pool:
            frozen = pool.submit(_ask, child, tmp_path, "mallory", "freeze")
            line = json.loads(child.log_until('"state":"unhealthy"'))
            assert "stalled" in line["reason"]
            _until_ready(child, restarts=1)
            assert _ask(child, tmp_path, "alice", "hello")[0] == 200
            frozen.result()


def test_a_killed_supervisor_is_replaced_with_its_workers(tmp_path: Path) -> None:
    """`kill -9` of the supervisor under load: its workers end with it, others take their place, nothing is refused."""
    with serving(_write(tmp_path)) as child:
        before = child.descendants()
        with _crowd(child, tmp_path) as asked:
            os.kill(before[0], signal.SIGKILL)
            for worker in ("tiny/w0", "tiny/w1"):
                remark = f'"worker":"{worker}","remark":"the supervisor ended with status -9; it is started again'
                assert '"level":"warning"' in child.log_until(remark)
                assert "the supervisor ended" in child.log_until(f'"worker":"{worker}","state":"stopped"')
            for _ in range(2):
                child.log_until('"state":"ready"')
        assert 503 not in _statuses(asked)
        assert not set(child.descendants()) & set(before)
        assert child.request("/ready")[0] == 200


@pytest.mark.parametrize("frozen", [0, 2], ids=["supervisor", "worker"])
def test_nothing_outlives_a_killed_gateway(frozen: int, tmp_path: Path) -> None:
    """`kill -9` of the gateway while one of the others is frozen: the supervisor and every worker end."""
    with serving(_write(tmp_path)) as child:
        descriptors = [os.pidfd_open(pid) for pid in child.descendants()]
        assert len(descriptors) == 3
        signal.pidfd_send_signal(descriptors[frozen], signal.SIGSTOP)
        child.signal(signal.SIGKILL)
        assert [has_ended(descriptor) for descriptor in descriptors] == [True] * 3
        for descriptor in descriptors:
            os.close(descriptor)


def test_a_worker_that_cannot_start_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    """Exit status 1; the reason holds what the engine said."""
    with serving(_write(tmp_path, profile="nowhere")) as child:
        status, out, err = child.ended()
    assert (status, out) == (1, "")
    assert "no profile 'nowhere'" in json.loads(err.splitlines()[-1])["reason"]


def test_launched_workers_have_a_key_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker asks for a key, which is not the one that the gateway's environment may hold for other workers."""
    monkeypatch.setenv("VLLM_API_KEY", "of-another-worker")
    with serving(_write(tmp_path, count=1)) as child:
        key = (tmp_path / "alice.key").read_text().strip()
        body = json.dumps({"model": "tiny", "prompt": "hello", "max_tokens": 1}).encode()
        assert child.request("/v1/completions", key, body)[0] == 200
        worker = Served(child.process)
        worker.url = _state(child)["launched"][0]["url"]
        assert [worker.request("/v1/models", given)[0] for given in (None, "of-another-worker")] == [401, 401]
