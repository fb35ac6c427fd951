"""The reporter passes a bounded part of a worker's output on."""

from backend.supervisor.reporter import BURST_LINES, LINES_PER_SECOND, Reporter


def test_a_start_is_reported_whole_and_a_flood_in_part() -> None:
    """A burst passes, then a few lines a second, each time with the number of those left out."""
    reporter = Reporter()
    report = [line for number in range(BURST_LINES + 100) for line in reporter.report(f"{number}", 100.0)]
    assert report == [f"{number}" for number in range(BURST_LINES)]
    assert reporter.report("later", 101.0) == ("[100 lines left out]", "later")
    more = [line for number in range(100) for line in reporter.report(f"{number}", 101.0)]
    assert len(more) == LINES_PER_SECOND - 1


def test_a_clock_that_steps_back_gives_nothing() -> None:
    """The burst gets no line more and no line less."""
    reporter = Reporter()
    for number in range(BURST_LINES):
        assert reporter.report(f"{number}", 100.0)
    assert reporter.report("more", 0.0) == ()
