"""`vtc-gateway check FILE...`: every fault of every file, with its line and its remedy.

The exit status is 0 if all files are valid, else 1; warnings do not change it. Editors can jump to the first line of a
fault (`file:line: path: message`).
"""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gateway.config import ConfigError, Fault, Loaded, load
from gateway.processes.store import StoreMissing, store_program


def check(files: Iterable[Path], console: Console | None = None, *, has_environment: bool = True) -> int:
    """Check `files` and print what is wrong with them; returns the exit status.

    If `has_environment` is false, variables and key files that are missing here are taken on trust.
    """
    console = console or Console(soft_wrap=True)
    wrong = sum(not _is_valid(file, console, has_environment) for file in files)
    return 1 if wrong else 0


def _is_valid(file: Path, console: Console, has_environment: bool) -> bool:
    try:
        loaded = load(file, is_complete=has_environment)
    except ConfigError as error:
        for fault in error.faults:
            console.print(_lines(fault))
        count = len(error.faults)
        console.print(Text(f"{file}: {count} fault{'s' if count > 1 else ''}", style="bold red"))
        return False
    for warning in loaded.warnings:
        console.print(Text("warning: ", style="yellow").append_text(_lines(warning)))
    if has_environment:
        _look_for_store(loaded, console)
    console.print(Text(f"{file}: valid ({_summary(loaded)})", style="green"))
    return True


def _look_for_store(loaded: Loaded, console: Console) -> None:
    """Warn if several processes would start a store that this machine does not have."""
    if loaded.config.processes == 1 or loaded.config.replicas is not None:
        return
    try:
        store_program()
    except StoreMissing as missing:
        console.print(Text("warning: ", style="yellow").append(f"{loaded.path}: {missing}"))


def _lines(fault: Fault) -> Text:
    text = Text.assemble((f"{fault.file}:{fault.line}: ", "bold"))
    if fault.path:
        text.append(f"{fault.path}: ", style="cyan")
    text.append(fault.message)
    if fault.remedy:
        text.append(f"\n    remedy: {fault.remedy}", style="yellow")
    return text


def _summary(loaded: Loaded) -> str:
    config, warnings = loaded.config, len(loaded.warnings)
    workers = sum(len(pool.workers) for pool in config.pools)
    counts = ((len(config.pools), "pool"), (workers, "worker"), (len(config.tenants), "tenant"))
    shown = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts]
    if config.processes != 1:
        shown.append(f"{config.processes} processes")
    if config.replicas is not None:
        shown.append(f"fleet {config.replicas.fleet}")
    return ", ".join(shown + [f"{warnings} warning{'' if warnings == 1 else 's'}"] * bool(warnings))
