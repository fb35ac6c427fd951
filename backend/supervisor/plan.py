"""What one worker is to be: read from JSON, checked, immutable.

Keys are those of `vtc-backend supervise`'s file and of the gateway's messages (docs/operations.md names them).
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from backend.vllm.engine_order import EngineOrder


class EngineChoice(Enum):
    """Which engine runs a worker."""

    AUTO = "auto"
    VLLM = "vllm"
    EMBEDDED = "embedded"


# More than any engine runs at once by default (vLLM: 256, on the largest GPUs 1,024).
MAX_LEARNED_SEQUENCES = 1024
_Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker: `name` is unique, `model` is what vLLM loads, `served_name` what its clients call it.

    `sequences` (that run at once) and `prefill_tokens` (of a step) None: the engine takes its own default, which the
    gateway learns.
    `gpus` below 1 is a share of one GPU's memory, a whole number runs tensor parallel over so many; a machine without a
    GPU ignores it. `adapters` are LoRA adapters, name to folder. `max_failed_starts` None: it is tried for ever.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=512)]
    model: str = "byte-llama"
    served_name: str = ""
    engine: EngineChoice = EngineChoice.AUTO
    profile: str = "cpu-tiny"
    max_model_len: _Positive = 2048
    sequences: _Positive | None = None
    prefill_tokens: _Positive | None = None
    gpus: Annotated[float, Field(gt=0, le=64)] = 1.0
    engine_order: EngineOrder = EngineOrder.FCFS
    adapters: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    start_seconds: Annotated[float, Field(gt=0)] = 600.0
    max_failed_starts: _Positive | None = None

    @property
    def client_name(self) -> str:
        """The model's name in requests."""
        return self.served_name or self.model

    def as_patient_as(self, other: "WorkerPlan") -> "WorkerPlan":
        """This plan with what of `other` its process does not see: how long and how often its starts are waited for."""
        return replace(self, start_seconds=other.start_seconds, max_failed_starts=other.max_failed_starts)


class PlanError(Exception):
    """A text that is no plan; the message says what is wrong."""


_PLAN = TypeAdapter(WorkerPlan)


def read_plan(value: object) -> WorkerPlan:
    """The plan that `value` (JSON's types) describes; raises `PlanError`."""
    try:
        plan = _PLAN.validate_python(value)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])) or 'worker'}: {fault['msg']}" for fault in error.errors())
        raise PlanError("; ".join(faults)) from None
    if plan.gpus > 1 and not plan.gpus.is_integer():
        raise PlanError(f"gpus: {plan.gpus:g} is neither a share of one GPU nor a whole number of them")
    return plan
