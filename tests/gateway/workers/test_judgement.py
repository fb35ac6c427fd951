"""Whose fault it is, pair by pair."""

from itertools import product

import pytest

from gateway.outcomes import Outcome
from gateway.workers import Action, Evidence, Signal, Situation, evidence_of, judge
from gateway.workers.judgement import TABLE

S, E, A = Situation, Evidence, Action
OF_A_HEAD = {E.REFUSED, E.UNABLE, E.FULL, E.LOCKED, E.STRANGE, E.UNREACHABLE, E.NAMELESS, E.SHORT}
PAIRS = [pair for pair in product(Situation, Evidence) if pair[0] is not S.BEGUN or pair[1] not in OF_A_HEAD]
ELSEWHERE = {E.LOCKED, E.STRANGE, E.ERROR, E.LOST, E.TRUNCATED, E.MALFORMED, E.SILENT, E.UNREACHABLE, E.NAMELESS}


def test_the_table_holds_every_pair_that_can_occur() -> None:
    """And no other: once an answer has begun no head is judged any more."""
    assert set(TABLE) == set(PAIRS)


@pytest.mark.parametrize(("situation", "evidence"), PAIRS, ids=lambda part: part.value)
def test_every_pair_keeps_the_rules(situation: Situation, evidence: Evidence) -> None:
    """What may be tried again, what a worker hears and when a request has an outcome."""
    effect = judge(situation, evidence)
    is_tried_again = effect.action in (A.AGAIN, A.WAIT)
    assert not is_tried_again or situation is S.WAITING
    assert (effect.action is A.NOTE) is (situation is S.PROBE)
    ends = effect.action in (A.END, A.FORWARD) or (situation, evidence) == (S.UTILITY, E.ANSWERED)
    assert (effect.outcome is not None) is ends
    if evidence in (E.FULL, E.SHORT, E.CUT) and situation is not S.PROBE:
        assert effect.signal is None
    if situation is S.UTILITY:
        assert effect.signal is None
    if situation is S.PROBE:
        expected = {E.ANSWERED: Signal.PROBE_OK, E.SHORT: None, E.CUT: None}.get(evidence, Signal.PROBE_FAILED)
        assert effect.signal is expected
    if effect.may_be_death:
        assert evidence in (E.ERROR, E.LOST)


@pytest.mark.parametrize("evidence", Evidence, ids=lambda part: part.value)
def test_what_a_client_meets_that_has_no_byte(evidence: Evidence) -> None:
    """Sent elsewhere for what is the worker's, ended with the same words where that was the last attempt."""
    first, last = judge(S.WAITING, evidence), judge(S.LAST, evidence)
    assert (first.action is A.AGAIN) is (evidence in ELSEWHERE)
    assert (first.signal, first.may_be_death) == (last.signal, last.may_be_death)
    if evidence in ELSEWHERE:
        assert last.outcome is (Outcome.FIRST_BYTE_TIMEOUT if evidence is E.SILENT else Outcome.WORKER_FAILED)
        assert last.signal is (Signal.GONE if evidence is E.UNREACHABLE else Signal.FAULT)
    elif evidence is E.FULL:
        assert (first.action, last.outcome) == (A.WAIT, Outcome.NO_ROOM)
    else:
        assert first == last


@pytest.mark.parametrize("status", [100, 101, *range(200, 600)])
@pytest.mark.parametrize("is_of_request", [False, True])
def test_every_status_has_its_evidence(status: int, is_of_request: bool) -> None:
    """Only 400, 404, 413 and 422 in the engine's own words are the client's fault, whatever else may be sent."""
    evidence = evidence_of(status, is_answer=False, is_of_request=is_of_request)
    assert (evidence is E.REFUSED) is (is_of_request and status in (400, 404, 413, 422))
    expected = {401: E.LOCKED, 403: E.LOCKED, 407: E.LOCKED, 429: E.FULL, 503: E.FULL, 501: E.UNABLE, 505: E.UNABLE}
    if evidence is not E.REFUSED:
        assert evidence is expected.get(status, E.ERROR if status >= 500 else E.STRANGE)
    assert evidence_of(status, is_answer=True, is_of_request=is_of_request) is E.ANSWERED
