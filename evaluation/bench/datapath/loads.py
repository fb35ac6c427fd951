"""What is measured: the loads, what the load client is told to do, and what it saw.

Order and observation pass between the client and the bench as JSON: the order as the client's only argument, the
observation as its only line of output.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Self

import orjson

NAN = math.nan


class Shape(Enum):
    """What kind of load: steady paced streams, whole answers in a closed loop, new streams at a rate, or none."""

    STREAMS = "streams"
    WHOLE = "whole"
    ARRIVALS = "arrivals"
    IDLE = "idle"


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


@dataclass(frozen=True, slots=True)
class Order:
    """A load on `port`: `count` connections (a second, for arrivals), measured over `seconds`.

    `pace`: tokens per second of a stream. `keys`: the clients' credentials, taken in turn. `pids`: the processes whose
    costs are read at both ends of the window; `engine_pids`: those of the engine.
    """

    shape: Shape
    port: int
    model: str
    keys: Sequence[str]
    count: int
    seconds: float
    pace: int = 50
    pids: Sequence[int] = ()
    engine_pids: Sequence[int] = ()

    def encode(self) -> str:
        """As an argument."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """The order that `encode` wrote."""
        fields = orjson.loads(text)
        return cls(**{**fields, "shape": Shape(fields["shape"])})


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured window; times are in seconds, memory in bytes, what was not measured is NaN.

    `done`: chunks of a stream, or requests, that reached the client within the window. `faults`: streams that were not
    complete, requests that failed. `first_*`: time to the first event of a stream, or to a whole answer. `late_max`:
    the latest token against its own stream's pace.
    """

    done: int
    window_seconds: float
    faults: int
    processor_seconds: float
    engine_seconds: float
    client_seconds: float
    resident_before: int
    resident_during: int
    first_p50: float = NAN
    first_p99: float = NAN
    gap_p50: float = NAN
    gap_p99: float = NAN
    late_p99: float = NAN
    late_max: float = NAN

    @property
    def cost_seconds(self) -> float:
        """Processor time of the proxy for each chunk, or each request."""
        return self.processor_seconds / self.done if self.done else NAN

    @property
    def per_second(self) -> float:
        """Chunks or requests per second."""
        return self.done / self.window_seconds

    def encode(self) -> bytes:
        """As a line of output; NaN becomes null."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """The observation that `encode` wrote."""
        fields: dict[str, Any] = {name: NAN if value is None else value for name, value in orjson.loads(line).items()}
        return cls(**fields)
