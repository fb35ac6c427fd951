"""What a bench is doing, on stderr: a bar with the time left; without a terminal one line per step."""

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Reports steps. On a terminal only one display may be live: `clear()` before another begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def step(self, what: str, seconds: float | None = None) -> None:
        """A new step began; `seconds` is its length where that is known."""
        if not self._console.is_terminal:
            self._console.print(f"{what} ({seconds:.0f} s)" if seconds else what, highlight=False)
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._bars.start()
        self._task = self._bars.add_task(what, total=seconds)

    def advance(self, seconds: float) -> None:
        """`seconds` of the current step have passed."""
        if self._task is not None:
            self._bars.advance(self._task, seconds)

    def clear(self) -> None:
        """Take the display away; the next step brings it back."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if self._console.is_terminal:
            self._bars.stop()


def error_console() -> Console:
    """The console on stderr."""
    return Console(stderr=True)
