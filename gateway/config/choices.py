"""The closed sets of the configuration, and the values that are written as one string.

The schema refuses a wrong member and names the nearest right one. Left to `fairness`, `wire` and `telemetry`: what each
member does.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic_core import PydanticCustomError

MAX_POLICY_PARAMETER = 1_000_000


class PolicyName(StrEnum):
    """Who goes next when room appears."""

    VTC = "vtc"
    FCFS = "fcfs"
    LCF = "lcf"
    RPM = "rpm"
    DRR = "drr"


class PredictorName(StrEnum):
    """How the output length of a request is predicted for its reservation."""

    NONE = "none"
    MOVING_AVERAGE = "moving_average"
    NOISY_ORACLE = "noisy_oracle"
    QUANTILE = "quantile"
    ORACLE = "oracle"


class EngineOrder(StrEnum):
    """Who goes next among the requests that wait inside an engine."""

    FCFS = "fcfs"
    VTC = "vtc"


class ShareBy(StrEnum):
    """Among whom a tenant's share is divided."""

    KEY = "key"
    END_USER = "end_user"


class ExcessOutput(StrEnum):
    """What the gateway does with a request for more output than its tenant may have."""

    CUT = "cut"
    REFUSE = "refuse"


class Right(StrEnum):
    """Request fields that a tenant may use only if the operator allows it."""

    BEAM_SEARCH = "beam_search"
    BEST_OF = "best_of"
    IGNORE_EOS = "ignore_eos"
    ECHO = "echo"
    PROMPT_LOGPROBS = "prompt_logprobs"
    PROMPT_EMBEDS = "prompt_embeds"
    CHAT_TEMPLATE = "chat_template"
    KV_TRANSFER = "kv_transfer"
    VLLM_XARGS = "vllm_xargs"
    MM_KWARGS = "mm_kwargs"
    MEDIA_URL = "media_url"


class WithoutStore(StrEnum):
    """What a gateway does with new requests while the store of its fleet does not answer."""

    CONTINUE = "continue"
    REFUSE = "refuse"


class EndUsers(StrEnum):
    """How the ledger names end users: by pseudonym, as clients name them, or not at all."""

    HASHED = "hashed"
    PLAIN = "plain"
    OFF = "off"


class LogFormat(StrEnum):
    """How a log line is written."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class BudgetUnit(StrEnum):
    """What a budget counts."""

    TOKENS = "tokens"
    COST_UNITS = "cost_units"
    MONEY = "money"


class BudgetOwner(StrEnum):
    """Who has a budget of its own."""

    TENANT = "tenant"
    KEY = "key"
    END_USER = "end_user"


class BudgetPeriod(StrEnum):
    """After how long a budget starts again."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class OnLedgerLoss(StrEnum):
    """What becomes of requests with a budget while the ledger does not work."""

    ALLOW = "allow"
    REFUSE = "refuse"


_DEFAULT_PARAMETERS = {PolicyName.RPM: 20, PolicyName.DRR: 512}
_DEFAULT_ERROR_PERCENT = 50


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy and its parameter: requests per minute for `rpm`, quantum in cost units for `drr`, or None."""

    name: PolicyName
    parameter: int | None = None

    def __str__(self) -> str:
        return self.name.value if self.parameter is None else f"{self.name.value}:{self.parameter}"

    @classmethod
    def parse(cls, text: object) -> "PolicySpec":
        """Read `vtc`, `rpm` or `rpm:20`; raises `PydanticCustomError` with a remedy for a wrong form."""
        if isinstance(text, PolicySpec):
            return text
        name, colon, number = str(text).partition(":")
        policy = PolicyName(_known("policy", name, PolicyName))
        default = _DEFAULT_PARAMETERS.get(policy)
        if not colon:
            return cls(policy, default)
        if default is None:
            raise _refusal(f"policy {name} takes no parameter", f"write `{name}`")
        return cls(policy, _whole(name, number, MAX_POLICY_PARAMETER, f"{name}:{default}"))


@dataclass(frozen=True, slots=True)
class PredictorSpec:
    """A predictor and its parameter: the largest error in percent for `noisy_oracle`, or None."""

    name: PredictorName
    error_percent: int | None = None

    def __str__(self) -> str:
        return self.name.value if self.error_percent is None else f"{self.name.value}:{self.error_percent}%"

    @classmethod
    def parse(cls, text: object) -> "PredictorSpec":
        """Read `quantile`, `noisy_oracle` or `noisy_oracle:50%`; raises `PydanticCustomError` with a remedy."""
        if isinstance(text, PredictorSpec):
            return text
        name, colon, number = str(text).partition(":")
        predictor = PredictorName(_known("predictor", name, PredictorName))
        is_noisy = predictor is PredictorName.NOISY_ORACLE
        if not colon:
            return cls(predictor, _DEFAULT_ERROR_PERCENT if is_noisy else None)
        if not is_noisy:
            raise _refusal(f"predictor {name} takes no parameter", f"write `{name}`")
        return cls(predictor, _whole(name, number.removesuffix("%"), 100, f"{name}:{_DEFAULT_ERROR_PERCENT}%"))


def _known(what: str, name: str, names: type[StrEnum]) -> str:
    if name not in names.__members__.values():
        expected = ", ".join(f"'{each.value}'" for each in names)
        raise PydanticCustomError("enum", f"no such {what}", {"expected": expected})
    return name


def _whole(name: str, number: str, largest: int, example: str) -> int:
    if not (number.isascii() and number.isdecimal() and 0 < int(number[:9]) <= largest):
        message = f"the parameter of {name} must be a whole number from 1 to {largest}"
        raise _refusal(message, f"write for example `{example}`")
    return int(number)


def _refusal(message: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message, "remedy": remedy})
