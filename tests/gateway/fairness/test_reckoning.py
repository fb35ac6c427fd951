"""Answers that tell nothing are charged at the pace they had; figures correct it, and nothing passes the ceiling."""

import pytest

from gateway.fairness.reckoning import QUIET_SECONDS
from gateway.learned.speeds import StreamPace
from gateway.usage import Usage

from .bench import STEP_SECONDS, Bench, Job

PACE = 1 / STEP_SECONDS


def quiet(bench: Bench, *, tells_every: int = 10_000, length: int = 400) -> Job:
    """A stream that counts once in `tells_every` tokens, beside others that wait; the pool's pace is known."""
    for _ in range(20):
        bench.admission.pools["p0"].speeds.observe_stream("other", 1, 0.1, StreamPace(101, 100, 100 / PACE))
    job = bench.submit("t", prompt=10, length=length, tells_every=tells_every)
    for number in range(12):
        bench.submit(f"u{number % 3}", prompt=10, length=length)
    return job


def charged(bench: Bench) -> float:
    """Output tokens that the quiet stream's tenant is charged."""
    return (bench.flow("t").service - 10) / 2


def test_a_stream_that_never_counts_is_charged_by_its_time() -> None:
    """At every moment about what was generated, the bound held throughout; at its end exactly its usage."""
    bench = Bench()
    job = quiet(bench)
    for _ in range(3):
        bench.step(100)
        assert charged(bench) == pytest.approx(job.output_tokens, rel=0.15, abs=25)
    assert bench.admission.snapshot(bench.now)[0].estimated_tokens == charged(bench)
    bench.drain()
    assert charged(bench) == 400
    bench.check_books()


def test_the_next_figure_corrects_what_was_reckoned() -> None:
    """Upwards and downwards: within a second of a figure the charge is that figure."""
    bench = Bench()
    job = quiet(bench, tells_every=100)
    bench.step(100)
    job.tells_every = 10_000
    for _ in range(60):
        bench.wait(STEP_SECONDS)  # the engine stands still: what is reckoned is too much
    assert charged(bench) > job.output_tokens + 20
    bench.admission.pools[job.ticket.pool].charge_output(job.ticket, job.output_tokens + 1)
    bench.wait(QUIET_SECONDS)
    bench.wait(STEP_SECONDS)
    assert charged(bench) == job.output_tokens + 1
    bench.check()


def test_what_is_reckoned_stops_at_what_was_asked_for() -> None:
    """An engine that hangs for an hour costs its tenant no more than the answer could have."""
    bench = Bench()
    quiet(bench, length=50)
    bench.step(20)
    for _ in range(100):
        bench.wait(36.0)
    assert charged(bench) == 50
    bench.check()


def test_a_stream_whose_client_is_behind_goes_on_at_its_own_pace() -> None:
    """From the figures of when its client fell behind, a moment of reading between notwithstanding."""
    bench = Bench()
    job = quiet(bench, tells_every=1, length=4_000)
    bench.step(101)
    ticket, since, reported = job.ticket, bench.now, job.output_tokens
    job.tells_every = 10_000
    ticket.fall_behind(bench.now)
    for _ in range(20):
        bench.step(9)
        ticket.resume(bench.now)
        bench.admission.pools[ticket.pool].charge_output(ticket, ticket.output_tokens + 5)
        bench.step()
        ticket.fall_behind(bench.now)
    usage = bench.admission.pools[ticket.pool].estimated_usage(ticket, bench.now)
    assert usage.output_tokens == pytest.approx(reported + PACE * (bench.now - since), rel=0.02)
    assert charged(bench) == pytest.approx(job.output_tokens, rel=0.1)
    bench.release(job, Usage(10, 0, job.output_tokens))
    assert charged(bench) == job.output_tokens


def test_a_stream_that_counts_is_never_reckoned() -> None:
    """Every token told: no charge but its own, at any time."""
    bench = Bench()
    job = quiet(bench, tells_every=1)
    for _ in range(300):
        bench.step()
        assert charged(bench) == job.output_tokens
        assert (
            bench.admission.pools[job.ticket.pool].estimated_usage(job.ticket, bench.now + 0.5).output_tokens
            == job.output_tokens
        )


def test_an_answer_that_is_not_streamed_is_charged_the_steps_of_its_engine() -> None:
    """At half the pace that its pool has shown, since its engine's count says so; at its end nothing is kept of it."""
    bench = Bench()
    for _ in range(20):
        bench.admission.pools["p0"].speeds.observe_stream("other", 1, 0.1, StreamPace(101, 100, 50 / PACE))
    job = bench.submit("t", prompt=10, length=400, reports_at_end=True)
    for step in range(1, 301):
        bench.step()
        if step % 10 == 0:
            bench.admission.running.count("p0w0", step, bench.now)
            if step > 20:
                assert charged(bench) == pytest.approx(job.output_tokens, abs=12)
                usage = bench.admission.pools[job.ticket.pool].estimated_usage(job.ticket, bench.now)
                assert job.output_tokens - 2 <= usage.output_tokens <= job.output_tokens
    bench.release(job, job.usage)
    assert job.ticket.mark is None
    bench.admission.running.count("p0w0", None, bench.now)
    bench.drain()
