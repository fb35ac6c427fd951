"""The table of a worker's life, pair by pair, and what holds on every path through it."""

import pytest

from backend.supervisor.life import HAS_PROCESS, TABLE, Effect, LifeSignal, State

PAIRS = [(state, signal) for state in State for signal in LifeSignal]
ANYTHING = set(LifeSignal)

# The whole table once more, by what matters: from each state the signals that move it, and where to.
MOVES = {
    State.STOPPED: {LifeSignal.START: State.LOADING},
    State.LOADING: {
        LifeSignal.STOP: State.DRAINING,
        LifeSignal.ANNOUNCED: State.READY,
        LifeSignal.ENDED: State.BACK_OFF,
        LifeSignal.GAVE_UP: State.FAILED,
    },
    State.READY: {
        LifeSignal.STOP: State.DRAINING,
        LifeSignal.ENDED: State.BACK_OFF,
        LifeSignal.PROBE_FAILED: State.UNHEALTHY,
        LifeSignal.CONDEMNED: State.UNHEALTHY,
    },
    State.UNHEALTHY: {
        LifeSignal.STOP: State.DRAINING,
        LifeSignal.ENDED: State.BACK_OFF,
        LifeSignal.PROBE_OK: State.READY,
    },
    State.DRAINING: {LifeSignal.ENDED: State.STOPPED, LifeSignal.GAVE_UP: State.STOPPED},
    State.BACK_OFF: {
        LifeSignal.START: State.LOADING,
        LifeSignal.OVERDUE: State.LOADING,
        LifeSignal.STOP: State.STOPPED,
        LifeSignal.GAVE_UP: State.FAILED,
    },
    State.FAILED: {LifeSignal.START: State.LOADING, LifeSignal.STOP: State.STOPPED},
}


@pytest.mark.parametrize(("state", "signal"), PAIRS, ids=lambda each: each.value)
def test_every_pair(state: State, signal: LifeSignal) -> None:
    """Each pair leads to the right state, with exactly the effects that this needs."""
    after, effects = TABLE[state, signal]
    assert after is MOVES[state].get(signal, state)
    match (state, after):
        case (_, State.LOADING) if state is not State.LOADING:
            assert effects == (Effect.LAUNCH,)
        case (_, State.DRAINING) if state is not State.DRAINING:
            assert effects == (Effect.END,)
        case (_, State.BACK_OFF) if state is not State.BACK_OFF:
            assert effects == (Effect.WAIT,)
        case (State.LOADING | State.UNHEALTHY, _) if signal is LifeSignal.OVERDUE:
            assert effects == (Effect.END,)
        case (State.READY | State.UNHEALTHY, _) if signal is LifeSignal.CONDEMNED:
            assert effects == (Effect.END,)
        case _:
            assert effects == ()


def _possible(state: State, is_running: bool) -> set[LifeSignal]:
    """What can happen: a process ends only where there is one; a start is given up before it or during a back-off."""
    starting = state in (State.LOADING, State.DRAINING, State.BACK_OFF)
    return ANYTHING - (set() if is_running else {LifeSignal.ENDED}) - (set() if starting else {LifeSignal.GAVE_UP})


def test_no_path_runs_two_processes_or_forgets_one() -> None:
    """Over every path: a launch finds no process, an end finds one, and the states without one really have none."""
    seen: set[tuple[State, bool]] = set()
    frontier = [(State.STOPPED, False)]
    while frontier:
        state, is_running = frontier.pop()
        if (state, is_running) in seen:
            continue
        seen.add((state, is_running))
        for signal in _possible(state, is_running):
            after, effects = TABLE[state, signal]
            running = is_running and signal not in (LifeSignal.ENDED, LifeSignal.GAVE_UP)
            if Effect.LAUNCH in effects:
                assert not running
                running = True
            if Effect.END in effects:
                assert running
            assert running is (after in HAS_PROCESS), (state, signal)
            frontier.append((after, running))
    assert {state for state, _ in seen} == set(State)


@pytest.mark.parametrize("state", State, ids=lambda each: each.value)
def test_whoever_asks_to_stop_gets_stopped(state: State) -> None:
    """From every state STOP leads to STOPPED, at once or with the end of the process, whatever comes between."""
    after, _ = TABLE[state, LifeSignal.STOP]
    if after is State.DRAINING:
        for signal in ANYTHING - {LifeSignal.ENDED, LifeSignal.GAVE_UP}:
            assert TABLE[after, signal] == (State.DRAINING, ())
        after, _ = TABLE[after, LifeSignal.ENDED]
    assert after is State.STOPPED
