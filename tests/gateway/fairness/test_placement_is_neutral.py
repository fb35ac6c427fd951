"""With a quantum of nothing, what workers have cached decides where a request goes, never whose turn it is."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.fairness import (
    POLICIES,
    PREDICTORS,
    Admission,
    Grant,
    Linear,
    PoolSpec,
    Rules,
    TenantLimits,
    Ticket,
)
from gateway.usage import Usage
from gateway.workers import Fleet, Signal, WindowSize, WorkerSpec, prefix_chain

TEXT = bytes(range(256)) * 8
Asked = tuple[int, int, int, int]  # tenant, which text, its blocks, output tokens


def grants(asked: list[Asked], workers: int, *, knows_prefixes: bool) -> list[str]:
    """The requests in the order of their grants, one ending after each; all are submitted at once."""
    fleet = Fleet()
    rules = Rules(lambda: POLICIES["vtc"](None), PREDICTORS["quantile"](None), max_queued=1000)
    admission = Admission(rules, fleet)
    admission.configure_pool(PoolSpec("p", Linear()))
    for number in range(workers):
        fleet.configure(WorkerSpec(f"w{number}", "p", f"http://w{number}", WindowSize(2, 0, 10**6)))
        fleet.signal(f"w{number}", Signal.PROBE_OK)
    for name in "abc":
        admission.configure_tenant(name, 1.0, TenantLimits())
    running: list[tuple[Ticket, int]] = []
    order: list[str] = []
    answers: dict[Ticket, int] = {}

    def carry_out(decisions: object) -> None:
        for decision in decisions:  # type: ignore[attr-defined]
            assert isinstance(decision, Grant)
            order.append(decision.ticket.request_id)
            running.append((decision.ticket, answers[decision.ticket]))

    for number, (who, text, blocks, tokens) in enumerate(asked):
        tenant = "abc"[who]
        ticket = Ticket(str(number), tenant, "key", "p")
        ticket.sized(sequences=1, prompt_tokens=80 * blocks + 20, max_output_tokens=500, reports_at_end=False)
        if knows_prefixes:
            ticket.prefix = prefix_chain(TEXT[: 256 * blocks], tenant, str(text))
        answers[ticket] = tokens
        carry_out(admission.submit(ticket, float(number)))
    while running:
        ticket, tokens = running.pop(0)
        usage = Usage(ticket.prompt_tokens, 0, tokens)
        fleet.counted(ticket, usage.prompt_tokens, 0)
        carry_out(admission.release(ticket, usage, 1000.0, completed=True))
    return order


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 8), st.integers(1, 500)), max_size=40),
    st.integers(1, 3),
)
def test_the_order_of_requests_does_not_depend_on_caches(asked: list[Asked], workers: int) -> None:
    """The same grants in the same order whether prompts are known or not, on one worker or several."""
    known = grants(asked, workers, knows_prefixes=True)
    assert known == grants(asked, workers, knows_prefixes=False)
    assert sorted(known, key=int) == [str(number) for number in range(len(asked))]
