"""Whom a request says it acts for: one name per person, by which the share of a tenant may be divided.

Claude Code names device, account and session in one text. A session is no person: eight of them on one machine would
have eight shares. What stays from one session to the next is the name: the account, without one the device.
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

_LEGACY = re.compile(r"user_(?P<device>[^_]+)_account_(?P<account>[^_]*)_session_.*")
_STABLE_MEMBERS = ("account_uuid", "device_id")


def end_user(family: Family, fields: Mapping[str, object]) -> str | None:
    """Whom the client says it acts for: the first of the APIs' fields for it that names somebody."""
    metadata = fields.get("metadata") if family is Family.MESSAGES else None
    nested = metadata.get("user_id") if isinstance(metadata, dict) else None
    for value in (fields.get("user"), nested, fields.get("safety_identifier")):
        if isinstance(value, str) and (name := _person(value)):
            return name[:MAX_END_USER_CHARS]
    return None


def named_by_header(value: str) -> str | None:
    """The end user that a header names; what of its bytes is no UTF-8 is replaced, an empty one names nobody."""
    text = value.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text[:MAX_END_USER_CHARS] or None


def pseudonym(name: str | None) -> str:
    """What stands for `name` in the log: the beginning of its SHA-256, "" for nobody."""
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:PSEUDONYM_DIGITS] if name else ""


def _person(text: str) -> str:
    """The part of `text` that does not change with the session, "" where there is none."""
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
