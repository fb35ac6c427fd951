"""What is measured: the loads by the part of the bench that they belong to, and what the load client saw of one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Shape(Enum):
    """What kind of load: steady paced streams, whole answers in a closed loop, new streams at a rate, or none."""

    STREAMS = "streams"
    WHOLE = "whole"
    ARRIVALS = "arrivals"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Load:
    """One load: `count` connections (a second, for arrivals), `pace` tokens a second of a stream.

    `fresh` gives each measurement a proxy of its own. A process seldom gives memory back, so only one that has seen no
    other load shows how much memory this load takes.
    """

    name: str
    shape: Shape
    count: int
    pace: int = 50
    fresh: bool = False
    seconds: float = 2.0


FEW = Load("64 streams", Shape.STREAMS, 64)
MANY = Load("600 streams", Shape.STREAMS, 600)
WHOLE = Load("whole answers", Shape.WHOLE, 32)
ARRIVALS = Load("200 new streams/s", Shape.ARRIVALS, 200, seconds=3.0)
# At 50 tokens/s each no proxy can carry them on one core of today: a chunk costs the kernel alone several microseconds.
CROWD = Load("5,000 streams", Shape.STREAMS, 5000, pace=10, fresh=True)
IDLE = Load("5,000 idle connections", Shape.IDLE, 5000, fresh=True, seconds=0.5)

CAPACITY = "capacity"
LOADS: Mapping[str, Sequence[Load]] = MappingProxyType(
    {
        "streaming": (FEW, MANY),
        "whole": (WHOLE,),
        "arrivals": (ARRIVALS,),
        "crowd": (CROWD,),
        "idle": (IDLE,),
        CAPACITY: (),
    }
)


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured window; times are in seconds, what was not measured is NaN.

    `done`: chunks of a stream, or requests, that reached the client within the window. `faults`: streams that were not
    complete, requests that failed. `added_bytes`: memory that the proxy took since the load began. `first_*`: time
    to the first event of a stream, or to a whole answer. `late_max`: the latest token against its own stream's pace.
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
