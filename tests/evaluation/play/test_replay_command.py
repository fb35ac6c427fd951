"""`vtc-gateway replay` plays through a real gateway in virtual time, and prints and writes its results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from virtual_time import run_in_virtual_time
from whole_gateway import Plan, key_of, stage, tenant

from evaluation.play.replay import ReplayOptions, deliver, play, run
from evaluation.play.result import Ended, Result
from evaluation.requests import Request
from evaluation.workloads import ReadOptions, Workload
from evaluation.workloads.traces import write_csv
from gateway.config import Right

TENANTS = {"alice": 1.0, "bob": 1.0}
KEYS = ",".join(f"{name}={key_of(name)}" for name in TENANTS)
# cpu-tiny with four sequences makes some 560 tokens of answers a second: both ask for more than half of it.
PER_SECOND = {"alice": 30, "bob": 10}
SECONDS = 10


def _workload() -> Workload:
    requests = [
        Request(number / rate, name, 16, 32) for name, rate in PER_SECOND.items() for number in range(rate * SECONDS)
    ]
    requests.sort(key=lambda request: request.arrival_seconds)
    return Workload("both", "Two over their share.", SECONDS, TENANTS, tuple(requests))


def _plan(policy: str = "vtc") -> Plan:
    tenants = tuple(tenant(name, allow=frozenset({Right.IGNORE_EOS})) for name in TENANTS)
    return Plan(tenants=tenants, scheduler={"policy": policy, "queue_timeout_seconds": 600})


def _options(url: str, **fields: object) -> ReplayOptions:
    return ReplayOptions("both", ReadOptions(), url, KEYS, **fields)  # type: ignore[arg-type]


def _replayed(policy: str) -> Result:
    async def story() -> Result:
        async with stage(plan=_plan(policy)) as scene:
            return await play(_options(scene.url, grace_seconds=0.0), _workload())

    return run_in_virtual_time(story())


@pytest.mark.parametrize(("policy", "lowest", "highest"), [("vtc", 0.9, 1.1), ("fcfs", 2.5, 3.5)])
def test_a_fair_gateway_is_seen_as_fair_and_an_unfair_one_as_unfair(policy: str, lowest: float, highest: float) -> None:
    """The ratio compares what two tenants over their share received; most requests still wait at the end."""
    alice, bob = _replayed(policy).tenants()
    assert alice.endings[Ended.CUT_OFF] > 0 and bob.endings[Ended.CUT_OFF] > 0
    assert lowest <= alice.service_per_second / bob.service_per_second <= highest


def _result(**fields: object) -> Result:
    """Play three seconds of one small workload through a gateway."""

    async def story() -> Result:
        async with stage(plan=_plan()) as scene:
            return await play(_options(scene.url, **fields), _workload().until(0.5))

    return run_in_virtual_time(story())


@pytest.mark.parametrize(
    "fields",
    [
        {"usage": "final"},
        {"usage": "none"},
        {"chat": True},
        {"ignore_eos": False},
        {"model": "tiny"},
    ],
    ids=str,
)
def test_endpoints_of_every_dialect_are_played_to(fields: dict[str, object]) -> None:
    """Every request completes, and every answer has its length however the endpoint reports tokens."""
    result = _result(**fields)
    assert [each.endings[Ended.COMPLETED] for each in result.tenants()] == [15, 5]
    if fields.get("ignore_eos", True):
        assert {each.record.output_tokens for each in result.played} == {32}
    untold = [text for text in result.warnings() if "without usage" in text]
    assert bool(untold) == (fields.get("usage") == "none")


def test_speed_divides_the_time() -> None:
    """At twice the speed every request leaves in half the time."""
    slow, fast = _result(), _result(speed=2.0)
    for one, other in zip(slow.played, fast.played, strict=True):
        assert other.intended_at - fast.start == pytest.approx((one.intended_at - slow.start) / 2)


def test_a_wrong_ratio_of_bytes_is_reported() -> None:
    """Twice the bytes are twice the tokens with a byte tokenizer; the warning suggests the right value."""
    assert _result(bytes_per_token=1.0).warnings() == []
    (warning,) = _result(bytes_per_token=2.0).warnings()
    assert warning.startswith("prompts came to 2.00 tokens for each that was wanted: divide --token-bytes by 2.00")


def test_the_report_has_every_tenant_and_every_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report has a row for each tenant and an entry for each request, with times from the replay's start."""
    file = tmp_path / "report.json"
    options = _options("http://gateway", json_file=file)
    assert deliver(options, replace(_workload(), notes=("read as csv",)), _result()) == 0
    printed = capsys.readouterr()
    rows = [line.split()[:3] for line in printed.out.splitlines()[1:]]
    assert rows == [["alice", "15", "15"], ["bob", "5", "5"]]
    assert "read as csv" in printed.err and "the player was late by" in printed.err
    document = json.loads(file.read_text())
    assert [each["completed"] for each in document["tenants"]] == [15, 5]
    assert all(each["ttft_seconds"]["p50"] <= each["ttft_seconds"]["p99"] for each in document["tenants"])
    requests = document["requests"]
    assert len(requests) == 20
    assert [each["intended_at"] for each in requests] == pytest.approx(
        [request.arrival_seconds for request in _workload().until(0.5).requests]
    )
    assert {each["ended"] for each in requests} == {"completed"}
    assert all(each["ttft_seconds"] + each["intended_at"] <= each["ended_at"] + 1e-9 for each in requests)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "overlaod"}, "did you mean `overload`?"),
        ({"url": "https://127.0.0.1:1"}, "is no http:// URL"),
        ({"keys": "tenant-1=a"}, "no key for tenant-2: add tenant-2=KEY"),
        ({"keys": "absent.txt"}, "absent.txt"),
        ({"model": ""}, "/v1/models: ClientConnectorError"),
        ({}, "no request was served: cannot connect"),
    ],
    ids=str,
)
def test_what_cannot_be_played_is_reported(
    fields: dict[str, str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 1 and stderr has the reason; nobody listens at the address."""
    trace = tmp_path / "trace.csv"
    write_csv([Request(0.0, "tenant-1", 4, 4), Request(0.001, "tenant-2", 4, 4)], trace)
    given = {"source": str(trace), "url": "http://127.0.0.1:1", "model": "tiny", **fields}
    assert run(ReplayOptions(read_options=ReadOptions(), grace_seconds=0.1, **given)) == 1  # type: ignore[arg-type]
    assert words in capsys.readouterr().err
