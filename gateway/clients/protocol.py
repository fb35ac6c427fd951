"""Refuses what two HTTP parsers could read differently: versions, targets, hosts and framings.

Here is what the parser lets pass; `incoming` refuses what the parser itself refuses.
"""

import re
from typing import Final

from gateway.clients.request import ClientRequest
from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault
from gateway.wire.target import path_of

_HOST: Final = re.compile(r"[A-Za-z0-9_.~%:\[\]-]{1,255}")
_HTTP_10, _HTTP_11 = (1, 0), (1, 1)


def check_protocol(request: ClientRequest) -> None:
    """Raise `RequestFault` if the request line or the framing can be read in two ways."""
    version, headers = request.version, request.headers
    is_new = version == _HTTP_11
    if not is_new and version != _HTTP_10:
        raise malformed("HTTP/1.1 and HTTP/1.0 are spoken here")
    if path_of(request.target) is None:
        raise malformed("the request target must be a path or a URL")
    hosts = headers.getall("host")
    if len(hosts) > 1 or (is_new and not hosts) or (hosts and not _HOST.fullmatch(hosts[0])):
        raise malformed("the Host header must name one host")
    codings = headers.getall("transfer-encoding")
    if codings and (not is_new or [coding.strip().lower() for coding in codings] != ["chunked"]):
        raise malformed("the only Transfer-Encoding is chunked, and only in HTTP/1.1")


def malformed(reason: str) -> RequestFault:
    """The fault of a request that is not well-formed HTTP, for `reason`."""
    return RequestFault(Outcome.BAD_REQUEST, f"The request is not well-formed HTTP: {reason}.")
