"""Windows and the placement of requests, by tables."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers import EngineSample, Fleet, Limit, Signal, Window, WindowSize, WorkerSpec
from gateway.workers.window import MOST_UNSEEN_WINDOWS
from gateway.workers.worker import PROBES_OF_TRIAL


@pytest.mark.parametrize(
    ("taken", "tokens", "has_place", "fits_prefill"),
    [
        ([], 10, True, True),
        ([], 9_999, True, True),
        ([(1, 10)] * 4, 10, True, True),
        ([(1, 10)] * 5, 10, False, True),
        ([(4, 10), (1, 10)], 10, True, True),
        ([(9, 10)], 10, True, True),
        ([(99, 10)], 10, True, True),
        ([(5, 10), (5, 10)], 10, False, True),
        ([(1, 60)], 40, True, True),
        ([(1, 60)], 41, True, False),
    ],
)
def test_room_in_a_window(taken: list[tuple[int, int]], tokens: int, has_place: bool, fits_prefill: bool) -> None:
    """A window holds size plus slack sequences, whatever the next one's width, and unread tokens up to the limit."""
    window = Window(WindowSize(4, 1, 100))
    for amounts in taken:
        window.take(*amounts)
    assert (window.has_place, window.fits_prefill(tokens)) == (has_place, fits_prefill)


def test_sequences_that_ended_before_their_request_hold_no_place() -> None:
    """Sequences that have ended give room back, except one place per request; no place is given back twice."""
    window = Window(WindowSize(4, 0, 100))
    window.take(1, 1)
    window.take(9, 1)
    assert window.read(3, 7)
    assert (window.sequences_in_flight, window.running_part) == (3, pytest.approx(2 / 9))
    assert not window.read(3, 7)
    window.read(2, 50)
    assert window.sequences_in_flight == 2
    window.take(3, 1)
    window.give(3)
    assert window.sequences_in_flight == 4, "it may have been its own that had ended"
    window.give(9)
    assert window.sequences_in_flight == 1
    window.give(1)
    assert window.is_idle


def test_what_readings_do_not_find_between_them_holds_no_place() -> None:
    """The share that two of three readings miss does not count, for later requests too; one reading is not enough."""
    window = Window(WindowSize(8, 0, 100))
    window.take(8, 1)
    window.take(5, 1)
    assert not window.has_place, "twelve are there, four of them not begun"
    assert not window.read(4, 0), "they may have ended this moment"
    assert window.read(4, 0)
    assert window.has_place, "of eleven further ones nine have ended"
    for _ in range(20):
        if window.has_place:
            window.take(5, 1)
    assert window.sequences_in_flight < 8 + MOST_UNSEEN_WINDOWS * 8 + 5
    window.read(window.sequences_in_flight, 0)
    assert not window.has_place, "all are there: none is taken to have ended"


def test_half_of_what_nobody_tells_of_is_taken_to_have_ended() -> None:
    """If the engine does not say, wide requests neither fill two windows nor hold all places until they end."""
    window = Window(WindowSize(8, 0, 100))
    for sequences in (5, 5, 2):
        window.take(sequences, 1)
    assert not window.has_place
    assert window.blind()
    assert window.has_place


@given(st.lists(st.tuples(st.sampled_from(["take", "give", "read"]), st.integers(1, 9)), max_size=60))
def test_places_are_neither_lost_nor_given_twice(steps: list[tuple[str, int]]) -> None:
    """Whatever ends when, each request holds one place at least and all its sequences at most."""
    window, flying = Window(WindowSize(4, 0, 100)), list[int]()
    for step, number in steps:
        if step == "take":
            window.take(number, 1)
            flying.append(number)
        elif step == "give" and flying:
            window.give(flying.pop(number % len(flying)))
        elif step == "read":
            window.read(float(number), number * 3)
        assert len(flying) <= window.sequences_in_flight <= sum(flying)
    for sequences in flying:
        window.give(sequences)
    assert window.is_idle
    assert window.sequences_in_flight == 0


def test_a_read_prompt_gives_back_its_tokens_only() -> None:
    """A large prompt fits once the others are read, though their sequences still run."""
    window = Window(WindowSize(4, 1, 100))
    window.take(1, 60)
    assert not window.fits_prefill(500)
    window.prefilled(60)
    assert window.fits_prefill(500)
    assert not window.is_idle
    window.give(1)
    assert window.is_idle


def test_room_is_given_back_once() -> None:
    """Giving back twice is our own mistake."""
    window = Window(WindowSize())
    for give in (lambda: window.give(1), lambda: window.prefilled(1)):
        with pytest.raises(AssertionError):
            give()


@dataclass(eq=False)
class Request:
    """A request as the fleet sees it."""

    pool: str = "p"
    tenant: str = "t"
    sequences: int = 1
    prompt_tokens: int = 1
    max_output_tokens: int = 100
    reserved_tokens: int = 0
    accrued_tokens: int = 0
    output_tokens: int = 0
    prefix: tuple[int, ...] = ()
    avoid: str = ""
    worker: str = ""


def make_fleet(*names: str, size: WindowSize | None = None) -> Fleet:
    fleet = Fleet()
    for name in names:
        fleet.configure(WorkerSpec(name, "p", f"http://{name}", size or WindowSize(2, 0, 100)))
        fleet.signal(name, Signal.PROBE_OK)
    return fleet


def test_the_least_loaded_worker_is_chosen() -> None:
    """Requests spread over the workers by load relative to their windows, until none has room."""
    fleet = make_fleet("a", "b")
    fleet.configure(WorkerSpec("b", "p", "http://b", WindowSize(4, 0, 1000)))
    assert [fleet.take(Request()) for _ in range(7)] == ["a", "b", "b", "a", "b", "b", None]


def test_a_failed_worker_is_avoided_while_another_serves() -> None:
    """A worker to avoid is used only if it is the only one; if the others are full, the request waits for them."""
    fleet = make_fleet("a", "b")
    assert [fleet.take(Request(avoid="a")) for _ in range(3)] == ["b", "b", None]
    fleet.signal("b", Signal.GONE)
    assert fleet.take(Request(avoid="a")) == "a"


def test_a_worker_on_trial_gets_one_request() -> None:
    """One trial at a time; its answer opens the rest of the window."""
    fleet = make_fleet("a")
    fleet.signal("a", Signal.GONE)
    assert not fleet.serves("p")
    assert fleet.take(Request()) is None
    fleet.signal("a", Signal.PROBE_OK)
    assert [fleet.take(Request()) for _ in range(2)] == ["a", None]
    assert fleet.signal("a", Signal.ANSWERED) == "serving"
    assert fleet.take(Request()) == "a"


def limit(fleet: Fleet) -> Limit:
    """The limit that held back the last request at the only worker."""
    return fleet.snapshot()[0].limited_by


def test_a_trial_is_one_extra_request_however_many_old_ones_run() -> None:
    """Old requests fill the window but not the trial; the limit says so, and the trial's end lets the next one try."""
    fleet = make_fleet("a", size=WindowSize(4, 0, 100))
    old = [Request(worker="a") for _ in range(2)]
    assert [fleet.take(request) for request in old] == ["a", "a"]
    fleet.signal("a", Signal.GONE)
    fleet.signal("a", Signal.PROBE_OK)
    trial = Request(worker="a")
    assert [fleet.take(trial), fleet.take(Request())] == ["a", None]
    assert limit(fleet) is Limit.TRIAL
    fleet.prefilled(old[0])
    fleet.give(old[0])
    assert fleet.take(Request()) is None
    fleet.prefilled(trial)
    fleet.give(trial)
    assert fleet.take(Request()) == "a"
    assert limit(fleet) is Limit.NOTHING


def test_a_trial_that_lives_for_some_probes_has_said_enough() -> None:
    """After some probes a trial ends, so a whole answer does not keep others waiting until its end."""
    fleet = make_fleet("a", size=WindowSize(4, 0, 100))
    fleet.signal("a", Signal.GONE)
    fleet.signal("a", Signal.PROBE_OK)
    for _ in range(PROBES_OF_TRIAL):
        assert fleet.signal("a", Signal.PROBE_OK) is None, "nothing is on trial yet"
    assert fleet.take(Request()) == "a"
    states = [fleet.signal("a", Signal.PROBE_OK) for _ in range(PROBES_OF_TRIAL)]
    assert states == [None] * (PROBES_OF_TRIAL - 1) + ["serving"]
    assert fleet.take(Request()) == "a"


@pytest.mark.parametrize("sign", [Signal.MOVED, Signal.ANSWERED])
def test_an_engine_that_stood_still_and_moves_again_serves(sign: Signal) -> None:
    """Its old requests go on, so it is trusted at once."""
    fleet = make_fleet("a", size=WindowSize(4, 0, 100))
    fleet.take(Request(worker="a"))
    fleet.signal("a", Signal.STALLED)
    fleet.signal("a", Signal.PROBE_OK)
    assert fleet.signal("a", sign) == "serving"
    assert fleet.take(Request()) == "a"


def test_probes_say_nothing_for_an_engine_that_stands_still_with_requests_in_it() -> None:
    """A stalled worker is tried only when it is empty, and its trial must get an answer instead of living on."""
    fleet = make_fleet("a", size=WindowSize(4, 0, 100))
    old = Request(worker="a")
    fleet.take(old)
    fleet.signal("a", Signal.STALLED)
    for _ in range(100):
        fleet.signal("a", Signal.PROBE_OK)
        assert fleet.serves("p")
        assert fleet.take(Request()) is None
    assert limit(fleet) is Limit.TRIAL
    fleet.prefilled(old)
    fleet.give(old)
    assert [fleet.take(Request()) for _ in range(2)] == ["a", None]
    assert "serving" not in [fleet.signal("a", Signal.PROBE_OK) for _ in range(PROBES_OF_TRIAL)]
    assert fleet.signal("a", Signal.ANSWERED) == "serving"


def doubt(fleet: Fleet, name: str) -> None:
    """Let requests of two tenants fail there."""
    for tenant in ("mallory", "eve", "mallory"):
        fleet.signal(name, Signal.FAULT, tenant, b"")


def test_a_doubted_worker_gets_one_request_at_a_time_while_another_is_trusted() -> None:
    """Tenants that did not fail there may try at once, the others after a probe; the first answer ends the doubt."""
    fleet = make_fleet("a", "b", size=WindowSize(2, 0, 100))
    doubt(fleet, "a")
    assert fleet.serves("p")
    assert [fleet.take(Request(tenant="mallory")) for _ in range(3)] == ["b", "b", None]
    assert [fleet.take(Request(tenant="bob")) for _ in range(2)] == ["a", None]
    assert fleet.signal("a", Signal.ANSWERED, "bob") == "serving"
    assert fleet.take(Request(tenant="mallory")) == "a"


def test_suspects_try_a_doubted_worker_after_a_probe() -> None:
    """If no other tenant sends, a worker that is well again is found by the tenants that failed there."""
    fleet = make_fleet("a", "b", size=WindowSize(1, 0, 100))
    doubt(fleet, "a")
    assert [fleet.take(Request(tenant="mallory")) for _ in range(2)] == ["b", None]
    fleet.signal("a", Signal.PROBE_OK)
    assert fleet.take(Request(tenant="mallory")) == "a"


@pytest.mark.parametrize("loses_the_other", ["down", "doubted", "drained"])
def test_doubt_never_takes_the_last_worker(loses_the_other: str) -> None:
    """If no worker of the pool is trusted, doubted ones serve all tenants with their whole window."""
    fleet = make_fleet("a", "b", size=WindowSize(2, 0, 100))
    doubt(fleet, "a")
    match loses_the_other:
        case "down":
            fleet.signal("b", Signal.GONE)
        case "doubted":
            doubt(fleet, "b")
        case _:
            fleet.drain("b")
    room = 4 if loses_the_other == "doubted" else 2
    taken = [fleet.take(Request(tenant="mallory")) for _ in range(room + 1)]
    assert (taken[:-1].count("a"), taken[-1]) == (2, None)


def test_a_worker_that_fails_fast_draws_no_load() -> None:
    """Its window is always empty, but the tenant whose request failed there goes elsewhere; others go on as before."""
    fleet = make_fleet("a", "b", size=WindowSize(2, 0, 100))
    fleet.signal("a", Signal.FAULT, "alice", b"")
    assert [fleet.take(Request(tenant="alice")) for _ in range(4)] == ["b", "b", "a", "a"]
    fleet = make_fleet("a", "b", size=WindowSize(2, 0, 100))
    fleet.signal("a", Signal.FAULT, "alice", b"")
    assert [fleet.take(Request(tenant="bob")) for _ in range(2)] == ["a", "b"]


def test_a_paused_worker_serves_but_takes_nothing() -> None:
    """A refusal for lack of room is no fault: requests keep waiting for it."""
    fleet = make_fleet("a")
    fleet.pause("a")
    assert fleet.serves("p")
    assert fleet.take(Request()) is None
    assert limit(fleet) is Limit.PAUSE
    fleet.resume("a")
    assert fleet.take(Request()) == "a"


def test_a_draining_worker_ends_what_it_has_and_is_forgotten() -> None:
    """Nothing new goes there; the last request takes it away; signals for it then do nothing."""
    fleet = make_fleet("a", "b")
    request = Request(avoid="b", worker="a")
    assert fleet.take(request) == "a"
    fleet.drain("a")
    assert fleet.take(Request()) == "b"
    assert [spec.name for spec in fleet.specs()] == ["b"]
    assert {worker.worker: worker.state for worker in fleet.snapshot()} == {"a": "draining", "b": "serving"}
    fleet.prefilled(request)
    fleet.give(request)
    assert [worker.worker for worker in fleet.snapshot()] == ["b"]
    assert fleet.signal("a", Signal.GONE) is None


def test_a_worker_taken_back_while_draining_keeps_its_room() -> None:
    """A reload that removes and restores a worker loses nothing of what is in flight."""
    fleet = make_fleet("a")
    for _ in range(2):
        fleet.take(Request())
    fleet.drain("a")
    fleet.configure(WorkerSpec("a", "p", "http://a", WindowSize(3, 0, 100)))
    assert [fleet.take(Request()) for _ in range(2)] == ["a", None]


def test_a_worker_can_move_to_another_pool() -> None:
    """It serves the new pool at once, and drains there."""
    fleet = make_fleet("a", "b")
    fleet.configure(WorkerSpec("a", "q", "http://a", WindowSize(2, 0, 100)))
    request = Request(pool="q", worker="a")
    assert fleet.take(request) == "a"
    assert [fleet.take(Request()) for _ in range(3)] == ["b", "b", None]
    fleet.drain("a")
    fleet.prefilled(request)
    fleet.give(request)
    assert not fleet.serves("q")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 90)), max_size=80))
def test_a_fleet_is_idle_again_after_everything_ended(steps: list[tuple[int, int, int]]) -> None:
    """Whatever is taken and given back in any order, no room is lost, and the overdraft stays bounded."""
    fleet = make_fleet("a", "b")
    running: list[Request] = []
    for kind, sequences, tokens in steps:
        if kind < 3:
            request = Request(sequences=sequences, prompt_tokens=tokens)
            worker = fleet.take(request)
            if worker is not None:
                request.worker = worker
                running.append(request)
        elif running:
            ended = running.pop(sequences % len(running))
            fleet.prefilled(ended)
            fleet.give(ended)
        for view in fleet.snapshot():
            widths = [request.sequences for request in running if request.worker == view.worker]
            assert view.sequences_in_flight < 2 * view.window_sequences + max(widths, default=1)
    for request in running:
        fleet.prefilled(request)
        fleet.give(request)
    assert fleet.is_idle


def test_requests_of_a_pool_may_wait_for_a_worker_that_is_about_to_serve() -> None:
    """A pool whose only worker is being replaced waits as long as `expect` says; nothing is placed meanwhile."""
    fleet = Fleet()
    spec = WorkerSpec("p/w0", "p", "http://h:1", WindowSize())
    fleet.configure(spec)
    fleet.signal(spec.name, Signal.PROBE_OK)
    fleet.expect("p", is_expected=True)
    fleet.drain(spec.name)
    assert spec.name not in fleet
    assert (fleet.serves("p"), fleet.awaits("p"), fleet.awaits("q")) == (False, True, False)
    assert fleet.least_loaded("p") is None
    fleet.expect("p", is_expected=False)
    assert not fleet.awaits("p")


def test_a_worker_of_which_nothing_was_heard_does_not_serve() -> None:
    """Its first good probe makes it serve."""
    fleet = Fleet()
    fleet.configure(WorkerSpec("p/w0", "p", "http://h:1", WindowSize()))
    assert not fleet.serves("p")
    fleet.signal("p/w0", Signal.PROBE_OK)
    assert fleet.serves("p")


def test_a_reading_that_ends_the_trust_and_opens_the_window_says_that_there_is_room() -> None:
    """The fallback may be wider than the window that was found, so requests that wait must be dispatched."""
    fleet = Fleet()
    fleet.configure(WorkerSpec("w0", "tiny", "http://127.0.0.1:8101", WindowSize(None, 1, 2048)))
    fleet.signal("w0", Signal.PROBE_OK)
    (before,) = fleet.snapshot()
    has_room = fleet.observe("w0", EngineSample(1.0, 0.0, 0.0, kv_usage=9.0), 1.0)
    (after,) = fleet.snapshot()
    assert after.degraded and after.window_sequences > before.window_sequences
    assert has_room
    assert not fleet.observe("w0", EngineSample(2.0, 0.0, 0.0, kv_usage=9.0), 2.0), "nothing has opened since"
