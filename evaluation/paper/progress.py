"""How far the runs are, on stderr: a bar with the time left; without a terminal a line per tenth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A bar over a known number of steps."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown before `over`."""
        self._console = console

    @contextmanager
    def over(self, steps: int) -> Iterator[Callable[[], None]]:
        """Show the bar while the block runs; call the function given after each step."""
        if not self._console.is_terminal:
            yield _tenths(self._console, steps)
            return
        columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=steps)
            yield lambda: progress.advance(task)


def _tenths(console: Console, steps: int) -> Callable[[], None]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done * 10 // steps > (done - 1) * 10 // steps:
            console.print(f"{done} of {steps}", highlight=False)

    return advance
