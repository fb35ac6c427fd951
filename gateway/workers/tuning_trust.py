"""Judges whether a reading of an engine's metrics can be true, by what we see of our own requests.

    what cannot be                                              because
    a figure that is no count, a cache fuller than full          it is no such figure
    fewer running than half of ours that got tokens              who gets tokens runs
    less there than we have there, by more than a step's lag     what we sent and has not ended is there
    nothing done while our streams went on                       the figures stand still
    more running than those who share its output                 foreign requests generate too
    a long queue that new requests of ours do not meet           the queue is first come, first served

The first is certain. So is the last if answers came whole before the queue ahead of them can have been served. The
others may last only a moment, because a reading is up to a step old. So they are counted. Each doubtful reading
suspends the tuning, and after three the engine is not trusted. Each plausible reading takes half a doubt away, or a
twentieth while it shows a long queue.
"""

import math
from dataclasses import dataclass

from gateway.workers.sample import EngineSample

DISTRUST = 3.0
_FORGIVEN = 0.5
LAG_SEQUENCES = 2  # so many sequences may come and go within a step
_IDLE_TOKENS = 64  # if our streams got more tokens than this, the engine's figures must have moved
SHORT_QUEUE = 8


@dataclass(frozen=True, slots=True)
class OwnCounts:
    """Our own counts at the time of a reading, in sequences except for tokens.

    `in_flight` and `unread_tokens` count all replicas, everything else this one.
    `lasting` counts requests that were there at the reading before too, and `progressing` those that got tokens since
    then; `lasting_sequences` counts all sequences of the former, some of which may have ended. `prompt` were sent since
    then and have begun. `generated` counts all tokens ever received from the worker. `leapt` were answered before the
    queue ahead of them can have been served.
    """

    in_flight: int = 0
    lasting: int = 0
    progressing: int = 0
    prompt: int = 0
    unread_tokens: int = 0
    generated: int = 0
    leapt: int = 0
    lasting_sequences: int = 0


class Trust:
    """How far one engine's figures are believed."""

    __slots__ = ("_before", "_generated", "_moved_at_tokens", "doubt", "reason")

    def __init__(self) -> None:
        """Start with full trust."""
        self.doubt = 0.0
        self.reason = ""
        self._before: EngineSample | None = None
        self._generated = 0
        self._moved_at_tokens = 0

    @property
    def is_lost(self) -> bool:
        """True if the figures must not be used."""
        return bool(self.reason)

    def judge(self, sample: EngineSample, own: OwnCounts) -> bool:
        """Take in a reading; True if the tuning may act on it."""
        fault = _impossible(sample)
        if fault:
            self.doubt, self.reason = 2 * DISTRUST, fault
            return False
        doubtful = self._doubtful(sample, own)
        if doubtful:
            self.doubt = min(2 * DISTRUST, self.doubt + (DISTRUST if own.leapt else 1.0))
        else:
            is_proof = sample.waiting <= own.in_flight + SHORT_QUEUE  # a reading during a long queue proves little
            self.doubt = max(0.0, self.doubt - (_FORGIVEN if is_proof else _FORGIVEN / 10))
        if self.doubt >= DISTRUST:
            self.reason = doubtful or self.reason
        elif not self.doubt:
            self.reason = ""
        self._before, self._generated = sample, own.generated
        return not self.doubt

    def _doubtful(self, sample: EngineSample, own: OwnCounts) -> str:
        running, waiting = int(sample.running), int(sample.waiting)
        if 2 * running < own.progressing - LAG_SEQUENCES:
            return f"says that it runs {running} while {own.progressing} of ours get tokens"
        if running + waiting < own.lasting - max(LAG_SEQUENCES, own.lasting // 4):
            return f"says that it has {running + waiting} while {own.lasting} of ours are there"
        if self._stands_still(sample, own):
            return "its figures stand still while our streams go on"
        if self._claims_others(sample, own):
            return f"says that it runs {running}, but nobody besides our {own.in_flight} gets tokens"
        if own.leapt or (waiting > SHORT_QUEUE + 4 * own.prompt and own.prompt > 0 and waiting > own.in_flight):
            return f"says that {waiting} wait, but ours do not meet them"
        return ""

    def _stands_still(self, sample: EngineSample, own: OwnCounts) -> bool:
        before = self._before
        totals = (sample.steps, sample.step_tokens, sample.output_tokens)
        if before is None or totals == (None, None, None):
            return False
        if totals != (before.steps, before.step_tokens, before.output_tokens):
            self._moved_at_tokens = own.generated
        return own.generated - self._moved_at_tokens > _IDLE_TOKENS

    def _claims_others(self, sample: EngineSample, own: OwnCounts) -> bool:
        before = self._before
        if before is None or sample.output_tokens is None or before.output_tokens is None:
            return False
        ours, all_tokens = own.generated - self._generated, sample.output_tokens - before.output_tokens
        claimed = sample.running > 2 * own.in_flight + SHORT_QUEUE
        return claimed and ours > _IDLE_TOKENS and all_tokens < 1.5 * ours


def _impossible(sample: EngineSample) -> str:
    figures = {
        "running": sample.running,
        "waiting": sample.waiting,
        "deferred": sample.deferred,
        "KV cache usage": sample.kv_usage,
    }
    for name, value in figures.items():
        if value is not None and not (math.isfinite(value) and value >= 0.0):
            return f"{name} cannot be {value}"
    if sample.kv_usage is not None and sample.kv_usage > 1.01:
        return f"KV cache usage cannot be {sample.kv_usage}"
    return ""
