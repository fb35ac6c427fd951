"""The output of a command: sheets on stdout; progress, warnings and faults on stderr."""

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from evaluation.report.document import RowKind, Sheet

PLAIN_WIDTH = 160
_WRAPPED_FROM = 30  # characters: a longer cell may be broken
_STEPS = 200  # of a bar: a run may report a million arrivals
_STYLES = {RowKind.PLAIN: "", RowKind.QUIET: "dim", RowKind.MISSED: "bold red"}


def output_console() -> Console:
    """The console on stdout. Without a terminal it is wide enough for a table."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def say(text: str) -> None:
    """One line on stderr, as it stands."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def show(sheet: Sheet) -> None:
    """A sheet on stdout."""
    output_console().print(table(sheet))


def table(sheet: Sheet) -> Table:
    """A sheet as the terminal has it."""
    title = Text(sheet.title, style="bold") if sheet.title else None
    drawn = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for place, heading in enumerate(sheet.columns):
        is_short = all(len(row.cells[place]) < _WRAPPED_FROM for row in sheet.rows)
        drawn.add_column(heading, justify="right" if sheet.is_number(place) else "left", no_wrap=is_short)
    for row in sheet.rows:
        drawn.add_row(*(Text(cell) for cell in row.cells), style=_STYLES[row.kind])
    return drawn


class Progress:
    """What is being done: a bar with the time left; without a terminal one line per step.

    On a terminal only one display may be live: `clear()` before another begins.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._total = 0.0
        self._unshown = 0.0

    def step(self, what: str, total: float | None = None, unit: str = "s") -> None:
        """A new step began; `total` is its length in `unit`, where that is known."""
        if not self._console.is_terminal:
            self._console.print(f"{what} ({total:.0f} {unit})" if total else what, highlight=False)
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._total, self._unshown = total or 0.0, 0.0
        self._bars.start()
        self._task = self._bars.add_task(what, total=total)

    def advance(self, done: float) -> None:
        """So much more of the current step is done."""
        self._unshown += done
        if self._task is not None and self._unshown * _STEPS >= self._total:
            self._bars.advance(self._task, self._unshown)
            self._unshown = 0.0

    def clear(self) -> None:
        """Take the display away; the next step brings it back."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if self._console.is_terminal:
            self._bars.stop()
