"""Makes records of requests for the metric tests, by hand and with Hypothesis."""

from hypothesis import strategies as st

from evaluation.requests import Ending, Request, Served

SECONDS = st.floats(0, 600, allow_nan=False)
TOKENS = st.integers(1, 500)


def served(tenant: str, arrival: float, first: float, last: float, *, prompt: int = 100, output: int = 50) -> Served:
    """Return a completed request."""
    request = Request(arrival, tenant, prompt, output)
    return Served(request, Ending.COMPLETED, first, first, last, output)


def refused(tenant: str, arrival: float, *, prompt: int = 100, output: int = 50) -> Served:
    """Return a request that was refused on arrival."""
    return Served(Request(arrival, tenant, prompt, output), Ending.REFUSED)


@st.composite
def any_served(draw: st.DrawFn) -> Served:
    """Draw a request that was completed or refused; some have a single token."""
    request = Request(draw(SECONDS), draw(st.sampled_from("abc")), draw(TOKENS), draw(TOKENS))
    if draw(st.integers(0, 9)) == 0:
        return Served(request, Ending.REFUSED)
    first = request.arrival_seconds + draw(st.floats(0, 100))
    last = first if draw(st.integers(0, 9)) == 0 else first + draw(st.floats(0.01, 100))
    return Served(request, Ending.COMPLETED, first, first, last, request.output_tokens)


RUNS = st.lists(any_served(), min_size=1, max_size=30)
