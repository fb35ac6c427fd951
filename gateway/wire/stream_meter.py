"""Meters streams of chat and completions, and takes out the usage that the client did not ask for.

The gateway forces `include_usage` and `continuous_usage_stats` upstream. Each chunk then carries the running
usage of its choice, and one chunk without choices the totals. Rules: only whole events are read and passed
on; the usual buffer is read by one regular expression, without decoding; inside JSON text a quote is always
escaped, so the bytes `,"usage":{` are never content; whatever is not exactly one usage member per event is
read event by event. vLLM writes `system_fingerprint` on a choice's last chunk only where no usage chunk
follows: it is put back there, and a last chunk waits for the next event until the fingerprint is known.
"""

import re
from typing import Final

import orjson

from gateway.wire.request import Reading
from gateway.wire.sse import EventSplitter, event_data, split_events
from gateway.wire.usage import Usage, openai_usage

_KEY: Final = b',"usage":{'
# At most one level of details inside; deeper ones (the totals of a multimodal prompt) are read as JSON.
_USAGE = re.compile(
    rb',"usage":\{"prompt_tokens":(\d+),"total_tokens":\d+,"completion_tokens":(\d+)'
    rb"[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
)
_CHOICE = b'"choices":[{"index":'
_FINISHED = b'"finish_reason":"'
_FINGERPRINT = re.compile(rb',"system_fingerprint":"[^"\\]*"')
_OPEN_BRACKET: Final = ord("[")


class StreamMeter:
    """Meter of one stream; `fingerprint` is the member to put back, b"" for none, None until it is known."""

    __slots__ = (
        "_by_choice",
        "_cuts",
        "_held",
        "_keeps_totals",
        "_per_prompt",
        "_prompts_seen",
        "_splitter",
        "cached_tokens",
        "fingerprint",
        "has_error",
        "has_usage",
        "is_complete",
        "output_tokens",
        "prompt_tokens",
        "started",
    )

    def __init__(self, reading: Reading, fingerprint: bytes | None = None) -> None:
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self.has_usage = False
        self.is_complete = False
        self.has_error = False
        self.started = False
        self.fingerprint = fingerprint
        self._cuts = not reading.wants_continuous_usage
        self._keeps_totals = reading.wants_usage
        self._by_choice: dict[int, int] | None = {} if reading.sequences > 1 else None
        self._per_prompt = reading.choices
        self._prompts_seen: dict[int, int] = {}
        self._held: list[bytes] = []
        self._splitter = EventSplitter()

    def feed(self, data: bytes) -> bytes:
        """Meter what just arrived; the bytes that the client may see now."""
        whole = self._splitter.take(data)
        if not whole:
            return b""
        if self._by_choice is None and not self._held:
            passed = self._read_plain(whole)
            if passed is not None:
                return passed
        return b"".join([self._read_event(event) for event in split_events(whole)])

    def end(self) -> bytes:
        """The rest, at the true end of the body: a held chunk and the bytes of an unfinished event."""
        rest = self.cut() + self._splitter.tail()
        self._splitter = EventSplitter()
        return rest

    def cut(self) -> bytes:
        """The rest where the body broke off: whole events only, so that an error event can follow."""
        return self._release(b"")

    def _read_plain(self, whole: bytes) -> bytes | None:
        """Read a buffer of events with one running usage each; None, and nothing done, for any other."""
        at = whole.find(_KEY)
        if at < 0 or whole[at - 2] == _OPEN_BRACKET:
            return None
        usage = _USAGE.match(whole, at)
        if usage is None:
            return None
        after = usage.end()
        events = 1
        kept = [whole[:at]]
        while (at := whole.find(_KEY, after)) >= 0:
            usage = _USAGE.match(whole, at)
            if usage is None or whole[at - 2] == _OPEN_BRACKET or whole.find(b"\n\n", after, at) < 0:
                return None
            kept.append(whole[after:at])
            after = usage.end()
            events += 1
        if whole.count(b"\n\n") != events or (self._cuts and not self._keeps_totals and _FINISHED in whole):
            return None
        kept.append(whole[after:])
        self.has_usage = self.started = True
        self.prompt_tokens = int(usage[1])
        self.output_tokens = max(self.output_tokens, int(usage[2]))
        return b"".join(kept) if self._cuts else whole

    def _read_event(self, event: bytes) -> bytes:
        """Read one event of any kind; what of it, and of what was held, the client may see."""
        data = event_data(event)
        if not data.startswith(b"{"):
            self.is_complete = self.is_complete or data == b"[DONE]"
            return self._release(event) if data else event
        usages = list(_USAGE.finditer(event))
        if len(usages) == 1 and event.count(b'"usage":{') == 1 and _CHOICE in event:
            return self._read_chunk(event, usages[0])
        if b'"usage":{' not in event and _CHOICE in event:
            self.started = True
            return self._release(event)
        return self._read_json(event, data)

    def _read_chunk(self, event: bytes, usage: re.Match[bytes]) -> bytes:
        self.has_usage = self.started = True
        start = event.index(_CHOICE) + len(_CHOICE)
        self._count(int(event[start : event.index(b",", start)]), int(usage[1]), int(usage[2]))
        if not self._cuts:
            return self._release(event)
        cut = event[: usage.start()], event[usage.end() :]
        if self._keeps_totals or _FINISHED not in event:
            return self._release(b"".join(cut))
        if self.fingerprint is not None:
            return self._release(self.fingerprint.join(cut))
        released = self._release(b"")
        self._held = list(cut)
        return released

    def _count(self, choice: int, prompt_tokens: int, output_tokens: int) -> None:
        """Account for the running usage of one choice: cumulative per choice, the prompt once per prompt."""
        if self._by_choice is None:
            self.prompt_tokens = prompt_tokens
            self.output_tokens = max(self.output_tokens, output_tokens)
            return
        grown = output_tokens - self._by_choice.get(choice, 0)
        if grown > 0:
            self._by_choice[choice] = output_tokens
            self.output_tokens += grown
        prompt = choice // self._per_prompt
        self.prompt_tokens += prompt_tokens - self._prompts_seen.get(prompt, 0)
        self._prompts_seen[prompt] = prompt_tokens

    def _read_json(self, event: bytes, data: bytes) -> bytes:
        """Read the totals, an error, or a chunk in a form that vLLM does not write, by decoding it."""
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._release(event)
        if not isinstance(chunk, dict):
            return self._release(event)
        if "error" in chunk:
            self.has_error = True
        usage = openai_usage(chunk.get("usage"))
        if usage is None:
            return self._release(event)
        match chunk.get("choices"):
            case [{"index": int(choice)}, *_]:
                return self._read_odd_chunk(event, chunk, choice, usage)
        self.has_usage = True
        self._settle(usage)
        fingerprint = _FINGERPRINT.search(event)
        self.fingerprint = fingerprint[0] if fingerprint else b""
        return self._release(event if self._keeps_totals else b"")

    def _read_odd_chunk(self, event: bytes, chunk: dict[str, object], choice: int, usage: Usage) -> bytes:
        self.started = self.has_usage = True
        self._count(choice, usage.prompt_tokens, usage.output_tokens)
        if not self._cuts:
            return self._release(event)
        del chunk["usage"]
        return self._release(b"data: %b\n\n" % orjson.dumps(chunk))

    def _settle(self, usage: Usage) -> None:
        self.prompt_tokens = usage.prompt_tokens
        self.cached_tokens = usage.cached_tokens
        self.output_tokens = usage.output_tokens

    def _release(self, event: bytes) -> bytes:
        """What was held, with the fingerprint if it is known by now, and then `event`."""
        if not self._held:
            return event
        held = (self.fingerprint or b"").join(self._held)
        self._held = []
        return held + event
