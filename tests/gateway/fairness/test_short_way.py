"""A request that finds nobody waiting and room runs at once: it has not been in a queue, and nobody can tell."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uncompiled import needs_sources

from gateway.fairness import POLICIES, Grant
from gateway.fairness.decisions import Decision
from gateway.fairness.flow import Flow
from gateway.fairness.waiting_room import WaitingRoom

from .bench import Bench
from .tape import play

TAPES = st.binary(min_size=30, max_size=110)
CHEAP = settings(database=None, suppress_health_check=list(HealthCheck))
EXAMPLES = {"vtc": 800, "drr": 300}


class Recorded(Bench):
    """Keeps what was decided, and every account after it."""

    def __init__(self, policy: str, predictor: str, **options: object) -> None:
        super().__init__(policy, predictor, **options)  # type: ignore[arg-type]
        self.record: list[object] = []

    def carry_out(self, decisions: list[Decision], pool: str) -> None:
        """Do what was decided and write it down."""
        super().carry_out(decisions, pool)
        self.record.append(([_decided(decision) for decision in decisions], self._accounts()))

    def _accounts(self) -> list[object]:
        accounts: list[object] = []
        for account in self.admission.pools.values():
            queue = account.queue
            accounts += [queue.queued, queue.spread_units(), queue.group.policy.bound.refundable]
            if queue.queued:
                accounts.append(queue.longest_tenant().newest().request_id)
            for tenant in queue.tenants.values():
                accounts.append(_account(tenant))
                accounts += map(_account, tenant.keys)
        accounts += [(ticket.request_id, ticket.order, ticket.worker) for ticket in self.admission.running]
        return [*accounts, self.admission.next_deadline(), self.fleet.snapshot()]


def _decided(decision: Decision) -> object:
    where = decision.worker if isinstance(decision, Grant) else (decision.outcome, decision.retry_after_seconds)
    return decision.ticket.request_id, where


def _account(flow: Flow) -> object:
    counter = (flow.counter, flow.floor, flow.settled, flow.lifted, flow.outstanding, flow.spent)
    return flow.name, counter, flow.ceilings, flow.refundable, flow.exposure, flow.queued, flow.is_waiting


def _never(*_: object) -> bool:
    """Nobody is alone: everybody goes through the queue."""
    return False


@needs_sources
@pytest.mark.hypothesis
@pytest.mark.parametrize("policy", POLICIES)
def test_the_short_way_leads_where_the_long_one_does(policy: str) -> None:
    """The same decisions in the same order, and the same accounts after each, with and without the queue."""

    @settings(CHEAP, max_examples=EXAMPLES.get(policy, 100))
    @given(TAPES)
    def holds(data: bytes) -> None:
        short = play(data, policy, bench_type=Recorded)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(WaitingRoom, "is_empty_before", _never)
            long = play(data, policy, bench_type=Recorded)
        assert isinstance(short, Recorded)
        assert isinstance(long, Recorded)
        assert short.record == long.record

    holds()
