"""Asks the admin listener of a gateway, for the commands of an operator."""

import os
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

KEY_VARIABLE: Final = "ADMIN_KEY"
_TIMEOUT_SECONDS: Final = 10.0


class NotAnswered(Exception):
    """The gateway did not answer; the text says why, in words for the terminal."""


def ask(url: str, view: str) -> dict[str, Any]:
    """What the view answers at the listener `url`; raises `NotAnswered`."""
    try:
        found: dict[str, Any] = orjson.loads(ask_text(url, view))
    except orjson.JSONDecodeError as failure:
        raise NotAnswered(f"{url} is not the admin listener of a gateway") from failure
    return found


def ask_text(url: str, view: str) -> bytes:
    """The same as it was sent."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT_SECONDS)
    try:
        key = os.environ.get(KEY_VARIABLE, "")
        connection.request("GET", f"/admin/v1/view/{view}", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException, ValueError) as failure:
        raise NotAnswered(f"no answer from {url}: {failure}; is admin.listen set?") from failure
    finally:
        connection.close()
    if answer.status == 401:
        raise NotAnswered(f"the key is not accepted; set the variable {KEY_VARIABLE} to the admin key")
    if answer.status != 200:
        raise NotAnswered(f"the gateway answered {answer.status}")
    return body
