"""The script about budgets decides exactly what its model decides, on the servers that people have.

The ordinary suite makes few random calls; `make test-replicas` makes 100,000 on each server (REPLICA_OPERATIONS).
"""

import os
from collections import Counter
from typing import Any

import valkey

from gateway.replicas import budget_call as calls
from gateway.replicas.budget_call import BudgetCall, BudgetReply

from .budget_model import BudgetModel
from .random_budget_calls import BudgetCrowd
from .real_script import RealScript, agreed, fields

OPERATIONS = int(os.environ.get("REPLICA_OPERATIONS", "5000"))
KINDS = ("ok", "register", "late", "grants", "decided", "waits", "wanted", "yields", "spare", "held elsewhere")


def _normal(reply: BudgetReply, messages: dict[str, Any]) -> Any:
    return fields(reply)


def _count(seen: Counter[str], call: BudgetCall, reply: BudgetReply) -> None:
    reports = {report.name: report for report in call.budgets}
    seen[reply.status.name.lower()] += 1
    for state in reply.budgets:
        asks = reports[state.name].whole > reports[state.name].idle
        seen["grants"] += state.granted > reports[state.name].granted
        seen["decided"] += asks and state.is_decided
        seen["waits"] += not state.is_decided
        seen["wanted"] += state.wanted == 1
        seen["yields"] += state.wanted == 2
        seen["spare"] += state.spare > 0
        seen["held elsewhere"] += any(state.holds.values())


def test_the_script_does_what_the_model_does(client: valkey.Valkey) -> None:
    """Random calls, wipes, failovers and late repetitions: every reply is the same."""
    seen = Counter[str]()
    for _, call, (reply, _messages) in agreed(
        BudgetCrowd(1), BudgetModel(), RealScript(client, calls.BUDGETS, calls, "f"), OPERATIONS, _normal
    ):
        _count(seen, call, reply)
    assert all(seen[kind] for kind in KINDS), f"nothing of one kind happened: {seen}"
