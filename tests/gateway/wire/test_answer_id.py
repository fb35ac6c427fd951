"""An answer's id shows whether it belongs to another request of a gateway, or says nothing."""

from secrets import token_hex

import pytest

from gateway.clients.request_ids import RequestIds
from gateway.wire.answer_id import answers_another, marked

IDS = RequestIds()
OURS, OTHER = IDS.draw(), IDS.draw()
FOREIGN = ["0" * 31 + "1", "0" * 32, "a" * 32, "0123456789abcdef" * 2]
FORMS = [
    'data: {"id":"chatcmpl-%s","object":"chat.completion.chunk"',
    '{"id":"cmpl-%s","object":"text_completion"',
    'event: message_start\ndata: {"type":"message_start","message":{"id":"chatcmpl-%s"',
    'event: response.created\ndata: {"response":{"id":"resp_%s"',
    '{"id": "%s", "object": "list"',
]


@pytest.mark.parametrize("form", FORMS)
def test_only_an_id_that_a_gateway_drew_can_be_anothers(form: str) -> None:
    """The request's own, an engine's and none at all are no reason to doubt an answer."""
    request_id = OURS.encode()
    assert answers_another((form % OTHER).encode(), request_id)
    assert not answers_another((form % OURS).encode(), request_id)
    for foreign in FOREIGN:
        assert not answers_another((form % foreign).encode(), request_id)
    assert not answers_another((form % "x").encode(), request_id)
    assert not answers_another(b'{"choices":[]}', request_id)


def test_content_that_quotes_another_id_is_content() -> None:
    """Inside text its quotes are escaped, and an answer's own id stands before all others."""
    request_id = OURS.encode()
    quoted = f'{{"choices":[{{"text":"\\"id\\":\\"chatcmpl-{OTHER}\\""}}]}}'
    nested = f'{{"id":"resp_{OURS}","metadata":{{"id":"resp_{OTHER}"}}}}'
    assert not answers_another(quoted.encode(), request_id)
    assert not answers_another(nested.encode(), request_id)


@pytest.mark.parametrize("count", [1, 2, 64])
def test_the_mark_keeps_an_ids_own_digits(count: int) -> None:
    """All but its first word are as they were drawn, one from each quarter, and a marked id stays as it is."""
    for _ in range(100):
        digits = token_hex(16 * count)
        quarters = [digits[8 * count * number :][: 8 * count] for number in range(4)]
        ids = marked(digits)
        assert len(ids) == count
        for number, each in enumerate(ids):
            assert len(each) == 32
            assert each[8:] == "".join(quarter[8 * number :][:8] for quarter in quarters[1:])
            assert marked(each) == [each]
