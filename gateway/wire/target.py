"""Reads the path from a request's target and, for a path that is not served, guesses the one that was meant.

Nothing here decides who may do what: that depends on the path that matched. Only `shown` repeats what a stranger wrote,
for the log; it cuts the text short and replaces special characters.
"""

import re
from typing import Final

from gateway.wire.surface import ENDPOINTS, Dialect

MODELS: Final = "/v1/models"
MAX_SHOWN_CHARS: Final = 128
_MAX_SEGMENTS: Final = 16

# RFC 9112, 3.2.2: a server takes the whole URL too, as it is sent to a proxy.
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]*([^?#]*)", re.IGNORECASE)
_STRANGE: Final = re.compile(r"[^A-Za-z0-9/._~%:@=+-]")
_NO_PATH: Final = (
    "This path is not served here. The paths are those of OpenAI's API (base_url http://HOST/v1) and of Anthropic's "
    "(base_url http://HOST); GET /v1/models lists the models."
)
_BASES: Final = {
    Dialect.OPENAI: "the base_url of OpenAI's clients ends in /v1 (http://HOST/v1)",
    Dialect.ANTHROPIC: "the base_url of Anthropic's clients ends before /v1 (http://HOST)",
}


def path_of(target: str) -> str | None:
    """The path of a request target without its query; None if the target is neither a path nor an HTTP URL."""
    if target.startswith("/"):
        return target.partition("?")[0]
    absolute = _ABSOLUTE.match(target)
    return None if absolute is None else absolute[1] or "/"


def spoken_at(path: str) -> Dialect:
    """The API to which `path` belongs, or was meant to belong."""
    endpoint = ENDPOINTS.get(path)
    if endpoint is not None:
        return endpoint.dialect
    is_messages = "/messages" in path and (path.endswith("/messages") or "/messages/" in path)
    return Dialect.ANTHROPIC if is_messages else Dialect.OPENAI


def remedy(path: str) -> str:
    """The message for a client that called a `path` that is not served."""
    meant = _meant(path)
    if meant is None:
        return _NO_PATH
    base = _BASES[spoken_at(meant)]
    return f"This path is not served here, but {meant} is: {base}, without a slash behind it."


def shown(path: str) -> str:
    """`path` as a log line may show it."""
    return _STRANGE.sub("?", path[:MAX_SHOWN_CHARS])


def _meant(path: str) -> str | None:
    """The served path that `path` ends with, perhaps after adding a missing /v1; None if there is none."""
    segments = [segment for segment in path.split("/", 4 * _MAX_SEGMENTS) if segment][-_MAX_SEGMENTS:]
    for start in range(len(segments)):
        tail = "/" + "/".join(segments[start:])
        for candidate in (tail, f"/v1{tail}"):
            if candidate in ENDPOINTS or candidate == MODELS:
                return candidate
    return None
