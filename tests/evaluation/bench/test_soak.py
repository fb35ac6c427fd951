"""The soak's judgement: growth is seen, and a charge that is not what the engine counted is named."""

import pytest

from evaluation.bench.soak import Footprint, compare, growth_per_100_000, rise

PAGE = """\
# HELP process_open_fds Number of open file descriptors.
process_resident_memory_bytes 7.3400320e+07
process_open_fds 42.0
vtc_gateway_tasks 17
vtc_gateway_requests_total{pool="tiny",tenant="alice",outcome="completed"} 90
vtc_gateway_requests_total{pool="tiny",tenant="_none",outcome="unauthenticated"} 10
"""


def line(
    outcome: str, request_id: str, tokens: int, worker: str = "bench/engine-1", streamed: bool = True
) -> dict[str, object]:
    """A request's line of the gateway's log."""
    fields = {"outcome": outcome, "request_id": request_id, "worker": worker, "streamed": streamed}
    return fields | {"output_tokens": tokens, "event": "request"}


def witness(**tokens: int) -> dict[str, object]:
    """What an engine counted, by the ids under which it knows the requests."""
    return {
        "requests": {f"chatcmpl-{name}": {"output_tokens": count, "sequences": 1} for name, count in tokens.items()}
    }


def test_a_metrics_page_is_read() -> None:
    """Memory in MiB, descriptors, tasks, and requests over all tenants."""
    assert Footprint.parse(3.0, PAGE) == Footprint(3.0, 100.0, 70.0, 42.0, 17.0)


@pytest.mark.parametrize("mib_each", [0.0, 0.00002, 0.001])
def test_growth_is_the_slope_over_requests(mib_each: float) -> None:
    """Whatever the level and whenever the samples were taken."""
    samples = [Footprint(at, at * at, 60 + mib_each * at * at, 9, 9) for at in range(50)]
    assert growth_per_100_000(samples) == pytest.approx(100_000 * mib_each)


def test_a_level_that_rises_is_reported_and_one_that_jumps_back_is_not() -> None:
    """The medians of the first and the last third."""
    assert rise([40, 41, 40, 60, 70, 60, 40, 41, 40]) == 0
    assert rise([40, 40, 40, 50, 50, 50, 60, 60, 60]) == pytest.approx(0.5)


def test_what_was_charged_is_held_against_the_engine_that_served() -> None:
    """Exactly where the answer ended by itself, within two steps where its client left; other ends are not compared."""
    log = [
        line("completed", "a", 10),
        line("completed", "b", 9),
        line("completed", "c", 5, "bench/engine-2"),
        line("client_gone_streaming", "d", 8),
        line("client_gone_streaming", "e", 7),
        line("client_gone_streaming", "f", 1, streamed=False),
        line("client_gone_waiting", "h", 0),
        line("client_gone_waiting", "i", 0),
        line("client_gone_waiting", "unsent", 0, ""),
        line("worker_lost_streaming", "g", 1),
        line("internal", "h", 0, ""),
    ]
    engines = {"engine-1": witness(a=10, b=10, c=99, d=10, e=10, f=50, g=50, h=2, i=3), "engine-2": witness(c=5)}
    books = compare(log, engines)
    assert (books.ended, books.unlike) == (3, [("b", 9, 10)])
    assert (books.left, books.left_unlike) == (4, [("e", 7, 10), ("i", 0, 3)])
    assert books.internal == 1
