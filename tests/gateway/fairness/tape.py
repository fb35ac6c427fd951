"""A random workload read from a tape of bytes: Hypothesis draws and shrinks one byte string, not a thousand choices."""

from gateway.fairness import KvTime, Linear, Profiled
from gateway.fairness.cost import CostFunction
from gateway.usage import Usage
from gateway.workers import WindowSize

from .bench import Bench, Job

WEIGHTS = (0.5, 1.0, 1.0, 3.0)
COSTS: tuple[CostFunction, ...] = (Linear(), Linear(1.0, 2.0, 0.1), Profiled(), KvTime())
PREDICTORS = ("none", "quantile", "oracle", "moving_average", "noisy_oracle")


class Tape:
    """Bytes read one after the other; zeros when they run out."""

    def __init__(self, data: bytes) -> None:
        self.left = list(reversed(data))

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        return (self.left.pop() if self.left else 0) % limit


def play(data: bytes, policy: str = "vtc", *, has_liars: bool = False, bench_type: type[Bench] = Bench) -> Bench:
    """Run the workload on `data` to its end, checking every step; `has_liars` lets engines report less at last."""
    tape = Tape(data)
    bench = _bench(tape, policy, bench_type)
    while tape.left:
        _OPERATIONS[tape.below(len(_OPERATIONS))](bench, tape, has_liars)
        bench.check()
    bench.drain()
    bench.check_books()
    return bench


def _bench(tape: Tape, policy: str, bench_type: type[Bench]) -> Bench:
    express = (0, 0, 1, 3)[tape.below(4)]
    window = WindowSize(1 + tape.below(4), tape.below(2), (4, 30, 1000)[tape.below(3)], express)
    bench = bench_type(
        policy,
        PREDICTORS[tape.below(5)],
        parameter=(None, 3)[tape.below(2)],
        cost=COSTS[tape.below(len(COSTS))],
        pools=1 + tape.below(2),
        workers=1 + tape.below(2),
        window=window,
        max_queued=(3, 8, 1000)[tape.below(3)],
        queue_timeout_seconds=(0.5, 1e6)[tape.below(2)],
        locality_quantum=(0.0, 0.0, 5.0, 100.0)[tape.below(4)],
    )
    for name in "abc":
        bench.tenant(name, WEIGHTS[tape.below(4)], max_in_flight=(None, None, 1, 3)[tape.below(4)])
    return bench


def _submit(bench: Bench, tape: Tape, has_liars: bool) -> None:
    who, size, shape = tape.below(256), tape.below(256), tape.below(256)
    prompt, length = 1 + size % 16, 1 + (size >> 4)
    sequences = (1, 1, 1, 2)[shape & 3]
    bench.submit(
        "abcd"[who & 3],
        key="xy"[who >> 2 & 1],
        pool=f"p{(who >> 3 & 1) % len(bench.admission.pools)}",
        prompt=prompt,
        length=max(length, sequences),
        most=max(length, sequences) + (shape >> 2 & 3) * 5,
        estimate=(prompt, prompt, 1, 2 * prompt)[shape >> 4 & 3],
        sequences=sequences,
        reports_at_end=shape >> 6 & 1 == 1,
        cached=prompt // 2 if shape >> 7 else 0,
        prefill_steps=1 + (who >> 4 & 3),
        affinity=who >> 6,
    )


def _step(bench: Bench, tape: Tape, has_liars: bool) -> None:
    bench.step(1 + tape.below(3))


def _running(bench: Bench, tape: Tape) -> Job | None:
    jobs = list(bench.running.values())
    return jobs[tape.below(len(jobs))] if jobs else None


def _abort(bench: Bench, tape: Tape, has_liars: bool) -> None:
    """A client leaves a running request: it pays for what was generated."""
    job = _running(bench, tape)
    if job is not None:
        usage = job.usage if job.output_tokens else None
        if has_liars and usage is not None:
            usage = Usage(usage.prompt_tokens, 0, usage.output_tokens // 2)
        bench.release(job, usage)


def _withdraw(bench: Bench, tape: Tape, has_liars: bool) -> None:
    jobs = list(bench.waiting.values())
    if jobs:
        bench.withdraw(jobs[tape.below(len(jobs))])


def _requeue(bench: Bench, tape: Tape, has_liars: bool) -> None:
    job = _running(bench, tape)
    if job is not None and job.output_tokens == 0:
        bench.requeue(job, ("", job.ticket.worker)[tape.below(2)])


def _late_requeue(bench: Bench, tape: Tape, has_liars: bool) -> None:
    """The longest-running unstarted request comes back: others have been served meanwhile."""
    for job in bench.running.values():
        if job.output_tokens == 0:
            bench.requeue(job)
            return


def _idle(bench: Bench, tape: Tape, has_liars: bool) -> None:
    bench.wait(tape.below(8) / 4)


def _reconfigure(bench: Bench, tape: Tape, has_liars: bool) -> None:
    name = "abc"[tape.below(3)]
    bench.tenant(name, WEIGHTS[tape.below(4)], max_in_flight=(None, 1, 2, 4)[tape.below(4)])
    for pool in bench.admission.pools:
        bench.carry_out(bench.admission.dispatch(pool, bench.now), pool)


_OPERATIONS = (
    *(_submit,) * 8,
    *(_step,) * 6,
    _abort,
    _withdraw,
    _requeue,
    _late_requeue,
    _idle,
    _reconfigure,
)
