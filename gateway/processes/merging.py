"""One answer of several: the metrics of all processes as one text, their readiness as one, their states side by side.

Metrics come in pieces and leave in pieces, and are merged in steps of a few milliseconds.
Counters and histograms are summed. For each gauge the catalogue says what makes one number of several (`Together`).
What describes a process itself (its memory, its descriptors) stays one series for each, with the label `process`.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from gateway.proxy.control import Availability
from gateway.telemetry.catalogue import StateFamilies
from gateway.telemetry.every_family import every_family
from gateway.telemetry.families import LINES_AT_ONCE, Together, number
from gateway.watch.outages import Readiness

_RULES: Mapping[str, Together] = {family.name: family.together for family in every_family()}
_BYTES_AT_ONCE: Final = 2**17  # of a text that is merged: a thousand lines or two
_PROCESS_UP = StateFamilies().process_up
_BEST_FIRST = tuple(Readiness)
_SUMMED_OF_POOL = ("queued", "in_flight")
_SUMMED_OF_WORKER = ("sequences_in_flight", "prefill_tokens_in_flight", "kv_demand_tokens")


class MergedMetrics:
    """The texts of several processes, merged line by line."""

    def __init__(self) -> None:
        self._heads: dict[str, list[str]] = {}  # by family, in the order in which they came
        self._kinds: dict[str, str] = {}
        self._values: dict[str, dict[str, int | float]] = {}

    def add(self, process: str, pieces: Iterable[bytes]) -> Iterator[None]:
        """Add the text of `process`."""
        return self._add(pieces, process, counts_only=False)

    def add_ended(self, pieces: Iterable[bytes]) -> Iterator[None]:
        """Add what a process that has ended had counted; its gauges say nothing any more."""
        return self._add(pieces, "", counts_only=True)

    def show_process(self, process: str, *, is_up: bool) -> None:
        """Say whether a process has answered."""
        self._heads[_PROCESS_UP.name] = _PROCESS_UP.head().splitlines()
        self._values.setdefault(_PROCESS_UP.name, {})[_PROCESS_UP.prefix((process,)).rstrip()] = int(is_up)

    def write(self) -> Generator[None, None, list[bytes]]:
        """The merged text in pieces."""
        pieces: list[bytes] = []
        for family, head in self._heads.items():
            samples = iter(self._values.get(family, {}).items())
            lines = [*head, *_written(samples)]
            while len(lines) >= LINES_AT_ONCE:
                pieces.append(_joined(lines))
                yield
                lines = _written(samples)
            pieces.append(_joined(lines))
        return pieces

    def _add(self, pieces: Iterable[bytes], process: str, *, counts_only: bool) -> Iterator[None]:
        family, rule, values = "", Together.SUM, {}
        is_left_out = False
        for lines in _lines(pieces):
            for line in lines:
                if line.startswith("# "):
                    family = self._note_head(line)
                    rule = _RULES.get(family, Together.EACH)
                    values = self._values.setdefault(family, {})
                    is_left_out = counts_only and (rule is Together.EACH or self._kinds.get(family) == "gauge")
                elif line and not is_left_out:
                    sample, _, written = line.rpartition(" ")
                    if rule is Together.EACH:
                        sample = _of_process(sample, process)
                    value = int(written) if written.isdigit() else float(written)
                    known = values.get(sample)
                    values[sample] = value if known is None else rule.join(known, value)
            yield

    def _note_head(self, line: str) -> str:
        _, what, family, rest = line.split(" ", 3)
        head = self._heads.setdefault(family, [])
        if len(head) < 2:
            head.append(line)
        if what == "TYPE":
            self._kinds[family] = rest
        return family


def _lines(pieces: Iterable[bytes]) -> Iterator[list[str]]:
    """The lines of a text, some at a time."""
    rest = b""
    for piece in pieces:
        for start in range(0, len(piece), _BYTES_AT_ONCE):
            whole, _, rest = (rest + piece[start : start + _BYTES_AT_ONCE]).rpartition(b"\n")
            yield whole.decode().split("\n")
    yield rest.decode().split("\n")


def _written(samples: Iterator[tuple[str, int | float]]) -> list[str]:
    return [f"{sample} {number(value)}" for sample, value in islice(samples, LINES_AT_ONCE)]


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _of_process(sample: str, process: str) -> str:
    """The sample with the label `process`."""
    name, brace, labels = sample.partition("{")
    return f'{name}{{process="{process}",{labels}' if brace else f'{name}{{process="{process}"}}'


def merged_availability(answers: Mapping[str, Availability | None]) -> Availability:
    """What all say together: the best of the processes that answer and do not drain.

    A new connection goes to a process that accepts, and one that has lost a worker finds it again at a probe. So a
    machine is taken from a balancer only if none of its processes could serve.
    """
    spoken = {name: answer for name, answer in answers.items() if answer is not None}
    serving = [answer for answer in spoken.values() if not answer.is_draining]
    pools: dict[str, Readiness] = {}
    for answer in serving or spoken.values():
        for pool, readiness in answer.pools.items():
            pools[pool] = min(pools.get(pool, readiness), readiness, key=_BEST_FIRST.index)
    words = {name: "no answer" if answer is None else _word(answer) for name, answer in answers.items()}
    return Availability(pools, is_draining=not serving, processes=words)


def _word(answer: Availability) -> str:
    if answer.is_draining:
        return "draining"
    return min(answer.pools.values(), key=_BEST_FIRST.index, default=Readiness.NO_WORKER).value


def merged_state(states: Mapping[str, dict[str, Any] | None]) -> dict[str, object]:
    """Every process's whole state by its name (null: no answer), and sums over them."""
    spoken = [state for state in states.values() if state is not None]
    return {
        "sums": {
            "pools": _sums((state["pools"] for state in spoken), ("pool",), _SUMMED_OF_POOL),
            "workers": _sums((state["workers"] for state in spoken), ("pool", "worker"), _SUMMED_OF_WORKER),
            "requests": sum(state["requests"]["total"] for state in spoken),
        },
        "processes": states,
    }


def _sums(
    lists: Iterable[Sequence[Mapping[str, Any]]], names: Sequence[str], summed: Sequence[str]
) -> list[dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for entries in lists:
        for entry in entries:
            place = tuple(entry[name] for name in names)
            sums = found.setdefault(place, {name: entry[name] for name in names} | dict.fromkeys(summed, 0))
            for field in summed:
                sums[field] += entry[field]
    return list(found.values())
