"""Applies the tenant's limits to the numbers of a request: output tokens, choices, log probabilities, biases.

A request without an output limit gets the tenant's cap. A larger output limit is cut to the cap or refused, as the
tenant's `excess_output` says. Any other value beyond a limit is refused, and the message names the limit. `coercion.py`
has read the values before. Left to the engine: ranges that only the engine knows (context length, vocabulary).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.outcomes import Outcome
from gateway.wire.coercion import integer_of
from gateway.wire.errors import RequestFault
from gateway.wire.fields import RIGHTS
from gateway.wire.surface import Family

COMPLETION_DEFAULT_MAX_TOKENS: Final = 16  # OpenAI's and vLLM's default of the legacy completions endpoint
_INT64_MAX: Final = 2**63 - 1

_MESSAGES: Final = Family.MESSAGES
_COMPLETION: Final = Family.COMPLETION
_CHAT: Final = Family.CHAT
_WITH_CHOICES: Final = frozenset({_CHAT, _COMPLETION})

# The engine lets the first of these that is present decide.
_OUTPUT_FIELDS: Final[Mapping[Family, tuple[str, ...]]] = {
    Family.CHAT: ("max_completion_tokens", "max_tokens"),
    Family.COMPLETION: ("max_tokens",),
    Family.RESPONSES: ("max_output_tokens",),
    Family.MESSAGES: ("max_tokens",),
}
_REST: Final = frozenset(
    {"top_logprobs", "prompt_logprobs", "logprobs", "logprob_token_ids", "logit_bias", "min_tokens"}
)


@dataclass(frozen=True, slots=True)
class Rights:
    """What one tenant may ask for; None means that the gateway sets no limit of its own.

    `cuts_output` says that a larger output limit is cut to `max_output_tokens` instead of refused.
    """

    allow: frozenset[str] = frozenset()
    strict: bool = False
    max_output_tokens: int | None = None
    cuts_output: bool = True
    max_choices: int = 4
    max_logprobs: int = 20
    max_logit_bias: int = 300

    def __post_init__(self) -> None:
        assert self.allow <= RIGHTS, f"unknown rights {sorted(self.allow - RIGHTS)}"


def integer(
    fields: Mapping[str, object],
    name: str,
    *,
    least: int = 0,
    most: int | None = None,
    why: str = "the limit is",
) -> int | None:
    """The integer `fields[name]`, None if it is absent or null; raises `RequestFault` outside `least`..`most`."""
    value = fields.get(name)
    if value is None:
        return None
    value = integer_of(value, name)
    if value < least:
        raise _fault(name, f"'{name}' must be at least {least}.")
    if most is not None and value > most:
        raise _fault(name, f"'{name}' is {value}; {why} {most}.")
    if value > _INT64_MAX:
        raise _fault(name, f"'{name}' is out of range.")
    return value


def limit_output(family: Family, fields: dict[str, object], rights: Rights) -> int | None:
    """Check the output limit, or write the tenant's cap if the request has none; returns the limit in force."""
    names = _OUTPUT_FIELDS.get(family, ())
    if not names:
        return None
    cap = rights.max_output_tokens
    explicit: int | None = None
    # Every field is checked, also one that the engine would ignore beside another.
    for name in names:
        value = _output(fields, name, rights)
        if explicit is None:
            explicit = value
    if explicit is not None:
        return explicit
    if family is _MESSAGES:
        raise _fault("max_tokens", "'max_tokens' is required.")
    if family is _COMPLETION and "max_tokens" not in fields:
        default = COMPLETION_DEFAULT_MAX_TOKENS
        if cap is None or default <= cap:
            return default
    if cap is not None:
        fields[names[0]] = cap
    return cap


def _output(fields: dict[str, object], name: str, rights: Rights) -> int | None:
    """The output limit `fields[name]`, cut to the tenant's cap or refused beyond it."""
    cap = rights.max_output_tokens
    if not rights.cuts_output:
        return integer(fields, name, most=cap, why="this tenant's limit of output tokens is")
    asked = integer(fields, name)
    if asked is None or cap is None or asked <= cap:
        return asked
    fields[name] = cap
    _cut_within(fields, asked, cap)
    return cap


def shorten_output(family: Family, fields: dict[str, object], most: int) -> None:
    """Write `most` as the output limit of a request that was checked before, unless it has a lower one."""
    names = _OUTPUT_FIELDS[family]
    stated = [name for name in names if fields.get(name) is not None]
    for name in stated:
        asked = fields[name]
        if isinstance(asked, int) and asked > most:
            fields[name] = most
            _cut_within(fields, asked, most)
    if not stated:
        fields[names[0]] = most


def _cut_within(fields: dict[str, object], asked: int, cap: int) -> None:
    """Cut the values that must not exceed the output limit, after that was cut from `asked` to `cap`.

    A value that already exceeded `asked` stays, so that the engine refuses it.
    """
    least = fields.get("min_tokens")
    if type(least) is int and cap < least <= asked:
        fields["min_tokens"] = cap
    thinking = fields.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(thinking, dict) and type(budget) is int and cap <= budget < asked:
        fields["thinking"] = {**thinking, "budget_tokens": cap - 1}


def limit_choices(family: Family, fields: Mapping[str, object], rights: Rights) -> int:
    """The number of choices per prompt; under beam search this is the beam width."""
    if family not in _WITH_CHOICES:
        return 1
    most = rights.max_choices
    return integer(fields, "n", least=1, most=most, why="this tenant's limit of choices is") or 1


def limit_rest(family: Family, fields: Mapping[str, object], rights: Rights, max_output: int | None) -> int:
    """Check log probabilities, biases and `min_tokens`; returns the least number of output tokens."""
    if _REST.isdisjoint(fields):
        return 0
    why = "this tenant's limit of log probabilities is"
    for name in ("top_logprobs", "prompt_logprobs"):
        integer(fields, name, most=rights.max_logprobs, why=why)
    if family is _COMPLETION:
        integer(fields, "logprobs", most=rights.max_logprobs, why=why)
    _limit_length(fields, "logprob_token_ids", list, rights.max_logprobs)
    _limit_length(fields, "logit_bias", dict, rights.max_logit_bias)
    return integer(fields, "min_tokens", most=max_output, why="the limit of output tokens is") or 0


def _limit_length(
    fields: Mapping[str, object], name: str, kind: type[list[object] | dict[str, object]], most: int
) -> None:
    value = fields.get(name)
    if value is None:
        return
    if not isinstance(value, kind):
        raise _fault(name, f"'{name}' must be {'a list' if kind is list else 'an object'}.")
    if len(value) > most:
        raise _fault(name, f"'{name}' holds {len(value)} entries; this tenant's limit is {most}.")


def _fault(name: str, message: str) -> RequestFault:
    return RequestFault(Outcome.BAD_REQUEST, message, name)
