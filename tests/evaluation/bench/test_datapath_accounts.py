"""The accounts of the data path's bench: processor time, memory, lateness, events, ratios, by hand-computed cases."""

import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from evaluation.bench.datapath.client import Order, StreamClient, gaps, lateness
from evaluation.bench.datapath.contenders import CONTENDERS, ProxySetup
from evaluation.bench.datapath.engine import STREAM_HEAD, Frames
from evaluation.bench.datapath.findings import CPU, FIGURES, MEMORY, SHARE, Findings, verdicts
from evaluation.bench.datapath.loads import BURST, CROWD, FEW, FEW_SHORT, MANY, ONE_WORKER, Observation
from evaluation.bench.processes import family, processor_seconds, program_name, resident_bytes

SEEN = Observation(done=1000, faults=0, window_seconds=2.0, processor_seconds=0.016, added_bytes=100_000_000)


def write_process(proc: Path, pid: int, parent: int, nanoseconds: list[int], pages: int) -> None:
    """A process as `/proc` shows it: threads that ran so long, 3.5 s in the ticks of `stat`."""
    process = proc / str(pid)
    for number, spent in enumerate(nanoseconds):
        (process / "task" / str(pid + number)).mkdir(parents=True)
        (process / "task" / str(pid + number) / "schedstat").write_text(f"{spent} 7 7\n")
    ticks = os.sysconf("SC_CLK_TCK")
    (process / "task").mkdir(parents=True, exist_ok=True)
    user, system = 3 * ticks, ticks // 2
    (process / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1 0 -1 0 0 0 0 0 {user} {system} 0 0\n")
    (process / "statm").write_text(f"9999 {pages} 5 1 0 9 0\n")


def test_processor_time_is_that_of_every_thread_of_the_family(tmp_path: Path) -> None:
    """A process, its child and its grandchild with four threads in all; a stranger and one that ended do not count."""
    write_process(tmp_path, 10, 1, [1_500_000_000, 500_000_000], pages=100)
    write_process(tmp_path, 20, 10, [250_000_000], pages=50)
    write_process(tmp_path, 15, 20, [500_000_000], pages=25)
    write_process(tmp_path, 30, 1, [9_000_000_000], pages=900)
    members = family(10, tmp_path)
    assert members == [10, 20, 15]
    assert processor_seconds([*members, 77], tmp_path) == pytest.approx(2.75)
    assert resident_bytes([*members, 77], tmp_path) == 175 * os.sysconf("SC_PAGE_SIZE")


def test_a_process_has_the_name_of_its_program(tmp_path: Path) -> None:
    """As the kernel tells it; one that has ended has none."""
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "comm").write_text("redis-server\n")
    assert program_name(10, tmp_path) == "redis-server"
    assert program_name(11, tmp_path) == ""


def test_without_the_schedulers_account_the_ticks_count(tmp_path: Path) -> None:
    """A kernel without `schedstat`: user and system time of `stat`."""
    write_process(tmp_path, 10, 1, [1], pages=1)
    (tmp_path / "10" / "task" / "10" / "schedstat").unlink()
    assert processor_seconds([10], tmp_path) == pytest.approx(3.5)


def test_this_process_has_used_time_and_memory() -> None:
    """The real `/proc`."""
    assert processor_seconds([os.getpid()]) > 0
    assert resident_bytes([os.getpid()]) > 1_000_000
    assert os.getpid() in family(os.getppid())


def test_lateness_is_against_the_streams_own_pace() -> None:
    """A token that is held up is late; what comes after it on time is not early, a constant delay is not late."""
    arrivals = [5.0, 5.1, 5.27, 5.3, 5.42]
    assert gaps(arrivals) == pytest.approx([0.1, 0.17, 0.03, 0.12])
    assert lateness(arrivals, 0.1) == pytest.approx([0.0, 0.0, 0.07, 0.0, 0.02])
    assert lateness([], 0.1) == []
    assert max(lateness([1.3, 1.4, 1.5], 0.1)) == pytest.approx(0.0)


def test_events_are_counted_however_they_are_cut() -> None:
    """At every size of reads a stream has its role, its tokens and its end, and the client knows that it ended."""
    frames = Frames("none")
    body = STREAM_HEAD + frames.role + b"".join(frames.tokens(3)[:2]) + frames.end(3)
    for size in range(1, len(body) + 1, 7):
        client = StreamClient()
        client.answer.tokens = 3
        for start in range(0, len(body), size):
            assert not client.ended.is_set() and not client.answer.is_whole, size
            client.data_received(body[start : start + size])
        assert client.ended.is_set() and client.answer.is_whole, size


def test_a_request_has_as_much_history_as_was_drawn() -> None:
    """A short question without one; with one the messages of users and assistants in turn, of about that size."""
    order = Order(FEW, 1, ["key"])
    assert len(order.request(0, 5)) < 400
    for wanted in (1_000, 30_000, 100_000):
        body = order.request(0, 5, wanted).partition(b"\r\n\r\n")[2]
        assert len(body) == pytest.approx(wanted, rel=0.3)
        roles = [message["role"] for message in orjson.loads(body)["messages"]]
        assert roles[:3] == ["user", "assistant", "user"]


def test_cost_and_memory_are_per_chunk_and_connection() -> None:
    """16 ms for 1,000 chunks are 16 us; 100 MB for 5,000 streams are 20 kB."""
    assert FIGURES[CPU](FEW, SEEN) == pytest.approx(16.0)
    assert FIGURES[SHARE](FEW, SEEN) == pytest.approx(0.8)
    assert FIGURES[MEMORY](CROWD, SEEN) == pytest.approx(20.0)
    assert math.isnan(FIGURES[CPU](FEW, replace(SEEN, done=0)))


def rounds(findings: Findings, name: str, costs: list[float], load: object = FEW) -> None:
    """Rounds in which a chunk cost so many microseconds."""
    for number, each in enumerate(costs):
        findings.add(load, name, number, replace(SEEN, processor_seconds=each / 1e6 * SEEN.done))  # type: ignore[arg-type]


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which the machine was slow for both does not count against either."""
    findings = Findings()
    rounds(findings, "gateway", [12.0, 60.0, 15.0])
    rounds(findings, "nginx", [10.0, 50.0, 10.0])
    (verdict,) = verdicts(findings)
    assert verdict.measured == pytest.approx(1.2)


def test_an_odd_round_is_found_until_it_is_repeated() -> None:
    """More than a tenth off nginx's median, the furthest first; without nginx no round is odd."""
    findings = Findings()
    rounds(findings, "gateway", [1.0, 9.0])
    assert findings.odd_round(FEW) is None
    rounds(findings, "nginx", [10.0, 10.9, 8.8, 10.0, 12.0])
    assert findings.odd_round(FEW) == 4
    findings.add(FEW, "nginx", 4, replace(SEEN, processor_seconds=0.0102))
    assert findings.odd_round(FEW) == 2
    findings.add(FEW, "nginx", 2, replace(SEEN, processor_seconds=0.0102))
    assert findings.odd_round(FEW) is None


def test_targets_are_judged_where_their_peer_was_measured() -> None:
    """nginx may cost a quarter less; Envoy must cost more; a proxy that is not there is no verdict."""
    findings = Findings()
    for load in (FEW, MANY):
        rounds(findings, "gateway", [15.0], load)
        rounds(findings, "nginx", [12.5], load)
        rounds(findings, "envoy", [15.0], load)
    rounds(findings, "gateway", [90.0], FEW_SHORT)
    rounds(findings, "smg", [80.0], FEW_SHORT)
    rounds(findings, "gateway", [6.0], ONE_WORKER)
    judged = {verdict.target.name: verdict.passed for verdict in verdicts(findings)}
    assert judged["CPU, 64 streams: gateway over nginx"]
    assert not judged["CPU, 600 streams: gateway over envoy"]
    assert not judged["CPU, 64 short streams: gateway over smg"]
    assert judged["CPU of a core, idle, 1 worker"]
    assert not any("vllm-router" in name for name in judged)


def test_a_figure_is_judged_against_another_of_the_same_proxy() -> None:
    """When 600 streams begin at once, the last are not to wait much longer than half of them."""
    findings = Findings()
    for number, (p50, p99) in enumerate([(0.1, 0.2), (0.1, 0.13), (0.2, 0.28)]):
        findings.add(BURST, "gateway", number, replace(SEEN, first_p50=p50, first_p99=p99))
    (verdict,) = verdicts(findings)
    assert verdict.measured == pytest.approx(1.4) and verdict.passed


@pytest.mark.parametrize("name", [each.name for each in CONTENDERS.values() if not each.module])
def test_a_peers_script_runs_its_program_with_a_whole_configuration(name: str, tmp_path: Path) -> None:
    """A program that prints what it is given: port, engine and every tenant's key reach it, in files too."""
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$@"; find $FOLDER -name "*.*" -exec cat {} +\n')
    program.chmod(0o755)
    setup = ProxySetup(tmp_path, 4711, 4712, "http://127.0.0.1:815", {"a": "one", "b": "two"})
    environment = {**os.environ, **setup.environment(str(program))}
    command = CONTENDERS[name].command(setup)
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "4711" in printed and "815" in printed and "$" not in printed
    assert ("a:one" in printed and "b:two" in printed) is (name == "smg")
