"""Decides whose fault it is when an attempt fails, and what follows for client, worker, request and account.

The decision is a closed table from (situation, evidence) to effect. Its rules:
- A failure is the client's fault only if the engine says in its own words that the request is wrong (400, 404, 413,
  422). Every other failure is the worker's or the gateway's, and the request goes to another worker while its client
  has no byte.
- If the engine cannot do something at all (501, 505), the gateway does not ask again.
- Lack of room (429, 503) is nobody's fault: the request waits.
- If the gateway itself lacks something (descriptors, ports, memory), that says nothing about any worker.
- An attempt that fails before its answer begins is refunded. If the answer has begun, the relay settles the charge.
Left to others: how many failures put a worker in doubt (`circuit`), and which request kills workers (`quarantine`).
"""

from enum import Enum
from typing import Final, NamedTuple

from gateway.outcomes import Outcome
from gateway.workers.circuit import Signal


class Situation(Enum):
    """How far the request is when the evidence appears."""

    WAITING = "waiting"  # the client has no byte; another attempt is left
    LAST = "last"  # the client has no byte; no attempt is left
    BEGUN = "begun"  # the client has bytes of the answer
    UTILITY = "utility"  # a request that takes no room and is sent once
    PROBE = "probe"

    __hash__ = object.__hash__  # Enum's own is a Python function, and every request is judged


class Evidence(Enum):
    """What was seen of an attempt."""

    ANSWERED = "answered"  # an answer of the kind that was asked for; in BEGUN: it came to its own end
    REFUSED = "refused"  # the engine says that the request is wrong
    UNABLE = "unable"  # 501, 505
    FULL = "full"  # 429, 503
    LOCKED = "locked"  # 401, 403, 407: the worker does not accept the gateway
    STRANGE = "strange"  # no engine's answer: a redirect, a page, another model's engine, any other status
    ERROR = "error"  # any other 5xx; in BEGUN: an error event
    LOST = "lost"  # the connection broke
    TRUNCATED = "truncated"  # an orderly end before the end of the answer
    MALFORMED = "malformed"  # not HTTP, or not what the answer's format allows
    SILENT = "silent"  # no byte in time
    UNREACHABLE = "unreachable"  # no connection
    NAMELESS = "nameless"  # the name of its host was never resolved
    SHORT = "short"  # no connection, because the gateway lacked something
    CUT = "cut"  # the gateway ended it

    __hash__ = object.__hash__


class Action(Enum):
    """What the gateway does with the request."""

    RELAY = "relay"  # the answer goes to the client
    FORWARD = "forward"  # the engine's refusal goes to the client
    WAIT = "wait"  # back to the head of its queue until there is room
    AGAIN = "again"  # to another worker
    END = "end"
    NOTE = "note"  # there is no client


class Effect(NamedTuple):
    """What follows: `outcome` if the request ends with it, and `signal` for the circuit."""

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
"""After an answer has begun no head of an answer is judged, so BEGUN lacks the pairs that only a head can show."""

OF_THE_REQUEST: Final = frozenset({400, 404, 413, 422})
"""Statuses by which an engine says that the request itself is wrong: the 4xx of vLLM 0.32 except 401."""

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
    """The evidence in the head of an answer.

    `is_answer`: the answer is of the kind that was asked for. `is_of_request`: its body is the engine's own error.
    """
    if is_answer:
        return Evidence.ANSWERED
    if is_of_request and status in OF_THE_REQUEST:
        return Evidence.REFUSED
    return _BY_STATUS.get(status, Evidence.ERROR if 500 <= status < 600 else Evidence.STRANGE)


def judge(situation: Situation, evidence: Evidence) -> Effect:
    """What follows from `evidence`; a pair that is not in the table is our own mistake (KeyError)."""
    return TABLE[situation, evidence]
