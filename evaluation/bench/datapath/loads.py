"""What is measured: the loads by the part of the bench that they belong to, and what the load client saw of one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Shape(Enum):
    """What kind of load: steady streams, whole answers in a closed loop, new streams at a rate or at once, or none."""

    STREAMS = "streams"
    WHOLE = "whole"
    ARRIVALS = "arrivals"
    BURST = "burst"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Load:
    """One load: `count` connections (a second, for arrivals), `pace` tokens a second of a stream.

    `phases`: from how many engines the streams come. Each engine emits for all its sequences in one step, and the
    engines step out of phase. `EVENLY` spreads the streams as if each had an engine of its own.

    `fresh` gives each measurement a proxy of its own. A process seldom gives memory back, so only one that has seen no
    other load shows how much memory this load takes.
    """

    name: str
    shape: Shape
    count: int
    pace: int = 50
    phases: int = 1
    fresh: bool = False
    seconds: float = 2.0


EVENLY = 20  # the milliseconds between two tokens at 50 a second
FEW = Load("64 streams", Shape.STREAMS, 64)
MANY = Load("600 streams", Shape.STREAMS, 600)
SPREAD = Load("64 streams, evenly spread", Shape.STREAMS, 64, phases=EVENLY)
WHOLE = Load("whole answers", Shape.WHOLE, 32)
ARRIVALS = Load("200 new streams/s", Shape.ARRIVALS, 200, seconds=3.0)
BURST = Load("600 streams begin at once", Shape.BURST, 600)
# At 50 tokens/s each no proxy can carry them on one core of today: a chunk costs the kernel alone several microseconds.
CROWD = Load("5,000 streams", Shape.STREAMS, 5000, pace=10, phases=EVENLY, fresh=True)
IDLE = Load("5,000 idle connections", Shape.IDLE, 5000, fresh=True, seconds=0.5)

CAPACITY = "capacity"
LOADS: Mapping[str, Sequence[Load]] = MappingProxyType(
    {
        "streaming": (FEW, MANY, SPREAD),
        "whole": (WHOLE,),
        "arrivals": (ARRIVALS, BURST),
        "crowd": (CROWD,),
        "idle": (IDLE,),
        CAPACITY: (),
    }
)


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured window; times are in seconds, what was not measured is NaN.

    `done`: chunks of steady streams, or else requests, that reached the client within the window. `faults`: streams
    that were not complete, requests that failed. `added_bytes`: memory that the proxy took since the load began.
    `first_*`: time to the first event of a stream, or to a whole answer. `late_max`: the latest token against its own
    stream's pace.
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
