"""Whose fault it is: what an attempt met, and what follows for the client, the worker, the request and the account.

A closed table from (situation, evidence) to (effect). Rules that hold in it:
- the client's fault is only what the engine says of the request itself (400, 404, 413, 422, in its own words); every
  other status is the worker's or the gateway's, and the request is tried elsewhere while its client has no byte;
- what the engine will not do tomorrow either (501, 505) is not asked again;
- lack of room (429, 503) is nobody's fault: the request waits;
- what is short at the gateway itself (descriptors, ports, memory) says nothing of any worker;
- an attempt that fails before its answer begins is refunded; of one that has begun the relay settles how much.
How many failures of whom bring a worker into doubt is `circuit`'s, what kills workers `quarantine`'s.
"""

from enum import Enum
from typing import Final, NamedTuple

from gateway.outcomes import Outcome
from gateway.workers.circuit import Signal


class Situation(Enum):
    """Where it was met."""

    WAITING = "waiting"  # the client has no byte; another attempt is left
    LAST = "last"  # the client has no byte; no attempt is left
    BEGUN = "begun"  # the client has bytes of the answer
    UTILITY = "utility"  # a request that takes no room and is sent once
    PROBE = "probe"

    __hash__ = object.__hash__  # Enum's own is a Python function, and every request is judged


class Evidence(Enum):
    """What was met."""

    ANSWERED = "answered"  # an answer of the kind that was asked for; BEGUN: to its own end
    REFUSED = "refused"  # the engine's word that the request is wrong
    UNABLE = "unable"  # 501, 505
    FULL = "full"  # 429, 503
    LOCKED = "locked"  # 401, 403, 407: the worker does not accept the gateway
    STRANGE = "strange"  # no engine's answer: a redirect, a page, another model's engine, any other status
    ERROR = "error"  # any other 5xx; BEGUN: an error event
    LOST = "lost"  # the connection broke
    TRUNCATED = "truncated"  # an orderly end before the end of the answer
    MALFORMED = "malformed"  # not HTTP, or not what the answer's format allows
    SILENT = "silent"  # no byte in time
    UNREACHABLE = "unreachable"  # no connection
    NAMELESS = "nameless"  # its host was never found
    SHORT = "short"  # no connection for want of something at the gateway
    CUT = "cut"  # the gateway ended it

    __hash__ = object.__hash__


class Action(Enum):
    """What is done with the request."""

    RELAY = "relay"  # the answer goes to the client
    FORWARD = "forward"  # the engine's refusal goes to the client
    WAIT = "wait"  # back to the head of its queue until there is room
    AGAIN = "again"  # to another worker
    END = "end"
    NOTE = "note"  # there is no client


class Effect(NamedTuple):
    """What follows: `outcome` where the request ends by it, `signal` for the circuit."""

    action: Action
    outcome: Outcome | None = None
    signal: Signal | None = None
    may_be_death: bool = False  # the worker is asked whether it lives


_S, _E, _A, _O, _G = Situation, Evidence, Action, Outcome, Signal

TABLE: Final[dict[tuple[Situation, Evidence], Effect]] = {
    (_S.WAITING, _E.ANSWERED): Effect(_A.RELAY, None, _G.ANSWERED),
    (_S.WAITING, _E.REFUSED): Effect(_A.FORWARD, _O.REJECTED_BY_ENGINE, _G.ANSWERED),
    (_S.WAITING, _E.UNABLE): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT),
    (_S.WAITING, _E.FULL): Effect(_A.WAIT),
    (_S.WAITING, _E.LOCKED): Effect(_A.AGAIN, None, _G.FAULT),
    (_S.WAITING, _E.STRANGE): Effect(_A.AGAIN, None, _G.FAULT),
    (_S.WAITING, _E.ERROR): Effect(_A.AGAIN, None, _G.FAULT, may_be_death=True),
    (_S.WAITING, _E.LOST): Effect(_A.AGAIN, None, _G.FAULT, may_be_death=True),
    (_S.WAITING, _E.TRUNCATED): Effect(_A.AGAIN, None, _G.FAULT),
    (_S.WAITING, _E.MALFORMED): Effect(_A.AGAIN, None, _G.FAULT),
    (_S.WAITING, _E.SILENT): Effect(_A.AGAIN, None, _G.FAULT),
    (_S.WAITING, _E.UNREACHABLE): Effect(_A.AGAIN, None, _G.GONE),
    (_S.WAITING, _E.NAMELESS): Effect(_A.AGAIN, None, _G.FAULT),
    (_S.WAITING, _E.SHORT): Effect(_A.END, _O.GATEWAY_EXHAUSTED),
    (_S.WAITING, _E.CUT): Effect(_A.END, _O.CUT_BY_SHUTDOWN),
    (_S.LAST, _E.ANSWERED): Effect(_A.RELAY, None, _G.ANSWERED),
    (_S.LAST, _E.REFUSED): Effect(_A.FORWARD, _O.REJECTED_BY_ENGINE, _G.ANSWERED),
    (_S.LAST, _E.UNABLE): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT),
    (_S.LAST, _E.FULL): Effect(_A.END, _O.NO_ROOM),
    (_S.LAST, _E.LOCKED): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT),
    (_S.LAST, _E.STRANGE): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT),
    (_S.LAST, _E.ERROR): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT, may_be_death=True),
    (_S.LAST, _E.LOST): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT, may_be_death=True),
    (_S.LAST, _E.TRUNCATED): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT),
    (_S.LAST, _E.MALFORMED): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT),
    (_S.LAST, _E.SILENT): Effect(_A.END, _O.FIRST_BYTE_TIMEOUT, _G.FAULT),
    (_S.LAST, _E.UNREACHABLE): Effect(_A.END, _O.WORKER_FAILED, _G.GONE),
    (_S.LAST, _E.NAMELESS): Effect(_A.END, _O.WORKER_FAILED, _G.FAULT),
    (_S.LAST, _E.SHORT): Effect(_A.END, _O.GATEWAY_EXHAUSTED),
    (_S.LAST, _E.CUT): Effect(_A.END, _O.CUT_BY_SHUTDOWN),
    # Nothing is sent twice once the client has a byte, and what it has seen is charged.
    (_S.BEGUN, _E.ANSWERED): Effect(_A.END, _O.COMPLETED, None),
    (_S.BEGUN, _E.ERROR): Effect(_A.END, _O.WORKER_LOST_STREAMING, _G.FAULT, may_be_death=True),
    (_S.BEGUN, _E.LOST): Effect(_A.END, _O.WORKER_LOST_STREAMING, _G.FAULT, may_be_death=True),
    (_S.BEGUN, _E.TRUNCATED): Effect(_A.END, _O.WORKER_LOST_STREAMING, None),
    (_S.BEGUN, _E.MALFORMED): Effect(_A.END, _O.WORKER_LOST_STREAMING, _G.FAULT),
    (_S.BEGUN, _E.SILENT): Effect(_A.END, _O.WORKER_STALLED, _G.FAULT),
    (_S.BEGUN, _E.CUT): Effect(_A.END, _O.CUT_BY_SHUTDOWN, None),
    # Pages that run no model say nothing of whether a model runs.
    (_S.UTILITY, _E.ANSWERED): Effect(_A.RELAY, _O.COMPLETED),
    (_S.UTILITY, _E.REFUSED): Effect(_A.FORWARD, _O.REJECTED_BY_ENGINE),
    (_S.UTILITY, _E.UNABLE): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.FULL): Effect(_A.END, _O.NO_ROOM),
    (_S.UTILITY, _E.LOCKED): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.STRANGE): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.ERROR): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.LOST): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.TRUNCATED): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.MALFORMED): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.SILENT): Effect(_A.END, _O.FIRST_BYTE_TIMEOUT),
    (_S.UTILITY, _E.UNREACHABLE): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.NAMELESS): Effect(_A.END, _O.WORKER_FAILED),
    (_S.UTILITY, _E.SHORT): Effect(_A.END, _O.GATEWAY_EXHAUSTED),
    (_S.UTILITY, _E.CUT): Effect(_A.END, _O.CUT_BY_SHUTDOWN),
    (_S.PROBE, _E.ANSWERED): Effect(_A.NOTE, None, _G.PROBE_OK),
    (_S.PROBE, _E.REFUSED): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.UNABLE): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.FULL): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.LOCKED): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.STRANGE): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.ERROR): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.LOST): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.TRUNCATED): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.MALFORMED): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.SILENT): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.UNREACHABLE): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.NAMELESS): Effect(_A.NOTE, None, _G.PROBE_FAILED),
    (_S.PROBE, _E.SHORT): Effect(_A.NOTE),
    (_S.PROBE, _E.CUT): Effect(_A.NOTE),
}
"""Of an answer that has begun no head is judged any more: those pairs are not there."""

OF_THE_REQUEST: Final = frozenset({400, 404, 413, 422})
"""Statuses by which an engine says that the request itself is wrong; what vLLM 0.32 sends of 4xx besides 401."""

_BY_STATUS: Final = {
    401: Evidence.LOCKED,
    403: Evidence.LOCKED,
    407: Evidence.LOCKED,
    429: Evidence.FULL,
    501: Evidence.UNABLE,
    503: Evidence.FULL,
    505: Evidence.UNABLE,
}


def evidence_of(status: int, *, is_answer: bool, is_of_request: bool) -> Evidence:
    """What the head of an answer says.

    `is_answer`: it is of the kind that was asked for; `is_of_request`: its body is the engine's word on the request.
    """
    if is_answer:
        return Evidence.ANSWERED
    if is_of_request and status in OF_THE_REQUEST:
        return Evidence.REFUSED
    return _BY_STATUS.get(status, Evidence.ERROR if 500 <= status < 600 else Evidence.STRANGE)


def judge(situation: Situation, evidence: Evidence) -> Effect:
    """What follows from `evidence`; a pair that cannot occur is our own mistake."""
    return TABLE[situation, evidence]
