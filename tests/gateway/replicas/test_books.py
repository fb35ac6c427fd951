"""A replica's books: totals that may be told twice or not at all, and room that is moved from one side only."""

from gateway.fairness.flow import Flow
from gateway.replicas.call import A_KEY, FlowReport, FlowState, WorkerReport
from gateway.replicas.flow_book import FlowBook
from gateway.replicas.room_book import Permit, RoomBook


def charged(units: int) -> Flow:
    """A flow with one request in flight."""
    flow = Flow("a", 1.0)
    flow.open(units, 2 * units, 0, 0)
    return flow


def test_a_report_is_repeated_until_it_is_acknowledged() -> None:
    """What was told and not confirmed is told again, as a total; what was confirmed is not."""
    book, flow = FlowBook(shift=4), charged(100)
    assert book.reports([("a", flow, 0)], 10) == [FlowReport("a", 6, 0, 0, 0, 0)]
    flow.charge(60)
    assert book.reports([("a", flow, 0)], 10) == [FlowReport("a", 10, 0, 0, 0, 0)]
    book.acknowledge()
    assert book.reports([("a", flow, 0)], 10) == []


def test_what_is_not_ones_own_is_elsewhere() -> None:
    """The store's sum less the own total, in counter units."""
    book, flow = FlowBook(shift=4), charged(96)
    book.reports([("a", flow, 0)], 10)
    book.acknowledge()
    assert book.hear(FlowState("a", 16, 0, 0), flow, 0) == 160
    assert (flow.elsewhere, flow.counter) == (160, 256)


def test_a_lift_after_the_report_is_not_lost_with_the_answer() -> None:
    """The answer cannot know it yet; the next report claims it."""
    book, flow = FlowBook(shift=0), charged(10)
    book.reports([("a", flow, 0)], 10)
    flow.lift_to(50, 0)
    book.acknowledge()
    book.hear(FlowState("a", 10, 0, 0), flow, 0)
    assert flow.counter == 50
    book.register()
    assert book.reports([("a", flow, 0)], 10) == [FlowReport("a", 10, 10, 50, 40, 0)]


def test_a_flow_that_is_new_here_has_the_counter_that_it_has_elsewhere() -> None:
    """What was heard of it before is kept for it."""
    book, flow = FlowBook(shift=4), Flow("a", 1.0)
    book.hear(FlowState("a", 7, 3, 0), None, 0)
    book.introduce("a", flow)
    assert (flow.counter, flow.floor) == (112, 48)


def test_a_flow_that_was_forgotten_here_comes_back_with_its_counter() -> None:
    """What an earlier flow of the name was charged here is part of the counter, and not the new flow's own."""
    book, flow = FlowBook(shift=0), charged(100)
    book.reports([("a\0key", flow, A_KEY)], 10)
    book.acknowledge()
    book.hear(FlowState("a\0key", 150, 0, A_KEY), flow, 0)
    again = Flow("key", 1.0)
    book.introduce("a\0key", again)
    assert again.counter == 150
    book.hear(FlowState("a\0key", 160, 0, A_KEY), again, 0)
    assert again.counter == 160
    (report,) = book.reports([("a\0key", again, A_KEY)], 10)
    assert (report.total, report.base) == (0, 160)


def test_flows_that_are_elsewhere_and_rest_are_forgotten() -> None:
    """Kept are those that changed, those that are here, and tenants that are ahead of the level."""
    book = FlowBook(shift=0)
    for name, total, level in (
        ("rests", 5, 0),
        ("key\0k", 99, A_KEY),
        ("here", 5, 0),
        ("ahead", 8, 0),
        ("moves", 5, 0),
    ):
        book.hear(FlowState(name, total, 0, level), None, 0)
    book.forget_unused(7, lambda name: False)
    book.hear(FlowState("moves", 6, 0, 0), None, 0)
    book.forget_unused(7, lambda name: name == "here")
    kept = {}
    for name in ("rests", "key\0k", "here", "ahead", "moves"):
        book.introduce(name, flow := Flow(name, 1.0))
        kept[name] = flow.counter
    assert kept == {"rests": 0, "key\0k": 0, "here": 5, "ahead": 8, "moves": 6}


def test_the_largest_steps_are_noted() -> None:
    """What was charged before it was told, and what others charged before it was heard; a lift is no charge."""
    book, flow = FlowBook(shift=4), charged(160)
    book.reports([("a", flow, 0)], 10)
    book.acknowledge()
    book.hear(FlowState("a", 14, 0, 0), flow, 0)
    book.hear(FlowState("a", 1_000, 1_000, 0), flow, 0)
    assert book.take_steps() == (160, 64)
    assert book.take_steps() == (0, 0)


def test_grants_are_totals() -> None:
    """A grant that is told twice, or of which a later one has been told, counts once."""
    book = RoomBook()
    assert [book.grant("w", total) for total in (3, 3, 5, 3)] == [3, 0, 2, 0]
    assert book.rooms["w"].fresh == 5


def test_room_is_used_freed_and_given_back() -> None:
    """Granted room first; what is freed is the replica's own, and what is given back is told as a total."""
    book = RoomBook()
    book.grant("w", 2)
    assert book.has_place("w", Permit.GRANTED)
    book.use("w", 1)
    book.end("w", 1)
    assert book.has_place("w", Permit.GRANTED)
    book.use("w", 1)
    assert not book.has_place("w", Permit.GRANTED)
    book.give_back(0)
    assert book.reports(lambda worker: (0, 0, 0, True)) == [WorkerReport("w", 2, 1, ended=1)]
    book.register()
    assert book.reports(lambda worker: (0, 0, 0, True)) == [WorkerReport("w", 1, 0, ended=1)]


def held(book: RoomBook, worker: str) -> tuple[int, int]:
    """What is in use and at hand."""
    return book.rooms[worker].used, book.rooms[worker].idle


def test_without_the_store_a_limit_says_what_is_at_hand() -> None:
    """A call that is under way keeps what it told of within the limit; the next one tells of all that is allowed."""
    limits = {"a": 4, "b": 1}
    book = RoomBook()
    for worker in limits:
        book.grant(worker, 5)
        book.use(worker, 2)
    book.keep_within(limits.__getitem__)
    assert (held(book, "a"), held(book, "b")) == ((2, 2), (2, 0))
    assert book.rooms["a"].granted - book.rooms["a"].returned == 4
    book.draw({"a": 9, "b": 1}.__getitem__)
    assert (held(book, "a"), held(book, "b")) == ((2, 7), (2, 0))
    assert book.has_place("a", Permit.OWN)
    assert not book.has_place("b", Permit.OWN)
