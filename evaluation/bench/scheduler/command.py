"""The bench of the scheduler: trials by waiting tenants, known tenants and queued requests, and their targets."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from evaluation.bench.scheduler.trial import RUNNING, Size, Trial, run_trial
from evaluation.report.delivery import Delivery, Report, deliver
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Comparison, Target, Verdict, number
from gateway.compilation import IS_COMPILED

SIZES: Mapping[str, Sequence[Size]] = {
    "waiting": tuple(Size(waiting) for waiting in (100, 1_000, 10_000, 100_000)),
    "known": tuple(Size(100, known=known) for known in (1_000, 10_000, 100_000, 1_000_000)),
    "queued": tuple(Size(1_000, queued_each=each) for each in (10, 100, 1_000)),
}
FLAT = 2.0  # a heap's logarithm, and a cache that no longer holds everything
MOST_DISPATCH_MICROSECONDS = 20.0
MOST_QUEUE_BYTES = 1e9
_US = 1e6


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """What to run; `most` leaves out the sizes with more tenants or requests than that."""

    most: int = 1_000_000
    rounds: int = 3
    json_file: Path | None = None
    check: bool = False


def run(options: SchedulerOptions) -> int:
    """Run the trials and return the exit status."""
    trials = measure(options)
    report = Report(
        title="scheduler",
        setting={
            "policy": "vtc",
            "predictor": "quantile",
            "running": RUNNING,
            "rounds": options.rounds,
            "compiled": IS_COMPILED,
        },
        verdicts=verdicts(trials),
        measurements={title: [asdict(trial) for trial in series] for title, series in trials.items()},
        sheets=[_sheet(title, series) for title, series in trials.items()],
    )
    return deliver(report, Delivery(options.json_file, options.check))


def measure(options: SchedulerOptions) -> dict[str, list[Trial]]:
    """Every trial, each in a process of its own; of several rounds the fastest, which the machine disturbed least."""
    progress = Progress()
    trials: dict[str, list[Trial]] = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for title, sizes in SIZES.items():
            for size in (size for size in sizes if _largest(size) <= options.most):
                progress.step(f"{title}: {size}")
                rounds = [pool.submit(run_trial, size).result() for _ in range(options.rounds)]
                trials.setdefault(title, []).append(min(rounds, key=lambda trial: trial.dispatch_seconds))
    progress.clear()
    return trials


def _largest(size: Size) -> int:
    return max(size.known, size.waiting * size.queued_each)


def verdicts(trials: Mapping[str, Sequence[Trial]]) -> list[Verdict]:
    """The verdict on every target; a series that was cut short is judged by its largest size."""
    waiting, known, queued = trials["waiting"], trials["known"], trials["queued"]
    most = _requests(queued[-1].size)
    dispatch = Target(
        f"dispatch with {waiting[-1].size.waiting:,} waiting tenants",
        Comparison.AT_MOST,
        MOST_DISPATCH_MICROSECONDS,
        " us",
    )
    held = Target(f"memory of {most:,} queued requests", Comparison.AT_MOST, MOST_QUEUE_BYTES / 1e6, " MB")
    return [
        dispatch.judge(waiting[-1].dispatch_seconds * _US),
        _flat("dispatch, by waiting tenants", waiting, lambda trial: trial.dispatch_seconds),
        _flat("arrival, by waiting tenants", waiting, lambda trial: trial.arrival_seconds),
        _flat("dispatch, by known tenants", known, lambda trial: trial.dispatch_seconds),
        _flat("arrival, by queued requests", queued, lambda trial: trial.arrival_seconds),
        held.judge(queued[-1].resident_bytes / 1e6, f"{queued[-1].resident_bytes / most:,.0f} bytes each"),
    ]


def _flat(name: str, series: Sequence[Trial], figure: Callable[[Trial], float]) -> Verdict:
    least, most = figure(series[0]), figure(series[-1])
    note = f"{number(most * _US)} us against {number(least * _US)} us at the smallest size"
    return Target(f"{name}: largest over smallest", Comparison.AT_MOST, FLAT, " x").judge(most / least, note)


def _requests(size: Size) -> int:
    return size.waiting * size.queued_each


def _sheet(title: str, series: Sequence[Trial]) -> Sheet:
    columns = ("waiting", "known", "queued", "arrival us", "dispatch us", "end us", "worst ms", "requests/s", "MB")
    rows = []
    for trial in series:
        counts = (trial.size.waiting, max(trial.size.known, trial.size.waiting), _requests(trial.size))
        figures = [seconds * _US for seconds in _steps(trial)]
        figures += [trial.worst_seconds * 1e3, trial.requests_per_second, trial.resident_bytes / 1e6]
        rows.append(SheetRow((*(f"{count:,}" for count in counts), *map(number, figures))))
    return Sheet(f"by {title}", columns, rows)


def _steps(trial: Trial) -> tuple[float, float, float]:
    return trial.arrival_seconds, trial.dispatch_seconds, trial.settlement_seconds
