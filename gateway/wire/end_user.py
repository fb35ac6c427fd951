"""Reads which end user a request acts for: one name per person, so that a tenant's share can be divided by it.

Claude Code names device, account and session in one text. A session is not a person: eight sessions on one machine
would get eight shares. So the name is what stays from one session to the next: the account or, without one, the device.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import orjson

from gateway.wire.surface import Family

MAX_END_USER_CHARS: Final = 256
PSEUDONYM_DIGITS: Final = 16  # 64 bits: no two users of one gateway have the same
_MAX_JSON_CHARS: Final = 4096

_LEGACY: Final = re.compile(r"user_(?P<device>[^_]+)_account_(?P<account>[^_]*)_session_.*")
_STABLE_MEMBERS: Final = ("account_uuid", "device_id")


def end_user(family: Family, fields: Mapping[str, object]) -> str | None:
    """The end user in the first of the APIs' fields for it that names somebody; None if no field does."""
    metadata = fields.get("metadata") if family is Family.MESSAGES else None
    nested = metadata.get("user_id") if isinstance(metadata, dict) else None
    for value in (fields.get("user"), nested, fields.get("safety_identifier")):
        if isinstance(value, str) and (name := _person(value)):
            return name[:MAX_END_USER_CHARS]
    return None


def named_by_header(value: str) -> str | None:
    """The end user that a header names, None if it is empty; bytes that are no UTF-8 are replaced."""
    text = value.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text[:MAX_END_USER_CHARS] or None


def pseudonym(name: str | None) -> str:
    """What the log shows for `name`: the beginning of its SHA-256, or "" if nobody is named."""
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:PSEUDONYM_DIGITS] if name else ""


def _person(text: str) -> str:
    """The part of `text` that stays the same in each session; "" if there is none."""
    if text.startswith("user_"):
        legacy = _LEGACY.fullmatch(text)
        return text if legacy is None else legacy["account"] or legacy["device"]
    if not text.startswith("{") or len(text) > _MAX_JSON_CHARS:
        return text
    try:
        members = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if "session_id" not in members:
        return text
    return next((name for key in _STABLE_MEMBERS if isinstance(name := members.get(key), str) and name), "")
