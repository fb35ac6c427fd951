"""Measures a request's prompt without a tokenizer: bytes of text, token ids, prompts, media parts.

The cost is estimated from the bytes. So every text that a template can render counts as bytes, and each medium counts
as one part. Media are found wherever they are nested, because an engine that fetches a URL for a tenant uses its own
rights; media inside the body need no right. Only prompts that already are token ids have an exact count here.
"""

from collections.abc import Sequence
from typing import Final

from gateway.outcomes import Outcome
from gateway.wire.coercion import integers_of
from gateway.wire.errors import RequestFault
from gateway.wire.json_body import write_json

MAX_PROMPTS: Final = 2048  # OpenAI's documented bound on the inputs of one request
# Items and members of a conversation (a message with one text has three); each takes up to 0.6 us to look at.
MAX_ITEMS: Final = 2**15
_INT64_MAX: Final = 2**63 - 1

_URL_KEYS = frozenset({"image_url", "audio_url", "video_url", "file_url", "source"})
_INLINE_KEYS: Final = frozenset({"input_audio", "image_pil", "file_data"})
_EMBEDDING_KEYS: Final = frozenset({"image_embeds", "audio_embeds", "video_embeds", "prompt_embeds"})
_MEDIA_KEYS: Final = _URL_KEYS | _INLINE_KEYS | _EMBEDDING_KEYS
# These members are structure and no text of the prompt.
_SKIPPED_KEYS: Final = frozenset(
    {"role", "id", "call_id", "tool_call_id", "tool_use_id", "status", "signature", "detail", "cache_control"}
)


class Prompt:
    """The measure of one request's prompts, while its members are added.

    `rights_needed` maps a right to the field that needs it. `members` keeps the JSON of fields that were measured as
    JSON, so that it is written only once.
    """

    __slots__ = ("_items", "media_parts", "members", "prompts", "rights_needed", "text_bytes", "token_ids")

    def __init__(self) -> None:
        self.prompts = 1
        self.text_bytes = 0
        self.token_ids: int | None = None
        self.media_parts = 0
        self.rights_needed: dict[str, str] = {}
        self.members: dict[str, bytes] = {}
        self._items = 0

    def add_text(self, text: str) -> None:
        """Count the UTF-8 bytes of `text`."""
        self.text_bytes += len(text) if text.isascii() else len(text.encode())

    def add_json(self, value: object) -> None:
        """Count `value` as the JSON text that a template writes into the prompt, like tools or arguments."""
        if value:
            self.text_bytes += len(write_json(value))

    def add_member(self, name: str, value: object) -> None:
        """Count `value` as the JSON text of the field `name`."""
        text = self.members[name] = write_json(value)
        self.text_bytes += len(text)

    def add_inputs(self, value: object, param: str) -> None:
        """Measure text, a list of texts, token ids or a list of lists of token ids."""
        if isinstance(value, str):
            self.add_text(value)
            return
        if not isinstance(value, list) or not value:
            message = f"'{param}' must be text, token ids or a non-empty list of them."
            raise RequestFault(Outcome.BAD_REQUEST, message, param)
        kinds = set(map(type, value))
        if kinds == {str}:
            self._expect_prompts(value, param)
            self.add_text("".join(value))
        elif kinds == {list}:
            self._expect_prompts(value, param)
            self.token_ids = sum(_token_count(ids, param) for ids in value)
        else:
            self.token_ids = _token_count(value, param)

    def _expect_prompts(self, value: Sequence[object], param: str) -> None:
        if len(value) > MAX_PROMPTS:
            raise RequestFault(Outcome.BAD_REQUEST, f"'{param}' may hold at most {MAX_PROMPTS} inputs.", param)
        self.prompts = len(value)

    def add_conversation(self, value: object, param: str) -> None:
        """Measure messages, content parts or response items, whatever their nesting."""
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                self.add_text(item)
            elif isinstance(item, (list, dict)):
                self._items += len(item)
                if self._items > MAX_ITEMS:
                    message = f"'{param}' holds more than {MAX_ITEMS} messages, parts and members of them."
                    raise RequestFault(Outcome.BAD_REQUEST, message, param)
                if isinstance(item, dict):
                    self._add_part(item, param, pending)
                else:
                    pending.extend(item)

    def _add_part(self, part: dict[str, object], param: str, pending: list[object]) -> None:
        is_tool_use = False
        has_media = False
        for key, value in part.items():
            if key in _SKIPPED_KEYS or value is None:
                continue
            if key == "type":
                is_tool_use = value == "tool_use"
                if value == "prompt_embeds":
                    self._need("prompt_embeds", param)
            elif key in _MEDIA_KEYS:
                has_media = True
                self._add_media(key, value, param)
            elif isinstance(value, str):
                self.add_text(value)
            elif key == "tool_calls" or (key == "input" and is_tool_use):
                self.add_json(value)
            else:
                pending.append(value)
        if has_media and part.get("uuid") is not None:
            # The engine's media cache is shared: a chosen id could name another tenant's image.
            self._need("mm_kwargs", f"{param}.uuid")

    def _add_media(self, key: str, value: object, param: str) -> None:
        self.media_parts += 1
        if key in _EMBEDDING_KEYS:
            self._need("prompt_embeds", f"{param}.{key}")
            return
        url = value.get("url") if isinstance(value, dict) else value
        is_inline = key in _INLINE_KEYS or not isinstance(url, str) or url[:5].lower() == "data:"
        if not is_inline:
            self._need("media_url", f"{param}.{key}")

    def _need(self, right: str, param: str) -> None:
        self.rights_needed.setdefault(right, param)


def _token_count(ids: list[object], param: str) -> int:
    """The number of token ids in `ids`, every one a non-negative 64-bit integer."""
    integers = ids if set(map(type, ids)) == {int} else integers_of(ids)
    if not integers:
        raise _mixed(param)
    if min(integers) < 0 or max(integers) > _INT64_MAX:  # type: ignore[type-var, operator]
        raise RequestFault(Outcome.BAD_REQUEST, f"'{param}' holds a token id out of range.", param)
    return len(integers)


def _mixed(param: str) -> RequestFault:
    return RequestFault(
        Outcome.BAD_REQUEST,
        f"'{param}' must hold only texts, only token ids or only non-empty lists of them.",
        param,
    )
