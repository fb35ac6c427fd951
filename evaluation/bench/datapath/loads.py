"""What is measured: the loads, and what the load client saw of one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from evaluation.workloads.sources import load as workload


class Shape(Enum):
    """What kind of load it is."""

    STREAMS = "streams"  # users who ask again once they have been answered
    WHOLE = "whole"  # answers that are not streamed, in a closed loop
    BURST = "burst"  # streams that begin at once
    IDLE = "idle"  # connections that wait
    REST = "rest"  # a gateway that nobody asks


@dataclass(frozen=True, slots=True)
class Load:
    """One load: `count` connections (of workers, for rest), `pace` tokens a second of a stream.

    `phases`: from how many engines the streams come. Each engine emits for all its sequences in one step, and the
    engines step out of phase. `EVENLY` spreads the streams as if each had an engine of its own.

    `lengths`: the tokens of an answer are drawn from these. Where there are none, every stream is steady: it begins
    before the measured window and ends after it. A connection carries `answers_each` answers. `has_history`: a request
    has the messages of a conversation, 1 to 100 kB, and not one short question.

    `fresh` gives each measurement a proxy of its own. A process seldom gives memory back, so only one that has seen no
    other load shows how much memory this load takes.
    """

    name: str
    shape: Shape
    count: int
    pace: int = 50
    phases: int = 1
    lengths: Sequence[int] = ()
    answers_each: int = 1
    has_history: bool = False
    fresh: bool = False
    seconds: float = 2.0


EVENLY = 20  # the milliseconds between two tokens at 50 a second
SHORT_TOKENS = 50
# With the lengths of the paper's real trace: half of the answers have more than 211 tokens.
TRACE = tuple(request.output_tokens for request in workload("arena_like").requests)

FEW = Load("64 streams", Shape.STREAMS, 64)
MANY = Load("600 streams", Shape.STREAMS, 600)
SPREAD = Load("64 streams, evenly spread", Shape.STREAMS, 64, phases=EVENLY)
FEW_SHORT = Load("64 short streams", Shape.STREAMS, 64, lengths=(SHORT_TOKENS,))
MANY_SHORT = Load("600 short streams", Shape.STREAMS, 600, lengths=(SHORT_TOKENS,))
CHATS = Load("600 chats", Shape.STREAMS, 600, phases=4, lengths=TRACE, answers_each=2, has_history=True)
WHOLE = Load("whole answers", Shape.WHOLE, 32)
BURST = Load("600 streams begin at once", Shape.BURST, 600)
# At 50 tokens/s each no proxy can carry them on one core of today: a chunk costs the kernel alone several microseconds.
CROWD = Load("5,000 streams", Shape.STREAMS, 5000, pace=10, phases=EVENLY, fresh=True)
IDLE = Load("5,000 idle connections", Shape.IDLE, 5000, fresh=True, seconds=0.5)
ONE_WORKER = Load("idle, 1 worker", Shape.REST, 1, fresh=True, seconds=5.0)
MANY_WORKERS = Load("idle, 250 workers", Shape.REST, 250, fresh=True, seconds=5.0)

LOADS: Mapping[str, Load] = MappingProxyType(
    {
        "steps-64": FEW,
        "steps-600": MANY,
        "spread": SPREAD,
        "short-64": FEW_SHORT,
        "short-600": MANY_SHORT,
        "chats": CHATS,
        "whole": WHOLE,
        "burst": BURST,
        "crowd": CROWD,
        "idle": IDLE,
        "rest-1": ONE_WORKER,
        "rest-250": MANY_WORKERS,
    }
)
"""By the names that a command line has for them."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured window; times are in seconds, what was not measured is NaN.

    `done`: the chunks of streams that reached the client within the window; or requests, where the load is none of
    streams that go on. `faults`: streams that were not complete, requests that failed. `added_bytes`: memory that the
    proxy took since the load began. `first_*`: time to the first token of a stream that began within the window, or to
    a whole answer. `late_max`: the latest token against its own stream's pace.
    """

    done: int
    faults: int
    window_seconds: float
    processor_seconds: float
    added_bytes: int
    first_p50: float = math.nan
    first_p99: float = math.nan
    gap_p50: float = math.nan
    gap_p99: float = math.nan
    late_max: float = math.nan
