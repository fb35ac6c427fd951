"""What one embedded engine is: a model name, a profile, sizes, faults. Immutable once the server is built."""

from dataclasses import dataclass, field

from backend.engine.core import EngineCapacity
from backend.engine.faults import FaultScript
from backend.engine.profile import Profile, load_profile


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Options of the server; `capacity` starts as the profile's.

    `epoch_seconds` is the wall-clock time at loop time zero: stamps are `epoch_seconds + loop.time()`, so that a run in
    virtual time repeats bit by bit. `max_num_queued_reqs` is vLLM's: running plus waiting sequences, None for no limit.
    `adapters` are further names that it answers to, as vLLM does to its LoRA adapters.
    `api_key` guards the paths that vLLM's guards; empty: it asks for none.
    """

    model: str = "tiny"
    profile: Profile = field(default_factory=lambda: load_profile("cpu-tiny"))
    capacity: EngineCapacity = field(default_factory=lambda: load_profile("cpu-tiny").capacity)
    max_num_queued_reqs: int | None = None
    seed: int = 0
    epoch_seconds: float = 0.0
    faults: FaultScript = field(default_factory=FaultScript)
    adapters: tuple[str, ...] = ()
    api_key: str = field(default="", repr=False)

    def adapter(self, model: str | None) -> str:
        """The adapter that a request for `model` runs with, "" for none."""
        return model if model is not None and model in self.adapters else ""

    @classmethod
    def of_profile(cls, name: str, model: str = "tiny", **sizes: int) -> "EngineConfig":
        """The configuration of a named profile; `sizes` replace fields of its capacity."""
        profile = load_profile(name)
        return cls(model=model, profile=profile, capacity=profile.capacity.resized(sizes))
