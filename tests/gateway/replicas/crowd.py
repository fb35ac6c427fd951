"""Some replicas, each of which says something at random when it is its turn: what every kind of call shares."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Generic, TypeVar

NAMES = ("north", "south", "east", "west", "\u00f6st")


@dataclass(slots=True)
class Caller:
    """One replica of a crowd and what it has heard."""

    name: str
    boot: str
    incarnation: int = 0
    number: int = 0
    generation: str = ""
    seq: int = 0
    must_register: bool = True
    said: list[Any] = field(default_factory=list)


_C = TypeVar("_C", bound=Caller)


class AnyCrowd(ABC, Generic[_C]):
    """Replicas that say anything, right or wrong; a subclass knows the calls."""

    caller_type: type[_C]
    jumps: ClassVar[Mapping[int, float]]  # milliseconds between two calls to how often they pass

    def __init__(self, seed: int) -> None:
        """The same seed says the same."""
        self._random = Random(seed)
        self._serial = 0
        self._callers = [self.caller_type(name, self._word("boot")) for name in NAMES]
        self.now = 1_700_000_000_000

    def _word(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}{self._serial}"

    def is_time_for(self, chance: float) -> bool:
        """True with this chance."""
        return self._random.random() < chance

    def next_call(self) -> tuple[_C, Any]:
        """Let time pass, and let somebody call."""
        choose = self._random
        self.now += choose.choices([*self.jumps], [*self.jumps.values()])[0]
        caller = choose.choice(self._callers)
        if choose.random() < 0.02 and caller.said:
            return caller, choose.choice(caller.said)
        if choose.random() < 0.01:
            caller.incarnation, caller.must_register = caller.incarnation + 1, True
        if choose.random() < 0.005:
            self._restart(caller)
        caller.number += 1
        call = self._call(caller)
        caller.said = [*caller.said[-3:], call]
        return caller, call

    def _restart(self, caller: _C) -> None:
        fresh = self.caller_type(caller.name, self._word("boot"))
        self._callers[self._callers.index(caller)] = fresh
        caller.name, caller.boot = fresh.name, fresh.boot

    @abstractmethod
    def _call(self, caller: _C) -> Any:
        """What `caller` says now."""

    @abstractmethod
    def heard(self, caller: _C, call: Any, reply: Any) -> None:
        """Take in a reply, unless it is lost."""

    @abstractmethod
    def told(self, name: str, message: Any) -> None:
        """Take in a message, unless it is lost."""
