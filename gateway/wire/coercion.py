"""Reads the values of typed fields as vLLM's request models do: 4.0 and "4" are 4, 0 and "false" are false.

vLLM validates with pydantic, which converts a value that clearly means a number or a boolean. The gateway converts in
the same way before it measures or limits anything, and it sends the converted value to the worker. It refuses what
pydantic refuses. vLLM also refuses a text as `top_logprobs` or `prompt_logprobs`; the gateway reads the number in it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from pydantic import TypeAdapter, ValidationError

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault
from gateway.wire.surface import Family

_INTEGER: Final = TypeAdapter(int)
_FLAG: Final = TypeAdapter(bool)
_INTEGERS: Final = TypeAdapter(list[int])


def integer_of(value: object, name: str) -> int:
    """The integer that `value` means; raises `RequestFault` with the field's `name`."""
    if type(value) is int:
        return value
    try:
        return _INTEGER.validate_python(value)
    except ValidationError:
        raise _fault(name, "an integer") from None


def flag_of(value: object, name: str) -> bool:
    """The boolean that `value` means; raises `RequestFault` with the field's `name`."""
    if isinstance(value, bool):
        return value
    try:
        return _FLAG.validate_python(value)
    except ValidationError:
        raise _fault(name, "true or false") from None


def integers_of(values: list[object]) -> list[int] | None:
    """The integers that `values` mean; None if one of them means no integer."""
    try:
        return _INTEGERS.validate_python(values)
    except ValidationError:
        return None


Reader = Callable[[object, str], object]  # not int: compiled code would make 1 of True


def _typed(integers: str, flags: str) -> dict[str, Reader]:
    readers: dict[str, Reader] = dict.fromkeys(integers.split(), integer_of)
    return readers | dict.fromkeys(flags.split(), flag_of)


_NONE = _typed("", "")
TYPED: Final[Mapping[Family, dict[str, Reader]]] = MappingProxyType(
    dict.fromkeys(Family, _NONE)
    | {
        Family.CHAT: _typed(
            "n max_tokens max_completion_tokens min_tokens top_logprobs prompt_logprobs",
            "stream logprobs echo ignore_eos use_beam_search",
        ),
        Family.COMPLETION: _typed(
            "n max_tokens min_tokens logprobs prompt_logprobs", "stream echo ignore_eos use_beam_search"
        ),
        Family.RESPONSES: _typed("max_output_tokens top_logprobs", "stream store background ignore_eos"),
        Family.MESSAGES: _typed("max_tokens", "stream"),
    }
)
"""By family, the numbers and booleans that decide cost, rights and metering; a null value is left as it is."""


def coerce_fields(family: Family, fields: dict[str, object]) -> None:
    """Replace the value of each typed field by the one that the engine would read; raises `RequestFault`."""
    typed = TYPED[family]
    for name, value in fields.items():
        read = typed.get(name)
        if read is not None and value is not None:
            fields[name] = read(value, name)


def _fault(name: str, kind: str) -> RequestFault:
    return RequestFault(Outcome.BAD_REQUEST, f"'{name}' must be {kind}.", name)
