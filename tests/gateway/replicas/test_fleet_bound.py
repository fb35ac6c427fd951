"""The counters of tenants that wait anywhere stay within E + R + 2 S of each other (docs/fairness.md, section 8).

Random floods at gateways that stay in touch with the store: calls and messages are slow and come twice, and the order
in which they arrive is any. The ordinary suite runs few fleets; `make test-replicas` runs more (REPLICA_PROGRAMMES).
"""

import os
from dataclasses import replace
from random import Random

import pytest

from gateway.fairness.flow import Flow
from gateway.replicas.call import Reply
from gateway.replicas.replica import Replica

from .fleet import Fleet, Flood, Network
from .judge import Judge

PROGRAMMES = int(os.environ.get("REPLICA_PROGRAMMES", "12"))
SLOW = Network((0.0002, 0.001, 0.005, 0.02), repetition=0.05)


def judged(seed: int, replica: type[Replica] = Replica) -> Judge:
    """What a judge found in 10 s of random floods, two of which are deep enough to wait for each other."""
    random = Random(seed)
    gateways = random.choice((2, 3, 5))
    weights = {name: random.choice((0.5, 1.0, 1.0, 3.0)) for name in "abcd"}
    predictor = random.choice(("none", "quantile", "oracle"))
    window = random.choice((2, 8, 33))
    fleet = Fleet(
        gateways, window=window, network=SLOW, seed=seed, predictor=predictor, weights=weights, replica_type=replica
    )
    judge = Judge(fleet)
    fleet.floods = [
        Flood(gateway, tenant, depth=window + 3, since=4.0, until=7.0) for gateway, tenant in enumerate("ab")
    ]
    for _ in range(random.randrange(1, 7)):
        longest = random.choice((4, 20, 100))
        since = random.uniform(0.0, 6.0)
        fleet.floods.append(
            Flood(
                random.randrange(gateways),
                random.choice("abcd"),
                length=lambda draws, longest=longest: draws.randrange(1, longest + 1),
                depth=random.choice((1, 3, 20)),
                since=since,
                until=since + random.uniform(0.5, 6.0),
            )
        )
    fleet.run(10.0)
    fleet.check()
    return judge


@pytest.mark.parametrize("seed", range(PROGRAMMES))
def test_the_spread_keeps_the_bound(seed: int) -> None:
    """E + R + 2 S holds after every event, and so does what the replicas compute of it and export."""
    assert judged(seed).checks


class OwnLevels(Replica):
    """Control: lifts look at this gateway alone."""

    def answered(self, reply: Reply) -> None:
        """As the replica's, without levels."""
        super().answered(replace(reply, vt=0))
        self.flows.policy.least_elsewhere = None

    def _own_vt(self) -> int:
        return 0


def idle_then_flooded(replica: type[Replica]) -> Fleet:
    """`a` is served alone for a while; then it waits at one gateway and a newcomer at another."""
    fleet = Fleet(2, window=8, network=SLOW, replica_type=replica)
    fleet.floods = [Flood(0, "a", depth=1, until=10.0), Flood(0, "a", since=10.1), Flood(1, "b", since=10.1)]
    return fleet


def after_idle_time(replica: type[Replica]) -> None:
    """Hold 15 s of that to the bound."""
    fleet = idle_then_flooded(replica)
    Judge(fleet)
    fleet.run(15.0)


def test_the_bound_breaks_without_shared_levels() -> None:
    """Control: a newcomer at an idle gateway starts far below the others."""
    after_idle_time(Replica)
    with pytest.raises(AssertionError, match=" > "):
        after_idle_time(OwnLevels)


def test_the_exported_spread_shows_a_broken_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without lifts, what the replicas themselves see goes beyond what they compute."""
    monkeypatch.setattr(Flow, "lift_to", lambda flow, level, margin: None)
    fleet = idle_then_flooded(Replica)
    beyond = []
    for _ in range(150):
        fleet.run(0.1)
        beyond += [each.replica.spread_units > each.replica.spread_bound_units for each in fleet.gateways]
    assert any(beyond)
