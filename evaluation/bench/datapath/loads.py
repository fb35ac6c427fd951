"""What is measured: the loads, and the parts of the bench that they make up."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from evaluation.bench.datapath.load import Shape


@dataclass(frozen=True, slots=True)
class Load:
    """One load: `count` connections (a second, for arrivals); `fresh` gives each measurement a proxy of its own.

    Memory is only told by a process that has seen no other load: what it once took it seldom gives back.
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


class Part(Enum):
    """A part of the bench that can be run by itself."""

    STREAMING = "streaming"
    WHOLE = "whole"
    ARRIVALS = "arrivals"
    CROWD = "crowd"
    IDLE = "idle"
    CAPACITY = "capacity"


LOADS: Mapping[Part, tuple[Load, ...]] = MappingProxyType(
    {
        Part.STREAMING: (FEW, MANY),
        Part.WHOLE: (WHOLE,),
        Part.ARRIVALS: (ARRIVALS,),
        Part.CROWD: (CROWD,),
        Part.IDLE: (IDLE,),
        Part.CAPACITY: (),
    }
)
