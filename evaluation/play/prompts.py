"""Prompts of a wanted number of tokens. PURE but for the seeded generator.

A prompt is letters and spaces, with a given number of bytes for each token. One byte is exact for a byte tokenizer; the
mean of another tokenizer is about right. Equal prefix ids give equal bytes, and different ids give different bytes.
What follows the shared blocks differs for each request from the first bytes on, so that no cache shares more than the
trace does.
"""

from random import Random

from evaluation.requests import Request

_LETTERS = "abcdefghijklmnopqrstuvwxyz "
# Every text is a stretch of one long random text: making a prompt must not delay the next request.
_POOL_CHARACTERS = 1 << 16


class Prompts:
    """Makes the prompts of one replay."""

    def __init__(self, seed: int, bytes_per_token: float, block_tokens: int) -> None:
        source = Random(f"{seed}/prompts")
        self._pool = "".join(source.choices(_LETTERS, k=_POOL_CHARACTERS))
        self._seed = seed
        self._bytes_per_token = bytes_per_token
        self._block_bytes = round(block_tokens * bytes_per_token)

    def prompt(self, number: int, request: Request) -> str:
        """The prompt of the replay's request `number`."""
        length = max(1, round(request.prompt_tokens * self._bytes_per_token))
        shared = request.prefix_ids[: length // self._block_bytes] if self._block_bytes else ()
        blocks = [self._text(f"b{block} ", self._block_bytes) for block in shared]
        return "".join(blocks) + self._text(f"{number} ", length - len(blocks) * self._block_bytes)

    def _text(self, name: str, length: int) -> str:
        """`length` characters that begin with `name` and are always the same for it."""
        start = int(Random(f"{self._seed}/{name}").random() * _POOL_CHARACTERS)
        text = (name + self._pool[start : start + length])[:length]
        while len(text) < length:
            text += self._pool[: length - len(text)]
        return text
