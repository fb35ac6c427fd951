"""No answer asks a client to wait for more than a minute: its SDK is then told not to try again by itself."""

import pytest
from whole_gateway import CHAT

from gateway.clients.refusal import _MESSAGES, BudgetRefusal, Refusal, refusal_answer
from gateway.clients.request import Body, ClientRequest, Head, Headers, Line
from gateway.outcomes import Outcome

REFUSALS = [*_MESSAGES, Outcome.BUDGET_USED_UP]  # whatever the gateway itself says a word to


def remedies(outcome: Outcome, seconds: float | None, path: str = CHAT) -> dict[str, str]:
    """The headers of the answer to a request that is refused with `outcome`, to be tried again after `seconds`."""
    head = Head("POST", path, (1, 1), Headers([]), keeps_alive=True)
    request = ClientRequest(head, Body(lambda: None, is_whole=True), Line())
    fault = Refusal(outcome, seconds) if outcome in _MESSAGES else BudgetRefusal("used up", "budget", seconds or 0.0)
    answer = refusal_answer(request, fault, "id", None, is_last=False)
    return {name.lower(): value for name, value in answer.headers}


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
@pytest.mark.parametrize("outcome", REFUSALS)
def test_a_wait_beyond_a_minute_is_no_retry_after(outcome: Outcome, path: str) -> None:
    """However long it is, the header says nothing beyond 60; the SDKs of OpenAI and Anthropic obey the other one."""
    for seconds in (60.001, 61.0, 3600.0, 49 * 86400.0):
        headers = remedies(outcome, seconds, path)
        assert headers.get("x-should-retry") == "false" and "retry-after" not in headers
    for seconds, told in ((0.0, "1"), (0.2, "1"), (59.5, "60"), (60.0, "60"), (60.0 + 1e-9, "60")):
        headers = remedies(outcome, seconds, path)
        assert headers.get("retry-after") == told and "x-should-retry" not in headers
    if outcome in _MESSAGES:
        assert not {"retry-after", "x-should-retry"} & remedies(outcome, None, path).keys()
