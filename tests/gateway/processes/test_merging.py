"""One answer of several: sums never go back, each gauge by its rule, readiness by the best."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.long_work import at_once
from gateway.processes.estate import Estate
from gateway.processes.merging import MergedMetrics, merged_availability, merged_state
from gateway.proxy.control import Availability
from gateway.telemetry.every_family import every_family
from gateway.watch.outages import Readiness

READY, WAITING, NO_WORKER = Readiness.READY, Readiness.WAITING, Readiness.NO_WORKER


def text(requests: int, depth: int, *, wait: float = 0.0, descriptors: int = 7) -> str:
    """A process's metrics: a counter, three gauges of different rules, a histogram, and one of its own."""
    return (
        "# HELP vtc_gateway_requests_total Requests.\n# TYPE vtc_gateway_requests_total counter\n"
        f'vtc_gateway_requests_total{{pool="a b",tenant="x"}} {requests}\n'
        "# HELP vtc_gateway_queue_depth Depth.\n# TYPE vtc_gateway_queue_depth gauge\n"
        f'vtc_gateway_queue_depth{{pool="a b",tenant="x"}} {depth}\n'
        "# HELP vtc_gateway_queue_oldest_wait_seconds Wait.\n# TYPE vtc_gateway_queue_oldest_wait_seconds gauge\n"
        f'vtc_gateway_queue_oldest_wait_seconds{{pool="a b",tenant="x"}} {wait}\n'
        "# HELP vtc_gateway_jain_index Index.\n# TYPE vtc_gateway_jain_index gauge\n"
        f'vtc_gateway_jain_index{{pool="a b"}} {1 / (1 + depth)}\n'
        "# HELP vtc_gateway_request_duration_seconds T.\n# TYPE vtc_gateway_request_duration_seconds histogram\n"
        f'vtc_gateway_request_duration_seconds_bucket{{pool="a b",le="+Inf"}} {requests}\n'
        f'vtc_gateway_request_duration_seconds_sum{{pool="a b"}} {requests / 8}\n'
        "# HELP process_open_fds D.\n# TYPE process_open_fds gauge\n"
        f"process_open_fds {descriptors}.0\n"
        "# HELP python_info I.\n# TYPE python_info gauge\n"
        'python_info{version="3"} 1.0\n'
    )


def cut(whole: str) -> list[bytes]:
    """A text in pieces that end anywhere."""
    content = whole.encode()
    return [content[start : start + 100] for start in range(0, len(content), 100)]


def take(steps: Iterator[None]) -> None:
    """Take every step."""
    for _ in steps:
        pass


def shown_by(merged: MergedMetrics) -> str:
    """The merged text."""
    return b"".join(at_once(merged.write())).decode()


def test_each_family_by_its_rule() -> None:
    """Counters, histograms and depths are summed; the longest wait, the worst index; descriptors are each's."""
    merged = MergedMetrics()
    take(merged.add("1", cut(text(3, 1, wait=0.5))))
    take(merged.add("2", cut(text(4, 3, wait=0.25, descriptors=9))))
    merged.show_process("1", is_up=True)
    merged.show_process("3", is_up=False)
    lines = shown_by(merged).splitlines()
    for line in (
        'vtc_gateway_requests_total{pool="a b",tenant="x"} 7',
        'vtc_gateway_queue_depth{pool="a b",tenant="x"} 4',
        'vtc_gateway_queue_oldest_wait_seconds{pool="a b",tenant="x"} 0.5',
        'vtc_gateway_jain_index{pool="a b"} 0.25',
        'vtc_gateway_request_duration_seconds_bucket{pool="a b",le="+Inf"} 7',
        'vtc_gateway_request_duration_seconds_sum{pool="a b"} 0.875',
        'process_open_fds{process="1"} 7.0',
        'process_open_fds{process="2"} 9.0',
        'python_info{process="2",version="3"} 1.0',
        'vtc_gateway_process_up{process="1"} 1',
        'vtc_gateway_process_up{process="3"} 0',
    ):
        assert lines.count(line) == 1, line
    assert len([line for line in lines if line.startswith("# TYPE")]) == 8


def total(merged: MergedMetrics) -> int:
    """The requests that a merged text shows."""
    (line,) = [line for line in shown_by(merged).splitlines() if line.startswith("vtc_gateway_requests_total{")]
    return int(line.rpartition(" ")[2])


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from(["count", "end", "crash", "freeze", "bury"]))))
def test_sums_never_go_back(tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, str]]) -> None:
    """Processes count, end, crash, are silent and are buried, in any order; no scrape shows less than one before."""
    folder: Path = tmp_path_factory.mktemp("estate")
    estate, counts, boots = Estate(folder), dict.fromkeys("123", 0), dict.fromkeys("123", 0)
    unburied: list[str] = []
    shown = 0
    for name, what in story:
        boot = f"{name}-{boots[name]}"
        if what == "count":
            counts[name] += 1
        elif what == "end":
            estate.leave(boot, cut(text(counts[name], 0)))
        elif what == "bury" and unburied:
            estate.bury(unburied.pop())
        if what in ("end", "crash"):
            unburied.append(boot)
            counts[name], boots[name] = 0, boots[name] + 1
        merged, living = MergedMetrics(), set()
        for each in "123":
            if (each, what) != (name, "freeze"):
                own = text(counts[each], 0)
                estate.leave(f"{each}-{boots[each]}", cut(own))
                living.add(f"{each}-{boots[each]}")
                take(merged.add(each, cut(own)))
        for left in estate.left(living):
            take(merged.add_ended(left))
        now = total(merged)
        assert now >= shown
        shown = now


def test_ready_is_the_best_of_those_that_serve() -> None:
    """One that drains or is silent says nothing; the page names each."""
    answers = {
        "1": Availability({"a": NO_WORKER, "b": WAITING}, is_draining=False),
        "2": Availability({"a": READY, "b": NO_WORKER}, is_draining=False),
        "3": Availability({"a": READY, "b": READY}, is_draining=True),
        "4": None,
    }
    merged = merged_availability(answers)
    assert merged.pools == {"a": READY, "b": WAITING} and not merged.is_draining
    assert merged.processes == {"1": "waiting", "2": "ready", "3": "draining", "4": "no answer"}
    assert merged_availability({"3": answers["3"], "4": None}).is_draining


def test_states_lie_side_by_side_with_their_sums() -> None:
    """A silent process is null, and the sums are of the others."""

    def state(queued: int) -> dict[str, object]:
        pool = {"pool": "a", "queued": queued, "in_flight": 1, "spread": 3.0}
        worker = {"pool": "a", "worker": "a/w", "sequences_in_flight": queued}
        worker |= {"prefill_tokens_in_flight": 0, "kv_demand_tokens": 10}
        return {"pools": [pool], "workers": [worker], "requests": {"total": queued + 1}}

    merged = merged_state({"1": state(2), "2": state(5), "3": None})
    assert merged["processes"] == {"1": state(2), "2": state(5), "3": None}
    assert merged["sums"] == {
        "pools": [{"pool": "a", "queued": 7, "in_flight": 2}],
        "workers": [
            {
                "pool": "a",
                "worker": "a/w",
                "sequences_in_flight": 7,
                "prefill_tokens_in_flight": 0,
                "kv_demand_tokens": 20,
            }
        ],
        "requests": 9,
    }


def test_every_family_of_a_gateway_has_a_rule() -> None:
    """None of them becomes one series for each process because nobody has thought of it."""
    merged = MergedMetrics()
    for process in ("a", "b"):
        text_of_all = "".join(
            f"{family.head()}{family.name} 2\n" for family in every_family() if family.kind == "counter"
        )
        at_once(merged.add(process, cut(text_of_all)))
    lines = b"".join(at_once(merged.write())).decode().splitlines()
    counted = {line for line in lines if not line.startswith("#")}
    assert counted == {f"{family.name} 4" for family in every_family() if family.kind == "counter"}
