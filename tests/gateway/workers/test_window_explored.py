"""The window's controller over its whole state space: it has no trap and no loss. The explorer finds both."""

from dataclasses import replace

import pytest

from gateway.workers import Phase
from gateway.workers.tuning_sequences import (
    FEWEST_SEQUENCES,
    LANE_PATIENCE,
    MOST_SEQUENCES,
    PATIENCE,
    SequenceController,
    Sequences,
    SlotEvidence,
    SlotReading,
)

from .window_explorer import Controller, Engine, Exploration, Loss, Trap, every_state

MOST_READINGS, MOST_READINGS_WITH_LANE = 150, 280  # docs/window.md says so
MOST = 8  # slots, in the controller that is explored whole
SETTLED_PATIENCE = PATIENCE[Phase.SETTLED]


@pytest.mark.parametrize("slots", range(1, MOST - 1))
@pytest.mark.parametrize("slack", [1, 2])
def test_from_every_state_telling_readings_lead_to_the_engines_size(slots: int, slack: int) -> None:
    """From every learned state, whatever has just ended, the engine's size is found within the stated readings."""
    exploration = Exploration(SequenceController(slack, most=MOST), Engine(slots, slack))
    most = exploration.most_readings(every_state(MOST + slack, SETTLED_PATIENCE))
    assert isinstance(most, int), most
    assert most <= SETTLED_PATIENCE + PATIENCE[Phase.GROWING] * slots


@pytest.mark.parametrize("slots", range(1, MOST - 1))
@pytest.mark.parametrize("slack", [1, 2])
def test_no_reading_of_a_healthy_engine_takes_a_slot_from_the_window(slots: int, slack: int) -> None:
    """However few sequences run, no reading of a healthy engine shrinks the window below slots and slack."""
    states = (state for state in every_state(MOST + slack, SETTLED_PATIENCE) if state.calm in (0, SETTLED_PATIENCE - 1))
    assert Exploration(SequenceController(slack, most=MOST), Engine(slots, slack)).loss(states) is None


@pytest.mark.parametrize("slots", [2, 6])
@pytest.mark.parametrize("lane", [1, 3])
def test_slots_kept_free_for_the_express_lane_hide_no_trap(slots: int, lane: int) -> None:
    """With slots kept free the window still finds their number, because it tries a larger size now and then."""
    exploration = Exploration(SequenceController(1, has_lane=True, most=MOST), Engine(slots, lane=lane))
    starts = (state for state in every_state(MOST + 1, LANE_PATIENCE) if state.calm in (0, LANE_PATIENCE - 1))
    most = exploration.most_readings(starts)
    assert isinstance(most, int), most
    assert most <= MOST_READINGS_WITH_LANE


@pytest.mark.parametrize("slots", [9, 64, 256, MOST_SEQUENCES])
@pytest.mark.parametrize(("lane", "most"), [(0, MOST_READINGS), (4, MOST_READINGS_WITH_LANE)])
def test_engines_of_any_size_are_found_within_the_readings_stated(slots: int, lane: int, most: int) -> None:
    """The size is found from near and far, at every pace, if none, few, an eighth or all end with each step."""
    controller, engine = SequenceController(1, has_lane=lane > 0), Engine(slots, lane=lane)
    limits = {*range(2, 40), slots // 2, slots - 1, slots, slots + 1, slots + 2, 500, MOST_SEQUENCES + 1}
    starts = (Sequences(limit, pace) for limit in limits for pace in (0, 1, 2, 4, 8, 16))
    readings = Exploration(controller, engine, endings=(0, 1, 2, slots // 8 + 1, slots)).most_readings(starts)
    assert isinstance(readings, int), readings
    assert readings <= most


def test_a_found_size_stays_while_it_is_full() -> None:
    """At slots and slack no reading of a full window moves it, from any state."""
    controller, engine = SequenceController(1, most=MOST), Engine(6)
    for state in every_state(MOST + 1, SETTLED_PATIENCE):
        if state.limit == 7:
            assert {controller.step(state, reading).limit for reading in engine.telling(state)} == {7}


# -- controllers with a known defect, which the explorer must find


class _Mutant:
    """The controller with something wrong."""

    def __init__(self) -> None:
        self.controller = SequenceController(1, most=MOST)

    def step(self, known: Sequences, reading: SlotReading) -> Sequences:
        raise NotImplementedError


class _StrikesStay(_Mutant):
    """A slack that waits counts against the window for ever, and the next queue makes it what runs just then."""

    def step(self, known: Sequences, reading: SlotReading) -> Sequences:
        if not reading.waiting:
            return replace(self.controller.step(known, reading), proof=known.proof)
        if not known.proof or reading.waiting <= 1:
            return replace(known, proof=1)
        return Sequences(max(FEWEST_SEQUENCES, min(known.limit, reading.running + 1)), 1, 1)


class _WhatRuns(_Mutant):
    """What two readings in a row show running is taken for the size."""

    def step(self, known: Sequences, reading: SlotReading) -> Sequences:
        return self.controller.step(known, replace(reading, there=reading.running + reading.waiting))


class _EdgeOnly(_Mutant):
    """A settled window grows only where more runs than was thought possible."""

    def step(self, known: Sequences, reading: SlotReading) -> Sequences:
        evidence = self.controller.evidence(known, reading)
        if known.phase is Phase.SETTLED and evidence in (SlotEvidence.MOST, SlotEvidence.TAKEN):
            return replace(known, proof=0)
        return self.controller.step(known, reading)


class _NeverSmaller(_Mutant):
    """No queue makes the window smaller."""

    def step(self, known: Sequences, reading: SlotReading) -> Sequences:
        return replace(
            self.controller.step(known, reading), limit=max(known.limit, self.controller.step(known, reading).limit)
        )


@pytest.mark.parametrize(
    ("mutant", "is_trap", "is_loss"),
    [
        (_StrikesStay(), False, True),
        (_WhatRuns(), False, True),
        (_EdgeOnly(), True, False),
        (_NeverSmaller(), True, False),
    ],
)
def test_the_explorer_finds_what_is_wrong_with_a_controller(mutant: Controller, is_trap: bool, is_loss: bool) -> None:
    """Controls: two controllers that lose slots, two with a trap."""
    exploration = Exploration(mutant, Engine(5))
    states = tuple(state for state in every_state(MOST + 1, SETTLED_PATIENCE) if state.calm == 0)
    assert isinstance(exploration.most_readings(states), Trap) is is_trap
    assert isinstance(exploration.loss(states), Loss) is is_loss


# -- the table


GROWN, SETTLED, CALMER, NOTED, SAME = "grown", "settled", "calmer", "noted", "same"
TABLE = {
    (Phase.GROWING, SlotEvidence.QUEUE): NOTED,
    (Phase.GROWING, SlotEvidence.EDGE): GROWN,
    (Phase.GROWING, SlotEvidence.MOST): GROWN,
    (Phase.GROWING, SlotEvidence.TAKEN): CALMER,
    (Phase.GROWING, SlotEvidence.NOTHING): SAME,
    (Phase.SETTLED, SlotEvidence.QUEUE): NOTED,
    (Phase.SETTLED, SlotEvidence.EDGE): GROWN,
    (Phase.SETTLED, SlotEvidence.MOST): CALMER,
    (Phase.SETTLED, SlotEvidence.TAKEN): CALMER,
    (Phase.SETTLED, SlotEvidence.NOTHING): SAME,
}
TELLS = {
    SlotEvidence.QUEUE: SlotReading(20, 21, 41, is_limiting=True, is_taken=False),
    SlotEvidence.EDGE: SlotReading(40, 0, 40, is_limiting=True, is_taken=True),
    SlotEvidence.MOST: SlotReading(38, 0, 40, is_limiting=True, is_taken=True),
    SlotEvidence.TAKEN: SlotReading(0, 0, 40, is_limiting=True, is_taken=True),
    SlotEvidence.NOTHING: SlotReading(0, 0, 40, is_limiting=True, is_taken=False),
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("evidence", SlotEvidence)
def test_every_pair_of_phase_and_evidence_has_its_effect(phase: Phase, evidence: SlotEvidence) -> None:
    """The effects are those of the table in docs/window.md; a second queue settles the window at the larger proof."""
    controller = SequenceController(1)
    known, reading = Sequences(40, pace=2 if phase is Phase.GROWING else 1), TELLS[evidence]
    assert known.phase is phase
    assert controller.evidence(known, reading) is evidence
    effects = {
        GROWN: Sequences(40 + known.pace, pace=2 * known.pace),
        CALMER: replace(known, calm=1),
        NOTED: replace(known, proof=21),
        SAME: known,
    }
    after = controller.step(known, reading)
    assert after == effects[TABLE[phase, evidence]]
    if evidence is SlotEvidence.QUEUE:
        assert controller.step(after, reading) == Sequences(21, pace=1)
        assert controller.step(after, replace(reading, waiting=1)) == Sequences(40, pace=1, proof=40)
        assert controller.step(controller.step(after, TELLS[SlotEvidence.NOTHING]), reading) == after
