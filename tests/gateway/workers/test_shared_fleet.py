"""A fleet whose engines other replicas use too: who tunes, what the others take over, what counts of whom."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers import (
    EngineFacts,
    EngineSample,
    Limit,
    Others,
    Phase,
    SharedFleet,
    Signal,
    TunedLimits,
    WindowSize,
    WorkerSnapshot,
    WorkerSpec,
)
from gateway.workers.tuning_memory import Memory
from gateway.workers.tuning_pulse import Pulse
from gateway.workers.tuning_state import read_state

from .test_workers import Request

AUTO = WindowSize(None, 1, None)


class Replica:
    """One gateway's fleet of the worker `w`, and the requests that it has there."""

    def __init__(self, size: WindowSize = AUTO) -> None:
        self.fleet = SharedFleet()
        self.fleet.configure(WorkerSpec("w", "p", "http://w", size))
        self.fleet.signal("w", Signal.PROBE_OK)
        self.requests: list[Request] = []

    @property
    def view(self) -> WorkerSnapshot:
        view = self.fleet.look("w")
        assert view is not None
        return view

    @property
    def window(self) -> int:
        return self.view.window_sequences

    def send(self, prompt_tokens: int = 1) -> None:
        """Send a request, whether the window has room or not, or is asked at all."""
        request = Request(worker="w", prompt_tokens=prompt_tokens)
        assert self.fleet.take_where(request, lambda _: True) == "w"
        self.requests.append(request)


class Stage:
    """An engine of some slots, and replicas that fill it up to the window that the first of them tunes."""

    def __init__(self, slots: int, replicas: int = 2) -> None:
        self.slots = slots
        self.replicas = [Replica() for _ in range(replicas)]
        self.tuner = 0
        self.foreign = 0  # sequences of clients without a gateway
        self.now = 0.0
        self.tokens = 0

    @property
    def there(self) -> int:
        return sum(len(replica.requests) for replica in self.replicas)

    def fill(self, *among: int) -> None:
        """Replicas send in turn until the window is full; more work waits at each of them."""
        senders = [self.replicas[place] for place in among]
        while self.there < self.replicas[self.tuner].window:
            senders[self.there % len(senders)].send()
        for sender in senders:
            assert sender.fleet.take_where(Request(), lambda _: False) is None

    def tell(self) -> None:
        """Each hears of the others, and of what the tuner found."""
        limits = self.replicas[self.tuner].fleet.limits("w")
        for place, replica in enumerate(self.replicas):
            others = [other for other in self.replicas if other is not replica]
            holdings = [other.fleet.holds("w") for other in others]
            replica.fleet.others(
                "w",
                Others(
                    sum(len(other.requests) for other in others),
                    sum(holding.prompt_tokens for holding in holdings),
                    sum(holding.kv_tokens for holding in holdings),
                    are_waiting=any(other.view.limited_by is not Limit.NOTHING for other in others),
                ),
            )
            if place == self.tuner:
                replica.fleet.tune("w", limits.state)
            else:
                replica.fleet.limit("w", limits)

    def read(self) -> None:
        """Every replica reads the engine, whose sequences all got some tokens."""
        self.now += 0.5
        requests = [request for replica in self.replicas for request in replica.requests]
        for replica in self.replicas:
            for request in replica.requests:
                if not request.output_tokens:
                    replica.fleet.prefilled(request)
                request.output_tokens += 20
        there = len(requests) + self.foreign
        self.tokens += 20 * there
        running = min(self.slots, there)
        sample = EngineSample(self.now, running, there - running, 0.1, 0, self.now * 50, 0, self.tokens)
        for replica in self.replicas:
            replica.fleet.observe("w", sample, self.now)

    def run(self, readings: int, *among: int) -> list[int]:
        """The tuner's window after each of so many readings."""
        windows = []
        for _ in range(readings):
            self.tell()
            self.fill(*among)
            self.tell()
            self.read()
            windows.append(self.replicas[self.tuner].window)
        return windows

    def give_excess(self) -> None:
        """Requests end until no more are there than the window allows."""
        for replica in self.replicas:
            while replica.requests and self.there > self.replicas[self.tuner].window:
                request = replica.requests.pop()
                replica.fleet.give(request)


@pytest.mark.parametrize("senders", [(0,), (0, 1), (1,)])
def test_one_replica_finds_the_size_whoever_sends(senders: tuple[int, ...]) -> None:
    """The tuner takes the same steps whether the requests are its own, another replica's, or of both."""
    stage = Stage(slots=20)
    assert stage.run(9, *senders) == [10, 12, 15, 18, 22, 22, 21, 21, 21]
    assert stage.replicas[1].window == 22 - 1
    assert not any(replica.view.degraded for replica in stage.replicas)


def test_a_successor_goes_on_in_the_middle_of_growth() -> None:
    """The second replica does not begin again at 8: its window grows from where the first one stopped."""
    stage = Stage(slots=99)
    assert stage.run(4, 0, 1)[-1] == 18
    gone = stage.replicas[0]
    limits = gone.fleet.limits("w")
    stage.tell()
    stage.replicas, stage.foreign = [stage.replicas[1]], len(gone.requests)  # they run on at the engine for a while
    stage.replicas[0].fleet.others("w", Others(len(gone.requests)))
    stage.replicas[0].fleet.tune("w", limits.state)
    assert stage.replicas[0].window == 18
    stage.foreign = 0
    assert stage.run(4, 0) == [22, 27, 33, 41]


def test_a_new_process_goes_on_where_the_last_tuner_stopped() -> None:
    """All that was found is in the state: a process that has seen nothing has the same limits and state."""
    stage = Stage(slots=20)
    stage.run(8, 0, 1)
    limits = stage.replicas[0].fleet.limits("w")
    fresh = Replica()
    fresh.fleet.tune("w", limits.state)
    assert fresh.fleet.limits("w") == limits
    assert fresh.view.phase is Phase.SETTLED


def test_who_knows_later_readings_takes_over_no_earlier_state() -> None:
    """A tuner that hears its own last words again keeps what it found since."""
    stage = Stage(slots=99)
    stage.run(2, 0)
    before = stage.replicas[0].fleet.limits("w")
    stage.run(2, 0)
    stage.replicas[0].fleet.tune("w", before.state)
    assert stage.replicas[0].window == 18
    stage.replicas[1].fleet.limit("w", before)
    assert stage.replicas[1].window == 12, "one that does not tune takes whatever the tuner says"


def test_who_does_not_tune_is_moved_by_no_reading() -> None:
    """Readings of a full engine, of none, and of a wrong one leave the limits that the tuner told."""
    replica = Replica()
    told = TunedLimits(30, 3200, 5000)
    replica.fleet.limit("w", told)
    for running in (30.0, 0.0, -1.0):
        for at in range(9):
            replica.fleet.observe("w", EngineSample(at, running, 0.0, 0.1, 0, at, 0, at), at)
            assert replica.fleet.limits("w")[:2] == (30, 3200)
        replica.fleet.limit("w", told)
        assert replica.fleet.limits("w").kv_tokens == 5000, "even if the engine was forgotten meanwhile"
    assert replica.view.degraded, "it still judges what the engine says"


def test_every_replica_promises_less_when_memory_runs_out() -> None:
    """Who sends the most may be one that does not tune: it too promises more room to grow while the cache is full."""
    replica = Replica()
    replica.fleet.learn("w", EngineFacts(10_000))
    replica.fleet.limit("w", TunedLimits(8, 8192, 10_000))
    replica.fleet.others("w", Others(6))
    for _ in range(4):
        replica.send(prompt_tokens=600)
    before = replica.fleet.kv_demand(Request())
    for at in range(1, 9):
        for request in replica.requests:
            request.output_tokens += 20
        replica.fleet.observe("w", EngineSample(at, 2, 8, 0.99, 0, at, 0, at * 80), at)
    assert replica.fleet.kv_demand(Request()) > before
    assert replica.fleet.limits("w")[:2] == (8, 8192)


def test_a_configured_number_is_nobody_elses() -> None:
    """A number in the configuration stays, whatever the tuner of another replica told."""
    replica = Replica(WindowSize(8, 2, 1000))
    replica.fleet.limit("w", TunedLimits(30, 3200, 5000))
    assert replica.fleet.limits("w")[:3] == (10, 1000, 5000)
    replica.fleet.configure(WorkerSpec("w", "p", "http://w", AUTO))
    assert replica.window == Replica().window, "what was told before the change was told of another size"


def test_limits_that_nobody_has_found_yet_are_ignored() -> None:
    """A worker that the store knows by name only has no limits."""
    replica = Replica()
    replica.fleet.limit("w", TunedLimits(0, 0, 0))
    assert replica.fleet.limits("w")[:2] == Replica().fleet.limits("w")[:2]


# -- others


def test_the_sequences_of_others_are_not_foreign() -> None:
    """What other replicas have there takes nothing of the window; what nobody sent does."""
    stage = Stage(slots=40)
    stage.run(20, 0, 1, 1, 1)
    assert stage.replicas[0].window in {40, 41}
    stage.foreign = 10
    stage.give_excess()
    for _ in range(6):
        stage.tell()
        stage.read()
        stage.give_excess()
    assert stage.replicas[0].window <= 32


@pytest.mark.parametrize("others", [Others(0, idle_sequences=10), Others(0, silent_sequences=10)])
def test_what_others_may_run_is_not_foreign_either(others: Others) -> None:
    """Idle room may have been used since this replica has heard of it; the store keeps room for the silent already."""
    found = []
    for reported in (Others(0), others):
        stage = Stage(slots=40, replicas=1)
        stage.run(20, 0)
        while stage.there > 20:
            replica = stage.replicas[0]
            replica.fleet.give(replica.requests.pop())
        stage.replicas[0].fleet.others("w", reported)
        stage.foreign = 10
        for _ in range(4):
            stage.read()
        found.append(stage.replicas[0].window)
    assert found[0] <= found[1] - 9


def test_prompts_of_others_fill_the_window_of_prefill() -> None:
    """Unread prompts of all replicas share one limit; a larger prompt fits only if nobody has any."""
    replica = Replica(WindowSize(8, 0, 1000))
    asked = Request(prompt_tokens=400)
    large = Request(prompt_tokens=5000)
    assert replica.fleet.take_where(large, lambda _: True) == "w"
    replica.fleet.prefilled(_at_w(large))
    replica.fleet.others("w", Others(1, 700))
    assert replica.fleet.take_where(asked, lambda _: True) is None
    assert replica.view.limited_by is Limit.PREFILL
    replica.fleet.others("w", Others(1, 600))
    assert replica.fleet.take_where(asked, lambda _: True) == "w"
    replica.fleet.prefilled(_at_w(asked))
    assert replica.fleet.take_where(Request(prompt_tokens=5000), lambda _: True) is None
    replica.fleet.others("w", Others(1, 0))
    assert replica.fleet.take_where(Request(prompt_tokens=5000), lambda _: True) == "w"


def _at_w(request: Request) -> Request:
    request.worker = "w"
    return request


def test_what_is_promised_to_others_fills_the_memory() -> None:
    """A request goes only if the cache holds it beside what all replicas promised."""
    replica = Replica(WindowSize(8, 0, 10_000))
    replica.fleet.learn("w", EngineFacts(1000))
    asked = Request(prompt_tokens=300, max_output_tokens=1)
    assert 300 <= replica.fleet.kv_demand(asked) <= 317
    replica.fleet.others("w", Others(1, 0, 700))
    assert replica.fleet.take_where(asked, lambda _: True) is None
    assert replica.view.limited_by is Limit.MEMORY
    replica.fleet.others("w", Others(1, 0, 600))
    assert replica.fleet.take_where(asked, lambda _: True) == "w"
    assert replica.fleet.holds("w") == (300, replica.fleet.kv_demand(asked))


def test_room_that_is_not_allowed_is_a_limit_of_sequences() -> None:
    """A place that the replicas' store gives to nobody here holds work back as a full window does."""
    replica = Replica(WindowSize(8, 0, 1000))
    assert replica.fleet.take_where(Request(), lambda name: name != "w") is None
    assert replica.view.limited_by is Limit.SEQUENCES
    assert replica.fleet.take_where(Request(), lambda name: name == "w") == "w"
    assert replica.view.limited_by is Limit.NOTHING


def test_only_allowed_workers_are_chosen() -> None:
    """The choice among workers is the usual one, among those that are allowed."""
    replica = Replica()
    for name in ("x", "y"):
        replica.fleet.configure(WorkerSpec(name, "p", f"http://{name}", WindowSize(8, 0, 1000)))
        replica.fleet.signal(name, Signal.PROBE_OK)
    assert [replica.fleet.take_where(Request(), {"x", "y"}.__contains__) for _ in range(4)] == ["x", "y", "x", "y"]
    replica.fleet.others("y", Others(5))
    assert [replica.fleet.take_where(Request(), {"x", "y"}.__contains__) for _ in range(3)] == ["x", "x", "x"]


def test_the_cache_counts_only_at_allowed_workers() -> None:
    """A prompt that another worker has cached gives a request no precedence that it cannot use."""
    replica = Replica()
    replica.fleet.configure(WorkerSpec("x", "p", "http://x", AUTO))
    replica.fleet.signal("x", Signal.PROBE_OK)
    prefix, allowed = (1, 2, 3), {"w"}
    sent = Request(prompt_tokens=900, prefix=prefix)
    assert replica.fleet.take_where(sent, {"x"}.__contains__) == "x"
    again = Request(prompt_tokens=900, prefix=prefix)
    assert replica.fleet.preferred(again) == "x"
    assert replica.fleet.affinity_where(again, allowed.__contains__) == 0
    allowed.add("x")
    assert replica.fleet.affinity_where(again, allowed.__contains__) > 700


def test_the_gauge_is_compared_with_what_all_replicas_have() -> None:
    """A cache that several replicas fill does not make a token look larger than it is."""
    memory = Memory()
    memory.learn(EngineFacts(10_000, 1))
    memory.take(Request(prompt_tokens=1000, max_output_tokens=1))
    memory.others_tokens = 3 * memory.demand_tokens
    for _ in range(50):
        memory.weigh(0.4)
    assert memory.capacity_tokens == pytest.approx(10_000, rel=0.01)


def test_endings_of_others_count_as_often_as_ours() -> None:
    """Of a quarter of the requests it is known how often they end; the engine's steps end four times as many."""
    before = Pulse(total=0.0)
    assert before.next(EngineSample(1.0, 0, 0, steps=10), 40, 20).ended_per_step == 2.0
    assert before.next(EngineSample(1.0, 0, 0, steps=10), 40, 20, 0.25).ended_per_step == 8.0


# -- the express lane

LANE = WindowSize(2, 0, 1000, express=5)


@given(st.integers(1, 8), st.integers(0, 7))
def test_the_parts_of_a_lane_add_up_to_it(replicas: int, express: int) -> None:
    """As many requests as the lane has sequences go in all, and no replica has two more than another."""
    sent = []
    for rank in range(replicas):
        replica = Replica(WindowSize(2, 0, 1000, express=express))
        replica.fleet.set_express_part("p", replicas, rank)
        parts = [replica.fleet.take_express(Request()) for _ in range(express + 1)].count("w")
        assert replica.fleet.has_express("p") is (parts > 0)
        sent.append(parts)
    assert sum(sent) == express
    assert max(sent) - min(sent) <= 1


def test_the_replicas_of_one_pool_say_nothing_of_the_lanes_of_another() -> None:
    """A pool that this replica has alone changes nothing in the pool that it shares; one that is gone has no part."""
    replica = Replica(LANE)
    replica.fleet.set_express_part("p", 2, 1)
    replica.fleet.set_express_part("q", 1, 0)
    assert [replica.fleet.take_express(Request()) for _ in range(6)].count("w") == 2
    replica.fleet.set_express_part("p", 0, 0)
    assert not replica.fleet.has_express("p")


def test_a_lane_counts_its_own_requests_whatever_fills_the_window() -> None:
    """A part of the lane is neither larger while the window is empty nor smaller while it is full."""
    replica = Replica(LANE)
    assert not replica.fleet.has_express("p"), "nobody has told how many replicas there are"
    assert replica.fleet.take_express(Request()) is None
    replica.fleet.set_express_part("p", 2, 0)
    for has_full_window in (False, True):
        if has_full_window:
            replica.send()
            replica.send()
        lane = [Request(worker="w") for _ in range(4)]
        assert [replica.fleet.take_express(request) for request in lane] == ["w", "w", "w", None]
        assert [replica.fleet.is_express(request) for request in lane] == [True, True, True, False]
        replica.fleet.check_invariants()
        for request in lane[:3]:
            replica.fleet.prefilled(request)
            replica.fleet.give(request)
        replica.fleet.check_invariants()
    assert not any(replica.fleet.is_express(request) for request in replica.requests)


def test_a_full_lane_takes_no_place_of_the_window() -> None:
    """Requests in the lane leave all places of the window to those that the store has granted."""
    replica = Replica(LANE)
    replica.fleet.set_express_part("p", 1, 0)
    assert [replica.fleet.take_express(Request()) for _ in range(6)].count("w") == 5
    assert [replica.fleet.take_where(Request(), lambda _: True) for _ in range(3)] == ["w", "w", None]


def test_the_lane_takes_prompts_up_to_twice_the_limit_of_all_replicas() -> None:
    """What others have not read counts there too; and a full memory keeps everybody out."""
    replica = Replica(LANE)
    replica.fleet.set_express_part("p", 1, 0)
    replica.fleet.others("w", Others(1, 1500))
    assert replica.fleet.take_express(Request(prompt_tokens=501)) is None
    assert replica.fleet.take_express(Request(prompt_tokens=500)) == "w"
    replica.fleet.learn("w", EngineFacts(1000))
    replica.fleet.others("w", Others(1, 0, 800))
    assert replica.fleet.take_express(Request(prompt_tokens=1)) is None


def test_a_lane_that_others_use_is_not_foreign() -> None:
    """Nobody reports what is in the lanes of others; so many more sequences at the engine are no foreign ones."""
    replica = Replica(WindowSize(None, 1, None, express=10))
    replica.fleet.set_express_part("p", 2, 0)
    replica.fleet.others("w", Others())
    for at in range(1, 9):
        replica.fleet.observe("w", EngineSample(at, 5, 0, 0.1, 0, at, 0, at * 100), at)
    assert replica.window == Replica().window
    for at in range(9, 19):
        replica.fleet.observe("w", EngineSample(at, 8, 0, 0.1, 0, at, 0, at * 100), at)
    assert replica.window < Replica().window


# -- the state as text


def changed(text: str, change: Callable[[dict[str, object]], object]) -> str:
    """The state with something in it changed."""
    words = json.loads(text)
    change(words)
    return json.dumps(words)


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words.update(version=2),
        lambda words: words.pop("prefill"),
        lambda words: words.update(counts=[1, 2]),
        lambda words: words.update(counts=[10_000, 0, -1]),
        lambda words: words.update(sequences=[0, 0, 0, 0]),
        lambda words: words.update(sequences=[12.5, 0, 0, 0]),
        lambda words: words.update(prefill=[13, 0, 0, 0]),
        lambda words: words.update(memory=[0.0, 0, 1, 1]),
        lambda words: words.update(memory=["nan", 0, 1, 1]),
        lambda words: words.update(last_grown="moon"),
        lambda words: words.update(foreign=None),
    ],
)
def test_a_state_that_cannot_be_true_is_unknown(change: Callable[[dict[str, object]], object]) -> None:
    """Whatever part is wrong or of another version, a successor goes on with what it knows itself."""
    tuner = Replica()
    tuner.fleet.observe("w", EngineSample(1.0, 0, 0), 1.0)
    text = tuner.fleet.limits("w").state
    assert read_state(changed(text, lambda words: words.update(counts=[10_000, 0, 0]))) is not None
    assert read_state(changed(text, change)) is None


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_text_breaks_a_successor(text: str) -> None:
    """Anything may be in the store."""
    replica = Replica()
    before = replica.fleet.limits("w")
    replica.fleet.tune("w", text)
    replica.fleet.limit("w", TunedLimits(9, 2048, 0, text))
    replica.fleet.tune("w", text)
    assert replica.fleet.limits("w") == before
