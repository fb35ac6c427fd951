"""The end user of a request: a person, in whatever session."""

import hashlib
import json

import pytest

from gateway.wire.end_user import MAX_END_USER_CHARS, end_user, named_by_header, pseudonym
from gateway.wire.surface import Family

DEVICE, ACCOUNT = "b588b9c24a062b00", "2d7b4f3e-aaaa-bbbb-cccc-0123456789ab"
SESSIONS = ("6077ec0e-253c-4954-af89-ef7685f11142", "e848fc35-1111-2222-3333-444444444444")


def old(account: str, session: str) -> str:
    """As Claude Code wrote it up to 2.1.77."""
    return f"user_{DEVICE}_account_{account}_session_{session}"


def new(account: str, session: str) -> str:
    """As it writes it since."""
    return json.dumps({"device_id": DEVICE, "account_uuid": account, "session_id": session})


@pytest.mark.parametrize("field", ["metadata", "user", "safety_identifier"])
@pytest.mark.parametrize(("account", "name"), [(ACCOUNT, ACCOUNT), ("", DEVICE)])
def test_the_sessions_of_one_person_are_one_end_user(field: str, account: str, name: str) -> None:
    """In both forms and in every field that carries them: the account, without one the device."""
    texts = [form(account, session) for form in (old, new) for session in SESSIONS]
    names = {end_user(Family.MESSAGES, {field: {"user_id": text} if field == "metadata" else text}) for text in texts}
    assert names == {name}


def test_a_session_alone_is_nobody() -> None:
    """A session alone shares the key's share; any other field that names somebody counts."""
    lone = json.dumps({"session_id": SESSIONS[0]})
    assert end_user(Family.MESSAGES, {"metadata": {"user_id": lone}}) is None
    assert end_user(Family.MESSAGES, {"metadata": {"user_id": lone}, "safety_identifier": "ann"}) == "ann"


@pytest.mark.parametrize(
    "text", ["ann", "user_7", "user_1_account_2", "{", "{}", '{"name": "ann"}', "{[" * 9, "[1]", f"{{{'x' * 5000}"]
)
def test_every_other_text_is_a_name_as_it_is(text: str) -> None:
    """Bounded, and never a failure."""
    assert end_user(Family.CHAT, {"user": text}) == text[:MAX_END_USER_CHARS]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("ann", "ann"),
        (" ann ", "ann"),
        ("", None),
        ("  ", None),
        ("n\udcc3\udca9", "n\u00e9"),
        ("\udcff", "\ufffd"),
        ("x" * 999, "x" * 256),
    ],
)
def test_what_a_header_names(value: str, name: str | None) -> None:
    """Its bytes as UTF-8, bounded: any name can be written to a log."""
    assert named_by_header(value) == name


def test_a_pseudonym_is_the_beginning_of_the_names_hash() -> None:
    """The same person has the same pseudonym, which an operator can compute from the name; nobody's is empty."""
    assert pseudonym("ann@example.com") == hashlib.sha256(b"ann@example.com").hexdigest()[:16]
    assert pseudonym("ann") != pseudonym("ben")
    assert pseudonym(None) == pseudonym("") == ""
    assert len(pseudonym("half of a pair \ud800")) == 16
