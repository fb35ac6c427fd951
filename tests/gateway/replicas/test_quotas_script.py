"""The script about the limits of tenants decides exactly what its model decides, on the servers that people have.

The ordinary suite makes few random calls; `make test-replicas` makes 100,000 on each server (REPLICA_OPERATIONS).
"""

import os
from collections import Counter
from typing import Any

import valkey

from gateway.replicas import quota_call as calls
from gateway.replicas.quota_call import MOST_ROWS, LimitReport, QuotaCall, QuotaMessage, QuotaReply

from .quota_model import QuotaModel
from .random_quota_calls import QuotaCrowd
from .real_script import RealScript, agreed, fields

OPERATIONS = int(os.environ.get("REPLICA_OPERATIONS", "5000"))
FLEET = "f"


def normal(reply: QuotaReply, messages: dict[str, QuotaMessage]) -> Any:
    """What a result says."""
    return fields(reply), {name: fields(message) for name, message in messages.items()}


def _count(seen: Counter[str], call: QuotaCall, reply: QuotaReply, messages: dict[str, QuotaMessage]) -> None:
    reports = {report.name: report for report in call.limits}
    seen[reply.status.name.lower()] += 1
    seen["grants"] += sum(state.granted > reports[state.name].granted for state in reply.limits)
    seen["gone"] += sum(state.is_gone for state in reply.limits)
    seen["yields"] += sum(state.wanted == 2 for state in reply.limits)
    seen["claims"] += len(reply.claimed)
    seen["unsettled"] += reply.generation != "" and not reply.is_settled
    for message in messages.values():
        seen["grants elsewhere"] += len(message.grants)
        seen["wanted"] += len(message.wanted)
        seen["claimed"] += len(message.claimed)


KINDS = ("ok", "register", "late", "grants", "grants elsewhere", "gone", "yields", "claims", "unsettled", "wanted")


def test_the_script_does_what_the_model_does(client: valkey.Valkey) -> None:
    """Random calls, wipes, failovers and late repetitions: every reply and every message is the same."""
    seen = Counter[str]()
    play = agreed(QuotaCrowd(1), QuotaModel(), RealScript(client, calls.QUOTAS, calls, FLEET), OPERATIONS, normal)
    for _, call, (reply, messages) in play:
        _count(seen, call, reply, messages)
    assert all(seen[kind] for kind in KINDS), f"nothing of one kind happened: {seen}"


def test_more_claims_than_a_page_come_page_by_page(client: valkey.Valkey) -> None:
    """Each limit that came into use is told once, however many pages it takes."""
    model, store, told, claims = QuotaModel(), RealScript(client, calls.QUOTAS, calls, FLEET), [], 0
    for number in range(1, 4):
        limits = [LimitReport(f"f:{number}:{each}", 5, is_rate=False, held=1, used=1) for each in range(MOST_ROWS)]
        call = QuotaCall("a", "boot", 0, number, "server", "g", "g", is_registering=number == 1, limits=limits)
        assert fields(store.turn(call, 1)[0]) == fields(model.turn(call, 1)[0])
    for number in range(1, 10):
        call = QuotaCall("b", "boot", 0, number, "server", "g", "g", claims=claims, is_registering=number == 1)
        reply, _ = model.turn(call, 1)
        assert fields(store.turn(call, 1)[0]) == fields(reply)
        told, claims = [*told, *reply.claimed], reply.claims
        if not reply.has_more_claims:
            break
    assert sorted(told) == sorted(f"f:{number}:{each}" for number in range(1, 4) for each in range(MOST_ROWS))
