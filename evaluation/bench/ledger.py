"""What the ledger costs, and how long starts and reports take with a month of rows.

Each turn runs in a process of its own. Turns with a ledger and without one alternate, so that whatever else the machine
does meets both. What a row costs the writer depends on the machine's disk and on how cold its caches are between two
commits, so it is judged beside SQLite alone, which puts the same rows into a table of the same kind at the same pace.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from evaluation.bench.ledger_file import make_file, report_seconds, start_seconds
from evaluation.bench.ledger_load import Load, Turn, finished, floor_seconds, run_turn
from evaluation.metrics.statistics import median
from evaluation.report.delivery import Delivery, Report
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_most, number
from gateway.compilation import IS_COMPILED
from gateway.ledger.report import Subject

BUSY: Final = Load(1000, 0.02)
LOADS: Final = (BUSY, Load(100, 0.02), Load(100, 2.0))
MOST_OVER_FLOOR: Final = 3.0
SUBJECTS: Final = (Subject.TENANT, Subject.KEY, Subject.MODEL, Subject.END_USER)


@dataclass(frozen=True, slots=True)
class LedgerOptions(Delivery):
    """What to run: `rows` in the large file, `seconds` of each turn; files lie in `folder` (None: the system's)."""

    rows: int = 10_000_000
    rounds: int = 5
    seconds: float = 5.0
    folder: Path | None = None


@dataclass(slots=True)
class Series:
    """The turns of one load, and what SQLite alone took for each row, in seconds."""

    load: Load
    kept: list[Turn] = field(default_factory=list)
    plain: list[Turn] = field(default_factory=list)
    floor_seconds: list[float] = field(default_factory=list)

    @property
    def writer_us(self) -> float:
        """What a row costs the writer's thread."""
        return median([turn.writer_seconds / turn.rows for turn in self.kept]) * 1e6

    @property
    def floor_us(self) -> float:
        """What it costs SQLite alone."""
        return median(self.floor_seconds) * 1e6

    @property
    def loop_us(self) -> float:
        """What a request costs the event loop, beyond what it costs without a ledger."""
        pairs = zip(self.kept, self.plain, strict=True)
        return median([kept.loop_seconds / kept.rows - plain.loop_seconds / plain.rows for kept, plain in pairs]) * 1e6

    def lag_ms(self, turns: Sequence[Turn]) -> float:
        """The p99 of the loop's lag in `turns`."""
        return median([turn.lag_p99_seconds for turn in turns]) * 1e3

    @property
    def more_lag_ms(self) -> float:
        """By how much the p99 of the loop's lag is larger with a ledger."""
        return self.lag_ms(self.kept) - self.lag_ms(self.plain)


@dataclass(frozen=True, slots=True)
class LargeFile:
    """How long it took with the large file, in seconds; `reports` by what they add up by."""

    rows: int
    start_seconds: float
    reports: Mapping[str, float]


async def measure(options: LedgerOptions) -> Report:
    """Run every turn, then the large file."""
    progress = Progress()
    series = [Series(load) for load in LOADS]
    with TemporaryDirectory(dir=options.folder, prefix="ledger-bench-") as folder:
        for place in range(options.rounds):
            for each in series:
                progress.step(f"round {place + 1}: {each.load.name}")
                _play(each, options.seconds, folder)
        progress.step(f"a file of {options.rows:,} rows")
        large = _large_file(Path(folder), options.rows)
    progress.clear()
    return Report(
        title="ledger",
        setting={"rows": options.rows, "rounds": options.rounds, "seconds": options.seconds, "compiled": IS_COMPILED},
        verdicts=verdicts(series, large),
        measurements={"turns": {each.load.name: asdict(each) for each in series}, "large file": asdict(large)},
        sheets=[_costs(series), _times(large)],
    )


def _play(series: Series, seconds: float, folder: str) -> None:
    """One turn with a ledger, one without, and SQLite alone."""
    series.kept.append(_apart(run_turn, series.load, seconds, folder))
    series.plain.append(_apart(run_turn, series.load, seconds, None))
    series.floor_seconds.append(_apart(floor_seconds, series.load.rate, seconds, folder))


def _apart(call: Callable[..., Any], *arguments: object) -> Any:
    """What `call` returns in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def _large_file(folder: Path, rows: int) -> LargeFile:
    file = folder / "1.sqlite"
    _apart(make_file, file, rows)
    start = _apart(start_seconds, file, finished(0))
    reports = {
        subject.value: min(_apart(report_seconds, folder, subject) for _ in range(2))  # the second finds the file read
        for subject in SUBJECTS
    }
    return LargeFile(rows, start, reports)


def verdicts(series: Sequence[Series], large: LargeFile) -> list[Verdict]:
    """The verdict on every target."""
    (busy,) = (each for each in series if each.load == BUSY)
    rows = f"{large.rows:,} rows"
    beside = f"{number(busy.writer_us)} us of the processor against {number(busy.floor_us)} us"
    return [
        at_most(f"a row's cost over that of SQLite alone, {busy.load.rate:,}/s", MOST_OVER_FLOOR, " x").judge(
            busy.writer_us / busy.floor_us, beside
        ),
        at_most("the event loop's share of a request", 3.0, " us").judge(busy.loop_us),
        *(
            at_most(f"more lag of the loop at p99, {each.load.name}", 0.5, " ms").judge(each.more_lag_ms)
            for each in series
        ),
        at_most(f"from the start to the first row, {rows}", 2.0, " s").judge(large.start_seconds),
        *(
            at_most(f"a month by {subject}, {rows}", 5.0, " s").judge(seconds)
            for subject, seconds in large.reports.items()
        ),
    ]


def _costs(series: Sequence[Series]) -> Sheet:
    heads = ("requests", "writer us a row", "SQLite alone us", "loop us a request", "lag p99 ms", "without ledger ms")
    rows = [
        SheetRow(
            (
                each.load.name,
                *(
                    number(figure)
                    for figure in (
                        each.writer_us,
                        each.floor_us,
                        each.loop_us,
                        each.lag_ms(each.kept),
                        each.lag_ms(each.plain),
                    )
                ),
            )
        )
        for each in series
    ]
    return Sheet("cost of the ledger", heads, rows, words=1)


def _times(large: LargeFile) -> Sheet:
    rows = [SheetRow(("start", number(large.start_seconds)))]
    rows += [SheetRow((f"report by {name}", number(seconds))) for name, seconds in large.reports.items()]
    return Sheet(f"with {large.rows:,} rows", ("what", "seconds"), rows, words=1)
