"""Meters streams of chat and completions, and removes the usage that the client did not ask for.

The gateway sends `include_usage` and `continuous_usage_stats` to the engine. So each chunk carries the running usage of
its choice, and one chunk without choices carries the totals. The rules:
- The meter reads and passes on whole events only.
- It reads a chunk in vLLM's form by regular expressions, without decoding. Inside JSON text a quote is always escaped,
  so the bytes `,"usage":{` are never content. An event without exactly one such member is decoded.
- The events of a stream of one choice differ only in text and counts. The meter knows the next one by its fixed parts
  (`expected_event`).
- vLLM writes `system_fingerprint` on the last chunk of a choice only if no usage chunk follows. So the meter puts it
  back there. The totals name the fingerprint. Until it is known, which takes a worker's first answer, the last chunk of
  each choice waits for the totals.
- An answer whose choices have all finished is complete, even without the end marker; every SDK takes it so.
"""

import re
from typing import Final

import orjson

from gateway.usage import Usage
from gateway.wire.body_meter import BodyMeter
from gateway.wire.choices import finished_choices, has_output, shows_output
from gateway.wire.expected_event import CLOSE, ExpectedEvent, expected_event
from gateway.wire.meter import Meter
from gateway.wire.request import ParsedRequest
from gateway.wire.sse import DONE, LINE_FEED, RETURN, EventSplitter, closed, event_data
from gateway.wire.usage import openai_usage

_KEY: Final = b',"usage":{'
_ANY_KEY: Final = b'"usage":{'
# At most one level of details inside; deeper ones (the totals of a multimodal prompt) are read as JSON.
_USAGE: Final = re.compile(
    rb',"usage":\{"prompt_tokens":(?P<prompt>\d{1,15}),"total_tokens":(?P<total>\d{1,15})'
    rb',"completion_tokens":(?P<output>\d{1,15})'
    rb"[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
)
_CHOICE: Final = re.compile(rb'"choices":\[\{"index":(\d{1,9})')
_FINISHED: Final = b'"finish_reason":"'
_EMPTY_DELTA: Final = b'"delta":{}'
_DELTA: Final = b'"delta":'
_ROLE: Final = b'"delta":{"role":"assistant","content":""}'
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
_FINGERPRINT: Final = re.compile(rb',"system_fingerprint":"[^"\\]*"')


class StreamMeter(Meter):
    """Meter of one stream; `fingerprint` is the member to put back, None if it is not known yet."""

    __slots__ = (
        "_by_choice",
        "_cuts",
        "_delayed",
        "_expected",
        "_finished",
        "_is_between_events",
        "_keeps_totals",
        "_per_prompt",
        "_prompts_seen",
        "_restores",
        "_sequences",
        "_splitter",
    )

    def __init__(self, parsed: ParsedRequest, fingerprint: bytes | None = None) -> None:
        super().__init__()
        self.fingerprint = fingerprint
        self._cuts = not parsed.wants_continuous_usage
        self._keeps_totals = parsed.wants_usage
        self._restores = not parsed.wants_usage
        self._by_choice: dict[int, int] | None = {} if parsed.sequences > 1 else None
        self._sequences = parsed.sequences
        self._finished: set[int] = set()
        self._per_prompt = parsed.choices
        self._prompts_seen: dict[int, int] = {}
        self._delayed: list[tuple[bytes, bytes]] = []  # the last chunk of each choice at most
        self._splitter = EventSplitter()
        self._expected: ExpectedEvent | None = None
        self._is_between_events = True

    def feed(self, data: bytes) -> bytes:
        """Meter `data`; returns the bytes that the client may see now."""
        if self._expected is not None and self._is_between_events and (shown := self._follow(self._expected, data)):
            return shown
        return self._split(data)

    def _split(self, data: bytes) -> bytes:
        events = self._splitter.feed(data)
        self._is_between_events = not self._splitter.pending
        if len(events) == 1:
            return self._read(events[0])
        return b"".join([self._read(event) for event in events])

    def whole(self) -> Meter:
        """The meter of a completion that is not streamed."""
        return BodyMeter(openai_usage)

    def end(self) -> bytes:
        """The last bytes at the true end of the body: chunks that waited, and what follows the end of the answer."""
        rest = self.cut()
        if not self.has_error and len(self._finished) >= self._sequences:
            self.is_complete = True
        if self.is_complete:
            rest += self._splitter.tail()
        self._splitter = EventSplitter()
        return rest

    def cut(self) -> bytes:
        """The last bytes of a body that broke off: only whole events, so that an error event can follow."""
        last = closed(self._splitter.tail())
        if not last:
            return self._release(b"")
        self._splitter = EventSplitter()
        return self._release(self._read(last))

    def _follow(self, expected: ExpectedEvent, data: bytes) -> bytes:
        """Read `data`, which begins with an event, if it is exactly the event that `expected` describes; else b"".

        Nearly every token comes this way. The fixed bytes must be in their places, and only the text is searched.
        """
        size = len(data)
        at = size - expected.tail_bytes
        if at < expected.head_bytes or not data.startswith(expected.head) or not data.endswith(expected.rest):
            return b""
        text, digits = data[expected.head_bytes : at], size - expected.first
        if (
            data[at : at + len(expected.tail)] != expected.tail
            or data[digits - len(expected.link) : digits] != expected.link
            or LINE_FEED in text
            or RETURN in text
            or (len(text) >= len(_KEY) and text.find(_KEY) >= 0)
        ):
            return b""
        for place in range(at + len(expected.tail), digits - len(expected.link)):
            if not _ZERO <= data[place] <= _NINE:
                return b""
        tokens = 0
        for place in range(digits, size - expected.last):
            digit = data[place]
            if not _ZERO <= digit <= _NINE:
                return b""
            tokens = tokens * 10 + digit - _ZERO
        if tokens > self.output_tokens:
            self.output_tokens = tokens
            self.outputs += 1
        elif text:
            self.outputs += 1
        return data[: size - expected.usage_bytes] + CLOSE if self._cuts else data

    def _read(self, event: bytes) -> bytes:
        """Read one event; returns what the client may see of it and of the chunks that waited."""
        if self._expected is not None and (shown := self._follow(self._expected, event)):
            return shown
        at = event.find(_KEY)
        usage = _USAGE.match(event, at) if at > 0 else None
        choice = _CHOICE.search(event) if usage is not None else None
        if choice is None or usage is None or event.find(_ANY_KEY, usage.end()) >= 0:
            return self._read_other(event)
        before, index = self.output_tokens, int(choice[1])
        self._count(index, int(usage["prompt"]), int(usage["output"]))
        is_last = event.find(_FINISHED) >= 0
        if is_last:
            self._finished.add(self._known(index))
        if is_last or self.output_tokens > before or (not _is_role(event) and shows_output(event_data(event))):
            self.outputs += 1
        if self._by_choice is None:
            goes_on = self.output_tokens and not is_last
            self._expected = expected_event(event, choice, usage) if goes_on else None
        if not self._cuts:
            return event
        kept = event[:at], event[usage.end() :]
        if not self._restores or not is_last:
            return b"".join(kept)
        if self.fingerprint is not None:
            return self.fingerprint.join(kept)
        if len(self._delayed) >= self._sequences:
            return self._release(b"".join(kept))  # a choice that ends twice waits no more
        self._delayed.append(kept)
        return b""

    def _read_other(self, event: bytes) -> bytes:
        """Read an event without a choice that carries running usage: a comment, the totals, an error, the end."""
        data = event_data(event)
        if not data:
            return event if self.outputs else b""
        if data == DONE:
            self.is_complete = True
            self.outputs += 1
            if self.has_error:
                return self._release(b"")  # an SDK must not take an answer that broke for a whole one
        elif event.find(_ANY_KEY) < 0 and (choice := _CHOICE.search(event)):
            self._read_unmetered(event, data, int(choice[1]))
        else:
            return self._read_json(event, data)
        return self._release(event)

    def _read_unmetered(self, event: bytes, data: bytes, choice: int) -> None:
        """Read a chunk of an engine that reports its usage only at the end."""
        if event.find(_FINISHED) >= 0:
            self._finished.add(self._known(choice))
            self.outputs += 1
        elif event.find(_EMPTY_DELTA) < 0 if self.outputs else shows_output(data):
            self.outputs += 1

    def _count(self, choice: int, prompt_tokens: int, output_tokens: int) -> None:
        """Count the running usage of one choice; it is cumulative, and each prompt counts once."""
        self.has_usage = True
        if self._by_choice is None:
            self.prompt_tokens = prompt_tokens
            self.output_tokens = max(self.output_tokens, output_tokens)
            return
        choice = self._known(choice)
        grown = output_tokens - self._by_choice.get(choice, 0)
        if grown > 0:
            self._by_choice[choice] = output_tokens
            self.output_tokens += grown
        prompt = choice // self._per_prompt
        more = prompt_tokens - self._prompts_seen.get(prompt, 0)
        if more > 0:
            self._prompts_seen[prompt] = prompt_tokens
            self.prompt_tokens += more

    def _known(self, choice: int) -> int:
        """The number of the choice, moved into the range that was asked for."""
        return min(max(0, choice), self._sequences - 1)

    def _read_json(self, event: bytes, data: bytes) -> bytes:
        """Decode and read the totals, an error, or a chunk in a form that vLLM does not write."""
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk = None
        if not isinstance(chunk, dict):
            self.outputs += 1
            return self._release(event)
        self._note(chunk)
        usage = openai_usage(chunk.get("usage"))
        if usage is None:
            return self._release(event)
        if chunk.get("choices"):
            return self._read_odd_chunk(event, chunk, usage)
        self.outputs += usage.output_tokens > self.output_tokens
        self._take(usage)
        fingerprint = _FINGERPRINT.search(event)
        self.fingerprint = fingerprint[0] if fingerprint else b""
        return self._release(event if self._keeps_totals else b"")

    def _note(self, chunk: dict[str, object]) -> None:
        """Note whether `chunk` has output or an error, and which choices it ends."""
        if chunk.get("error") is not None:
            self.has_error = True
            self.outputs += 1
        elif has_output(chunk):
            self.outputs += 1
        self._finished.update(map(self._known, finished_choices(chunk)))

    def _read_odd_chunk(self, event: bytes, chunk: dict[str, object], usage: Usage) -> bytes:
        before = self.output_tokens
        match chunk["choices"]:
            case [{"index": int(choice)}, *_]:
                self._count(choice, usage.prompt_tokens, usage.output_tokens)
            case _:
                self._count(0, usage.prompt_tokens, usage.output_tokens)
        self.outputs += self.output_tokens > before
        if not self._cuts:
            return self._release(event)
        del chunk["usage"]
        return self._release(b"data: %b\n\n" % orjson.dumps(chunk))

    def _release(self, event: bytes) -> bytes:
        """The chunks that waited, with the fingerprint if it is known by now, and then `event`."""
        if not self._delayed:
            return event
        fingerprint = self.fingerprint or b""
        delayed, self._delayed = self._delayed, []
        return b"".join([*(fingerprint.join(kept) for kept in delayed), event])


def _is_role(event: bytes) -> bool:
    """True if `event` is known to announce a role alone, which is no output."""
    return event.find(_ROLE) >= 0 and event.count(_DELTA) == 1
