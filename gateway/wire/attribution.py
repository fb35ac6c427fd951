"""Cuts Claude Code's attribution header, which is the first line of a system text.

The header's `cch` differs in each request. If it stayed, no prompt would begin like the one before, and no body would
be the same twice. vLLM renders nothing of the header: it drops the line, or the whole block under Anthropic's API. The
gateway cuts only the header's value. So it sends the same bytes each time, and vLLM still finds the line to drop.
"""

from collections.abc import Mapping
from typing import Final

from gateway.wire.surface import Family

HEADER: Final = "x-anthropic-billing-header"

# Where system texts stand: members of the request, and the member that lists messages.
_PLACES: Final[Mapping[Family, tuple[tuple[str, ...], str]]] = {
    Family.CHAT: ((), "messages"),
    Family.MESSAGES: (("system",), "messages"),
    Family.RESPONSES: (("instructions",), "input"),
}


def cut_attribution(family: Family, fields: dict[str, object]) -> None:
    """Cut the header's value in each system text of the request that begins with the header."""
    places = _PLACES.get(family)
    if places is None:
        return
    members, listing = places
    for name in members:
        _cut_member(fields, name)
    messages = fields.get(listing)
    if isinstance(messages, list):
        for message in messages:
            if isinstance(message, dict) and message.get("role") == "system":
                _cut_member(message, "content")


def _cut_member(owner: dict[str, object], name: str) -> None:
    """Cut the value in `owner[name]`, which is a text or a list of texts and of parts with a `text`."""
    value = owner.get(name)
    if isinstance(value, str):
        if value.startswith(HEADER):
            owner[name] = _cut(value)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            text = part.get("text") if isinstance(part, dict) else part
            if not isinstance(text, str) or not text.startswith(HEADER):
                continue
            if isinstance(part, dict):
                part["text"] = _cut(text)
            else:
                value[place] = _cut(text)


def _cut(text: str) -> str:
    _, newline, rest = text.partition("\n")
    return f"{HEADER}:{newline}{rest}"
