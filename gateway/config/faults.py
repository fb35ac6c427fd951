"""Collects what is wrong with a configuration: faults with file, line, dotted path, plain words and a remedy.

Faults are collected, never raised one by one. A fault without a line of its own follows from values. An earlier fault
at the same place, above it or below it, hides it, because the consequence of a mistake is not a second mistake. Text
from the file is shown with printable characters only, and in one line.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

Step = str | int
Path = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in `file`; `path` is dotted (`tenants[2].weight`) and empty for the file as a whole."""

    file: str
    line: int
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: "
        where = f"{self.path}: " if self.path else ""
        return f"{place}{where}{self.message}" + (f"; {self.remedy}" if self.remedy else "")


class ConfigError(Exception):
    """The configuration cannot be used; `faults` lists everything that is wrong with it, by line."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class FaultLog:
    """Collects the faults of one file with their places, and warnings of settings that are probably not meant."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: Mapping[Path, int] = {}
        self._found: dict[Path, tuple[int | None, str, str]] = {}
        self._with_prefixes: set[Path] = set()
        self._warnings: dict[Path, tuple[str, str]] = {}
        self._guesses: set[Path] = set()

    def guess(self, path: Path) -> None:
        """Note that the value at `path` is not known here, so that what follows from it is no fault."""
        self._guesses.add(path)
        self._with_prefixes.update(_prefixes(path))

    @property
    def guesses(self) -> frozenset[Path]:
        """Every place whose value is not known."""
        return frozenset(self._guesses)

    def warn(self, path: Path, message: str, remedy: str) -> None:
        """Note a setting at `path` that is valid but probably not meant."""
        self._warnings.setdefault(path, (message, remedy))

    def add(self, path: Path, message: str, remedy: str, *, line: int | None = None) -> None:
        """Note a fault at `path`, unless it has no `line` of its own and an earlier fault explains it."""
        if line is not None or not self.covers(path):
            self._found.setdefault(path, (line, message, remedy))
            self._with_prefixes.update(_prefixes(path))

    def covers(self, path: Path) -> bool:
        """True if there is a fault, or a value that is not known, at `path`, above it or below it."""
        return path in self._with_prefixes or any(
            prefix in self._found or prefix in self._guesses for prefix in _prefixes(path)
        )

    def __iter__(self) -> Iterator[Path]:
        return iter(self._found)

    def raise_any(self) -> None:
        """Raise `ConfigError` if there is a fault."""
        if self._found:
            raise ConfigError(self.faults())

    def faults(self) -> tuple[Fault, ...]:
        """The faults in the order of their lines."""
        return self._placed((path, line, message, remedy) for path, (line, message, remedy) in self._found.items())

    def warnings(self) -> tuple[Fault, ...]:
        """The warnings in the order of their lines."""
        return self._placed((path, None, message, remedy) for path, (message, remedy) in self._warnings.items())

    def _placed(self, found: Iterable[tuple[Path, int | None, str, str]]) -> tuple[Fault, ...]:
        placed = [
            Fault(
                printable(self.file),
                self._line(path) if line is None else line,
                dotted(path),
                printable(message),
                printable(remedy),
            )
            for path, line, message, remedy in found
        ]
        return tuple(sorted(placed, key=lambda fault: fault.line))

    def _line(self, path: Path) -> int:
        # What is missing has no line of its own: it is reported where it should have been.
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def _prefixes(path: Path) -> Iterator[Path]:
    return (path[:length] for length in range(len(path) + 1))


def dotted(path: Path) -> str:
    """`("tenants", 2, "weight")` as `tenants[2].weight`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_shown(step)}" for step in path)
    return text.removeprefix(".")


def nearest(word: str, known: list[str]) -> str | None:
    """The member of `known` that `word` most likely meant."""
    close = get_close_matches(word.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return close[0] if close else None


def printable(text: str) -> str:
    """`text` with escapes for what a terminal or a log would obey instead of showing it."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _shown(key: str) -> str:
    shown = printable(key)
    return shown if len(shown) <= 60 else shown[:57] + "..."
