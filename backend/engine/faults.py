"""Scripted failures: what goes wrong with which request.

A fault is matched by the number of the generating request (`nth`, from 1; `every`), by a seeded `probability` or by a
text that its body `contains`, and by path where one is given; the first that matches applies. Matching knows nothing of
tenants. `exchange` and `loop` carry the faults out. `after_tokens` counts generated tokens of one stream; `seconds`
null lasts for ever.
"""

from enum import Enum
from pathlib import Path
from random import Random
from typing import Annotated

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated


class FaultKind(Enum):
    """The closed list of what can go wrong."""

    REFUSE = "refuse"
    STALL_FIRST_BYTE = "stall_first_byte"
    STALL = "stall"
    CUT_EVENT = "cut_event"
    CUT = "cut"
    WRONG_USAGE = "wrong_usage"
    NO_USAGE = "no_usage"
    ERROR_EVENT = "error_event"
    EXIT = "exit"
    FREEZE = "freeze"


@validated(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Fault:
    """One rule. `status` is REFUSE's; `usage_factor` multiplies what WRONG_USAGE reports."""

    kind: FaultKind
    nth: Annotated[int, Field(ge=1)] | None = None
    every: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    contains: Annotated[str, Field(min_length=1)] | None = None
    path: str | None = None
    after_tokens: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] | None = None
    status: Annotated[int, Field(ge=400, le=599)] = 503
    usage_factor: Annotated[float, Field(ge=0)] = 2.0

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.nth, self.every, self.probability, self.contains)) != 1:
            raise ValueError("a fault is matched by exactly one of nth, every, probability, contains")

    def matches(self, number: int, path: str, body: bytes, random: Random) -> bool:
        """True if request `number` on `path` is struck."""
        if self.path is not None and self.path != path:
            return False
        if self.contains is not None:
            return self.contains.encode() in body
        if self.nth is not None:
            return number == self.nth
        if self.every is not None:
            return number % self.every == 0
        return self.probability is not None and random.random() < self.probability


@validated(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class FaultScript:
    """An ordered list of faults and the seed of their chances."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0


class Misfortune:
    """A script being played: counts the requests and says which fault strikes the next one."""

    def __init__(self, script: FaultScript) -> None:
        self._script = script
        self._random = Random(script.seed)
        self._requests = 0

    def strike(self, path: str, body: bytes = b"") -> Fault | None:
        """The fault of the next request, if any; each call is one request."""
        self._requests += 1
        for fault in self._script.faults:
            if fault.matches(self._requests, path, body, self._random):
                return fault
        return None


_ADAPTER = TypeAdapter(FaultScript)


def parse_faults(document: bytes) -> FaultScript:
    """A script from JSON, `{"faults": [{"kind": "cut", "nth": 3, "after_tokens": 5}]}`; ValueError in words."""
    try:
        return _ADAPTER.validate_python(orjson.loads(document))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"faults: not JSON: {error}") from error
    except ValidationError as error:
        details = (f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"faults: {'; '.join(details)}") from error


def load_faults(path: Path) -> FaultScript:
    """A script from a file."""
    return parse_faults(path.read_bytes())
