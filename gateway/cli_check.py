"""`vtc-gateway check FILE...`: every fault of every file, with its line and its remedy.

Exit status 0 where all files are right, 1 where one is not. The first line of a fault (`file:line: path: message`)
is what editors jump to.
"""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gateway.config import Config, ConfigError, Fault, load


def check(files: Iterable[Path], console: Console | None = None) -> int:
    """Check `files` and print what is wrong with them; the exit status."""
    console = console or Console(soft_wrap=True)
    wrong = sum(not _is_right(file, console) for file in files)
    return 1 if wrong else 0


def _is_right(file: Path, console: Console) -> bool:
    try:
        config = load(file).config
    except ConfigError as error:
        for fault in error.faults:
            console.print(_lines(fault))
        count = len(error.faults)
        console.print(Text(f"{file}: {count} fault{'s' if count > 1 else ''}", style="bold red"))
        return False
    console.print(Text(f"{file}: right ({_summary(config)})", style="green"))
    return True


def _lines(fault: Fault) -> Text:
    text = Text.assemble((f"{fault.file}:{fault.line}: ", "bold"))
    if fault.path:
        text.append(f"{fault.path}: ", style="cyan")
    text.append(fault.message)
    if fault.remedy:
        text.append(f"\n    remedy: {fault.remedy}", style="yellow")
    return text


def _summary(config: Config) -> str:
    workers = sum(len(pool.workers) for pool in config.pools)
    counts = ((len(config.pools), "pool"), (workers, "worker"), (len(config.tenants), "tenant"))
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
