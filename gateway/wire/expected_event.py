"""What the next event of a stream of one choice must look like, by the last one: all but its text and its counts.

`stream_meter` knows such an event by its fixed parts, and finds the text and the counts in their places.
"""

import re
from typing import Final

from gateway.wire.sse import RETURN

_UNFINISHED: Final = b'"finish_reason":null'
CLOSE: Final = b"}\n\n"  # the end of an event that has usage as its last member
# The bytes before and after the text of a token, with the quotes, in chat and completions.
_AROUND_TEXT: Final = (
    (b',"delta":{"content":"', b'"},"logprobs":null,'),
    (b',"text":"', b'","logprobs":null,'),
)


class ExpectedEvent:
    """The fixed parts of the events of a stream of one choice, until the choice ends or a count gets one more digit.

    An event consists of `head`, the text, `tail`, the digits of the total, `link`, the digits of the output tokens, and
    `rest`. `head` and `tail` include the members around the text if only text lies between them. Places are counted in
    bytes from the event's end: `tail` begins at `tail_bytes`, the digits of the output tokens go from `first` to
    `last`, and `,"usage":{` begins at `usage_bytes`.
    """

    __slots__ = ("first", "head", "head_bytes", "last", "link", "rest", "tail", "tail_bytes", "usage_bytes")

    def __init__(self, event: bytes, choice: re.Match[bytes], at: int, usage: re.Match[bytes]) -> None:
        size, start = len(event), choice.end()
        for opening, closing in _AROUND_TEXT:
            if event.startswith(opening, start) and event[:at].endswith(closing):
                start, at = start + len(opening), at - len(closing)
                break
        self.head = event[:start]
        self.head_bytes = start
        self.tail = event[at : usage.start("total")]
        self.tail_bytes = size - at
        self.usage_bytes = size - usage.start()
        self.link = event[usage.end("total") : usage.start("output")]
        self.rest = event[usage.end("output") :]
        self.first = size - usage.start("output")
        self.last = size - usage.end("output")


def expected_event(event: bytes, choice: re.Match[bytes], usage: re.Match[bytes]) -> ExpectedEvent | None:
    """The fixed parts of the event after `event`; None if the form of `event` does not show them."""
    at = event.rfind(_UNFINISHED, 0, usage.start())
    if at < choice.end() or event[usage.end() :] != CLOSE or RETURN in event or event.find(b"\n") != len(event) - 2:
        return None
    return ExpectedEvent(event, choice, at, usage)
