"""All that a successor needs to go on tuning a worker's window, as text that replicas hand on.

The text is JSON with a version. A text of another version, or one that cannot be true, is unknown: then a successor
goes on with what it knows itself. `readings` counts what the tuners of one worker have read, one after the other. So
the text with more readings is the later one.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import orjson

from gateway.workers.snapshot import Limit
from gateway.workers.tuning_memory import MOST_RESERVE, LearnedMemory
from gateway.workers.tuning_prefill import LADDER, Prefill
from gateway.workers.tuning_sequences import Sequences

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class TunerState:
    """What a tuner has found out; `foreign` are sequences of clients without a gateway, at the last few readings."""

    readings: int
    sequences: Sequences
    prefill: Prefill
    memory: LearnedMemory
    trusted_limit: int
    most_running: int
    last_grown: Limit
    foreign: tuple[int, ...]

    def text(self) -> str:
        """The state as text."""
        known, prefill, memory = self.sequences, self.prefill, self.memory
        words = {
            "version": _VERSION,
            "counts": [self.readings, self.trusted_limit, self.most_running],
            "sequences": [known.limit, known.pace, known.proof, known.calm],
            "prefill": [prefill.rung, prefill.safe_rung, prefill.strikes, prefill.limited_readings],
            "memory": [memory.reserve, memory.share, memory.mean_output_tokens, memory.answers],
            "last_grown": self.last_grown.value,
            "foreign": list(self.foreign),
        }
        return orjson.dumps(words).decode()


def read_state(text: str) -> TunerState | None:
    """The state in `text`; None if it is unknown."""
    try:
        words = orjson.loads(text)
        if not isinstance(words, dict) or words["version"] != _VERSION:
            return None
        readings, trusted_limit, most_running = _counts(words["counts"])
        limit, pace, proof, calm = _counts(words["sequences"])
        rung, safe_rung, strikes, limited_readings = _counts(words["prefill"])
        reserve, share, mean_output_tokens, answers = _amounts(words["memory"])
        last_grown, foreign = Limit(words["last_grown"]), tuple(map(_count, words["foreign"]))
    except (KeyError, TypeError, ValueError):
        return None
    if limit < 1 or max(rung, safe_rung) >= len(LADDER) or not 0.0 < reserve <= MOST_RESERVE:
        return None
    return TunerState(
        readings,
        Sequences(limit, pace, proof, calm),
        Prefill(rung, safe_rung, strikes, limited_readings),
        LearnedMemory(reserve, share, mean_output_tokens, int(answers)),
        trusted_limit,
        most_running,
        last_grown,
        foreign,
    )


def _counts(row: Any) -> list[int]:
    counts = [_count(each) for each in row]
    if min(counts) < 0:
        raise ValueError("a negative count")
    return counts


def _count(word: Any) -> int:
    if not isinstance(word, int) or isinstance(word, bool):
        raise TypeError("no whole number")
    return int(word)


def _amounts(row: Any) -> list[float]:
    amounts = [float(each) for each in row]
    if not all(isfinite(each) and each >= 0.0 for each in amounts):
        raise ValueError("no amount")
    return amounts
