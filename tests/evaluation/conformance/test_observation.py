"""What a stretch of time is said to have seen, from records made by hand."""

from evaluation.conformance.observation import Refusal, received, together
from evaluation.load.connection import ExchangeRecord
from evaluation.load.tenants import Tally

START, END = 10.0, 20.0


def _record(sent: float, token: float | None = None, ended: float | None = None, **fields: object) -> ExchangeRecord:
    record = ExchangeRecord("a", sent)
    record.first_token_at, record.ended_at = token, ended
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def _tally(*records: ExchangeRecord) -> Tally:
    tally = Tally()
    tally.records.extend(records)
    return tally


def test_what_arrived_counts_when_it_arrived() -> None:
    """Service and tokens of the stretch, whenever they were asked for: 1 for an input token, 2 for an output token."""
    tally = _tally()
    for at, prompt, output in ((9.0, 10, 1), (11.0, 0, 5), (19.0, 30, 2), (21.0, 0, 9)):
        tally.take(at, prompt, output)
    seen = received(tally, START, END)
    assert (seen.service, seen.output_tokens) == (2 * 5 + 30 + 2 * 2, 7)


def test_a_request_counts_where_it_was_sent_and_where_it_was_completed() -> None:
    """Waits are of what was sent, runs and costs of what was completed; who still waits has waited so long."""
    early = _record(8.0, 9.0, 12.0, is_complete=True, prompt_tokens=4, output_tokens=3)
    whole = _record(11.0, 12.0, 15.0, is_complete=True, prompt_tokens=4, output_tokens=8)
    late = _record(18.0, 19.0, 25.0, is_complete=True)
    waiting = _record(17.0)
    seen = received(_tally(early, whole, late, waiting), START, END)
    assert seen.sent == 3
    assert seen.ttft_seconds == (1.0, 1.0, 3.0)
    assert seen.run_seconds == (3.0, 3.0)
    assert seen.costs == (10, 20)
    assert seen.asked == 3 * 15


def test_refused_broken_and_cut_are_distinguished() -> None:
    """A refusal that the end of the load cut off is none: its body had not arrived."""
    refused = _record(11.0, None, 11.5, status=429, error="body", retry_after="1")
    broken = _record(12.0, None, 12.5, status=200, error="connection lost")
    cut = _record(19.0, None, None, status=429, error="cut by the end of the run")
    seen = received(_tally(refused, broken, cut), START, END)
    assert seen.refusals == (Refusal(429, "1", "body"),)
    assert seen.faults == ("connection lost",)
    assert seen.sent == 3


def test_several_keys_are_one_tenant() -> None:
    """Everything adds up."""
    part = received(_tally(_record(11.0, 12.0, 15.0, is_complete=True, output_tokens=1)), START, END)
    both = together([part, part])
    assert (both.sent, both.run_seconds, both.costs) == (2, (3.0, 3.0), (2, 2))
