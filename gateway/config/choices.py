"""The closed sets of the configuration and the values written as one string.

A wrong member is refused by the schema, which names the nearest right one. What each member does is decided
by the part that acts on it (fairness, wire, telemetry).
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
    """How the output length of a request is guessed for its reservation."""

    NONE = "none"
    MOVING_AVERAGE = "moving_average"
    QUANTILE = "quantile"
    ORACLE = "oracle"


class ShareBy(StrEnum):
    """What a tenant's share is divided among."""

    KEY = "key"
    END_USER = "end_user"


class Right(StrEnum):
    """A request field that a tenant may use only where the operator allows it."""

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
    DATA_URL = "data_url"


class LogFormat(StrEnum):
    """How a log line is written."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_DEFAULT_PARAMETERS = {PolicyName.RPM: 20, PolicyName.DRR: 512}


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy and its parameter: requests per minute for `rpm`, quantum in cost units for `drr`, or None."""

    name: PolicyName
    parameter: int | None = None

    def __str__(self) -> str:
        return self.name.value if self.parameter is None else f"{self.name.value}:{self.parameter}"

    @classmethod
    def parse(cls, text: object) -> "PolicySpec":
        """Read `vtc`, `rpm` or `rpm:20`; a wrong form is a `PydanticCustomError` that carries its remedy."""
        if isinstance(text, PolicySpec):
            return text
        name, colon, number = str(text).partition(":")
        if name not in PolicyName.__members__.values():
            raise PydanticCustomError(
                "enum", "no such policy", {"expected": ", ".join(f"'{each.value}'" for each in PolicyName)}
            )
        policy = PolicyName(name)
        if not colon:
            return cls(policy, _DEFAULT_PARAMETERS.get(policy))
        if policy not in _DEFAULT_PARAMETERS:
            raise _refusal(f"policy {name} takes no parameter", f"write `{name}`")
        if not (number.isascii() and number.isdecimal() and 0 < int(number[:9]) <= MAX_POLICY_PARAMETER):
            raise _refusal(
                f"the parameter of {name} must be a whole number from 1 to {MAX_POLICY_PARAMETER}",
                f"write for example `{name}:{_DEFAULT_PARAMETERS[policy]}`",
            )
        return cls(policy, int(number))


def _refusal(message: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message, "remedy": remedy})
