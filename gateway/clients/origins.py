"""Which web pages may read the answers (CORS): those of the configured origins; by default none.

Before a page's request the browser asks for permission (the preflight, which has no credential). It lets the page read
an answer only if a header names the page's origin. Every answer to an allowed origin carries that header, errors and
streams too. The gateway takes no cookies: the key says who pays, and the page must have it.
"""

import re
from collections.abc import Sequence
from typing import Final

from gateway.clients.budget_headers import BUDGET_HEADERS
from gateway.clients.downstream import WholeAnswer
from gateway.clients.rate_headers import RATE_HEADERS
from gateway.clients.request import ClientRequest

ANY_ORIGIN: Final = "*"
_PREFLIGHT_SECONDS: Final = 600
_ASKED_HEADERS: Final = re.compile(r"[A-Za-z0-9_-]+(?: *, *[A-Za-z0-9_-]+){0,63}")
_USUAL_HEADERS: Final = "authorization, content-type, x-api-key, anthropic-version, anthropic-beta"
_READABLE_NAMES = ("x-request-id", "request-id", "retry-after", "x-should-retry", *RATE_HEADERS, *BUDGET_HEADERS)
_READABLE: Final = ("Access-Control-Expose-Headers", ", ".join(_READABLE_NAMES))


class Origins:
    """The origins whose pages may read answers."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Allow the origins in `allowed`, or all of them if it holds `*`."""
        self._allowed = frozenset(allowed)

    def note(self, request: ClientRequest) -> None:
        """Mark `request` if the page that sends it may read the answer."""
        origin = request.headers.get("origin")
        if origin is None:
            return
        if ANY_ORIGIN in self._allowed:
            request.allowed_origin = ANY_ORIGIN
        elif origin in self._allowed:
            request.allowed_origin = origin


def reading_headers(request: ClientRequest) -> Sequence[tuple[str, str]]:
    """The headers by which a browser lets the page read the answer to `request`."""
    origin = request.allowed_origin
    if origin is None:
        return ()
    return (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"), _READABLE)


def is_preflight(request: ClientRequest) -> bool:
    """True if the browser of an allowed page asks what the page may send."""
    return (
        request.method == "OPTIONS"
        and request.allowed_origin is not None
        and "access-control-request-method" in request.headers
    )


def preflight_answer(request: ClientRequest) -> WholeAnswer:
    """Let the page send what it asks for; whether that is served is decided when the request comes."""
    asked = request.headers.get("access-control-request-headers") or ""
    headers = (
        ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
        ("Access-Control-Allow-Headers", asked if _ASKED_HEADERS.fullmatch(asked) else _USUAL_HEADERS),
        ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
    )
    return WholeAnswer(204, b"", headers)
