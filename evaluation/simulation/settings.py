"""What a run is asked to be: the rules of the scheduler, the engines behind it, and what counts as a tenant."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from backend.engine.core import EngineCapacity, StepCost
from backend.engine.profile import load_profile
from evaluation.requests import Request
from evaluation.simulation.gauges import Polling
from gateway.fairness import POLICIES, PREDICTORS, CostFunction, Linear, Rules
from gateway.workers import WindowSize

PROFILE = load_profile("a10g-llama2-7b")
# What a step of the published serving runs takes beyond the bare model of the profile (scheduler, messages between
# processes, streaming): chosen so that the runs of Tables 2, 5 and 6 last as long as they did, each within 1.5 %. Their
# own records say much the same: on batches of 12 to 22 sequences, between prefills, a step takes 2.0 to 2.6 ms more.
SERVING_SECONDS = 0.0029
STEP_COST = replace(PROFILE.cost, step_seconds=PROFILE.cost.step_seconds + SERVING_SECONDS)


class EngineModel(Enum):
    """How the engine admits and batches."""

    PAPER = "paper"  # admission rounds, no preemption, true lengths known
    VLLM = "vllm"  # continuous batching behind the gateway's window, lengths unknown


@dataclass(frozen=True, slots=True)
class RoundsSize:
    """Sizes of the paper's engine; the defaults are those of the published runs.

    `steps_between` decode steps follow an admission before the next is tried. Every tenant with a running request takes
    `tenant_tokens` of the pool: four times the rank 8 of its adapter, which the artifact sets aside though its runs
    compute without adapters.
    """

    pool_tokens: int = 10_000
    max_running: int = 1_000
    steps_between: int = 10
    tenant_tokens: int = 32

    @property
    def prompt_tokens_per_round(self) -> int:
        """Most prompt tokens that one round admits."""
        return max(self.pool_tokens // 6, 3072)

    def enlarged_for(self, prompt_tokens: int, output_tokens: int) -> "RoundsSize":
        """The same with a pool that holds such a request, where it is not that large already."""
        needed = prompt_tokens + output_tokens + self.tenant_tokens + 1
        if prompt_tokens > self.prompt_tokens_per_round:
            needed = max(needed, 6 * prompt_tokens)
        return replace(self, pool_tokens=max(self.pool_tokens, needed))

    def holds(self, prompt_tokens: int, output_tokens: int) -> bool:
        """True where such a request is admitted once it is alone."""
        fits_pool = prompt_tokens + output_tokens < self.pool_tokens - self.tenant_tokens
        return fits_pool and prompt_tokens <= self.prompt_tokens_per_round


@dataclass(frozen=True, slots=True)
class Outage:
    """The first worker dies and starts anew: what it had begun is lost, the rest goes back to the queue."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Settings:
    """One run. `policy` and `predictor` are written as in the configuration: `vtc`, `rpm:20`, `noisy_oracle:50%`.

    `keys_share` False takes every key for a tenant of its own, as a gateway does that cannot tell whose they are.
    `slowness` names every worker by what its steps take in terms of `step_cost`; `polling` lets the windows of the vLLM
    kind be tuned. `until_seconds` None runs until everything has ended.
    """

    policy: str = "vtc"
    predictor: str = "none"
    cost: CostFunction = field(default_factory=Linear)
    weights: Mapping[str, float] = field(default_factory=dict)
    engine: EngineModel = EngineModel.PAPER
    slowness: tuple[float, ...] = (1.0,)
    polling: Polling | None = None
    outage: Outage | None = None
    step_cost: StepCost = STEP_COST
    rounds: RoundsSize = RoundsSize()
    batching: EngineCapacity = PROFILE.capacity
    window: WindowSize = field(default_factory=WindowSize)
    keys_share: bool = True
    max_queued: int = 1_000_000
    queue_timeout_seconds: float = 1e9
    until_seconds: float | None = None

    def holds(self, request: Request) -> bool:
        """True where an engine of this size can serve `request` to its end."""
        if self.engine is EngineModel.PAPER:
            return self.rounds.holds(request.prompt_tokens, request.output_tokens)
        return request.prompt_tokens + request.output_tokens <= self.batching.max_model_len

    @property
    def longest(self) -> tuple[int, str]:
        """The size that bounds a request, in tokens, and the option of `simulate` that sets it."""
        if self.engine is EngineModel.PAPER:
            return self.rounds.pool_tokens, "--pool-tokens"
        return self.batching.max_model_len, "--max-model-len"

    def rules(self) -> Rules:
        """The production rules of these names; ValueError tells the known ones."""
        policy, parameter = _choice("policy", self.policy, POLICIES)
        predictor, error_percent = _choice("predictor", self.predictor, PREDICTORS)
        return Rules(lambda: POLICIES[policy](parameter), PREDICTORS[predictor](error_percent), self.max_queued)


def sized_to(requests: Iterable[Request], settings: Settings) -> Settings:
    """`settings` with engines that can hold each of `requests`: sizes grow where they have to, none shrinks."""
    rounds, longest = settings.rounds, settings.batching.max_model_len
    for request in requests:
        rounds = rounds.enlarged_for(request.prompt_tokens, request.output_tokens)
        longest = max(longest, request.prompt_tokens + request.output_tokens)
    return replace(settings, rounds=rounds, batching=with_length(settings.batching, longest))


def with_length(capacity: EngineCapacity, max_model_len: int) -> EngineCapacity:
    """`capacity` for sequences of up to `max_model_len` tokens; its cache grows to one of them where it is smaller."""
    blocks = -(-max_model_len // capacity.block_size)
    return replace(capacity, max_model_len=max_model_len, num_blocks=max(capacity.num_blocks, blocks))


def _choice(what: str, text: str, known: Mapping[str, object]) -> tuple[str, float | None]:
    name, _, parameter = text.partition(":")
    if name not in known:
        raise ValueError(f"no {what} {name!r}: choose one of {', '.join(known)}")
    try:
        return name, float(parameter.removesuffix("%")) if parameter else None
    except ValueError:
        raise ValueError(f"{what} {text!r}: what follows the colon must be a number") from None
