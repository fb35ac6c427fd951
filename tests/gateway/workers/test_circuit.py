"""The circuit by its table, and whose failures bring a worker into doubt."""

import pytest

from gateway.workers import Circuit, CircuitState, Signal
from gateway.workers.circuit import (
    BODIES_OF_ONE,
    FAULTS_IN_A_ROW,
    MAX_PROBES_BEFORE_TRIAL,
    MAX_SHUNNING,
    PROBES_TO_FORGIVE,
    SEEN_PROBES,
    SHUNNED_PROBES,
    TABLE,
)

S, G = CircuitState, Signal


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("state", CircuitState)
def test_every_state_answers_every_signal(state: CircuitState, signal: Signal) -> None:
    """The table is complete, and a circuit follows it; from SERVING a fault must come in a row, of several tenants."""
    circuit = Circuit()
    circuit.state = state
    is_patient = state is S.SERVING and signal in (G.FAULT, G.PROBE_FAILED)
    for number in range(FAULTS_IN_A_ROW - 1 if is_patient else 0):
        assert not circuit.feed(signal, f"t{number}")
        assert circuit.state is state
    assert circuit.feed(signal, "last") == (TABLE[state, signal] is not state)
    assert circuit.state is TABLE[state, signal]


def fault(tenant: str, body: str = "") -> tuple[Signal, str, bytes]:
    """A request of `tenant` that failed."""
    return (G.FAULT, tenant, body.encode())


def answer(tenant: str) -> tuple[Signal, str, bytes]:
    """A request of `tenant` that was answered."""
    return (G.ANSWERED, tenant, b"")


def after(*story: Signal | tuple[Signal, str, bytes]) -> Circuit:
    """A circuit that has seen `story`."""
    circuit = Circuit()
    for each in story:
        circuit.feed(*(each if isinstance(each, tuple) else (each,)))
    return circuit


BOTH = (fault("a"), fault("b"), fault("a"))


@pytest.mark.parametrize(
    ("story", "state"),
    [
        ([], S.STARTING),
        ([G.PROBE_OK], S.SERVING),
        ([G.PROBE_OK, *BOTH], S.DOUBTED),
        ([G.PROBE_OK, *BOTH, answer("c")], S.SERVING),
        ([G.PROBE_OK, *BOTH, fault("c"), fault("d")], S.DOUBTED),
        ([G.PROBE_OK, *BOTH, G.MOVED], S.DOUBTED),
        ([G.PROBE_OK, *BOTH, G.PROBE_FAILED], S.DOWN),
        ([G.PROBE_OK, fault("a"), fault("b"), answer("c"), fault("a"), fault("b")], S.SERVING),
        ([G.PROBE_OK, fault("a"), G.PROBE_OK, fault("b"), G.PROBE_OK, fault("a")], S.DOUBTED),
        ([G.PROBE_OK, *[fault("a", "same")] * 20], S.SERVING),
        ([G.PROBE_OK, *[fault("a", f"{n}") for n in range(BODIES_OF_ONE)]], S.DOUBTED),
        ([G.PROBE_OK, answer("b"), *[fault("a", f"{n}") for n in range(20)]], S.SERVING),
        ([G.PROBE_OK, answer("b"), answer("a"), *[fault("a", f"{n}") for n in range(20)]], S.SERVING),
        ([answer("b"), *[G.PROBE_OK] * SEEN_PROBES, *[fault("a", f"{n}") for n in range(20)]], S.SERVING),
        ([answer("b"), *[G.PROBE_OK] * (SEEN_PROBES + 1), *[fault("a", f"{n}") for n in range(20)]], S.DOUBTED),
        ([G.PROBE_OK, G.PROBE_FAILED, G.PROBE_OK, G.PROBE_FAILED, G.PROBE_OK, G.PROBE_FAILED], S.SERVING),
        ([G.PROBE_OK, *[G.PROBE_FAILED] * 3], S.DOWN),
        ([G.PROBE_OK, G.GONE, G.PROBE_OK], S.ON_TRIAL),
        ([G.PROBE_OK, G.GONE, G.PROBE_OK, G.ANSWERED], S.SERVING),
        ([G.PROBE_OK, G.GONE, G.PROBE_OK, G.MOVED], S.SERVING),
        ([G.PROBE_OK, G.GONE, G.PROBE_OK, fault("a")], S.DOUBTED),
        ([G.PROBE_OK, G.GONE, G.PROBE_OK, G.GONE], S.DOWN),
        ([G.PROBE_OK, G.GONE, G.ANSWERED], S.DOWN),
        ([G.STALLED, G.PROBE_OK], S.SERVING),
        ([G.PROBE_OK, G.STALLED, G.ANSWERED], S.DOWN),
        ([G.PROBE_OK, G.STALLED, G.PROBE_OK], S.ON_TRIAL),
        ([G.PROBE_OK, G.STALLED, G.PROBE_OK, G.STALLED], S.DOWN),
        ([fault("a"), fault("b"), G.PROBE_OK, fault("c")], S.SERVING),
    ],
)
def test_circuit_stories(story: list[Signal | tuple[Signal, str, bytes]], state: CircuitState) -> None:
    """One tenant or one body alone never decides for others; a green probe does not excuse failing requests."""
    assert after(*story).state is state


def test_who_made_a_worker_doubtful_tries_it_ever_more_rarely_and_others_at_once() -> None:
    """A suspect waits 1, 2, 4 ... probes after each failure, up to a bound; whoever has not failed there never does."""
    circuit = after(G.PROBE_OK, *BOTH)
    waited = []
    for _ in range(8):
        probes = 0
        while not circuit.may_try("a"):
            assert circuit.may_try("c")
            circuit.feed(G.PROBE_OK)
            probes += 1
        waited.append(probes)
        circuit.feed(*fault("a"))
    assert waited == [1, 2, 4, 8, 16, 32, 32, 32]
    assert MAX_PROBES_BEFORE_TRIAL == 32
    circuit.feed(*answer("c"))
    assert circuit.may_try("a")


def test_a_tenant_shuns_a_worker_that_failed_it_until_it_is_answered_or_for_a_while() -> None:
    """Nobody else does; another tenant's answers do not change it; what is remembered is bounded."""
    for forgiveness in ([answer("a")], [G.PROBE_OK] * SHUNNED_PROBES):
        circuit = after(G.PROBE_OK, fault("a"), answer("b"))
        assert circuit.is_shunned_by("a")
        assert not circuit.is_shunned_by("b")
        for each in forgiveness:
            circuit.feed(*(each if isinstance(each, tuple) else (each,)))
        assert not circuit.is_shunned_by("a")
    circuit = after(G.PROBE_OK, *(fault(f"t{number}") for number in range(MAX_SHUNNING + 1)))
    assert not circuit.is_shunned_by("t0")
    assert circuit.is_shunned_by("t1")


def probes_before_trial(circuit: Circuit) -> int:
    """How many good probes in a row a worker that is down waits for."""
    assert circuit.state is S.DOWN
    probes = 1
    while not circuit.feed(G.PROBE_OK):
        probes += 1
    return probes


def test_a_worker_that_comes_and_goes_is_tried_ever_more_rarely() -> None:
    """Each time it breaks after it came back it must answer twice as many probes, in a row, up to a bound."""
    circuit = after(G.PROBE_OK)
    waited = []
    for _ in range(8):
        circuit.feed(G.GONE)
        circuit.feed(G.PROBE_OK)
        circuit.feed(G.PROBE_FAILED)
        waited.append(probes_before_trial(circuit))
        circuit.feed(G.ANSWERED)
    assert waited == sorted(waited)
    assert waited[-1] == MAX_PROBES_BEFORE_TRIAL
    assert waited[2:5] == [8, 16, 32]


def test_failing_requests_do_not_delay_the_return_from_an_outage() -> None:
    """However often one tenant's requests failed before, the first good probe after an outage brings the trial."""
    faults = [fault("a", f"{number}") for number in range(200)]
    circuit = after(G.PROBE_OK, *faults, answer("a"), *faults, G.GONE)
    assert probes_before_trial(circuit) == 1


def test_a_worker_that_has_served_for_long_is_trusted_like_a_new_one() -> None:
    """Good probes while it serves are forgiveness; one fewer is none."""
    for probes, waited in ((PROBES_TO_FORGIVE, 1), (PROBES_TO_FORGIVE - 1, 2)):
        circuit = after(G.PROBE_OK, G.GONE, G.PROBE_OK, G.ANSWERED, *[G.PROBE_OK] * probes, G.GONE)
        assert probes_before_trial(circuit) == waited
