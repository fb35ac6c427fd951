"""Estimates the tokens of a prompt from its bytes, until the engine has counted them.

Tokenising on the event loop would stall every stream. So the estimate is a constant (for the chat template) plus so
many tokens per byte, both learned for each tenant. The first usage that the engine reports replaces the estimate.
"""

import math
from typing import Final

from gateway.learned.line import Line, Range
from gateway.learned.panel import Figures, Panel

FIRST_TOKENS_PER_BYTE: Final = 0.3  # about 3.3 bytes a token: English under the common vocabularies
# The least and the most that is believed. No vocabulary has less than a byte to a token; a long run of blanks has some
# hundred bytes to one.
LEAST_TOKENS_PER_BYTE: Final = 0.01
MOST_TOKENS_PER_BYTE: Final = 1.0
_TOKENS_PER_MEDIA_PART: Final = 576  # one image of 336 x 336 under ViT-L/14, the LLaVA-1.5 figure
_RANGE: Final = Range(
    knee=1024.0, least_slope=LEAST_TOKENS_PER_BYTE, most_slope=MOST_TOKENS_PER_BYTE, most_constant=4096.0
)


def _line(figures: Figures) -> Line:
    return Line(_RANGE, figures[0], figures[1])


class PromptEstimator:
    """Tokens of a prompt from its bytes, learned for one pool."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        """Start from 0.3 tokens per byte and a constant of 0."""
        self._lines: Panel[Line] = Panel(_line, (0.0, FIRST_TOKENS_PER_BYTE), first_votes=True)

    def estimate(self, tenant: str, prompt_bytes: int, *, prompts: int = 1, media_parts: int = 0) -> int:
        """Tokens expected in `prompts` prompts of `tenant`, which have so much text and media together; at least 1."""
        constant, per_byte = self._lines.figures(tenant)
        text = math.ceil(prompts * constant + prompt_bytes * per_byte)
        return max(1, text + media_parts * _TOKENS_PER_MEDIA_PART)

    def observe(self, tenant: str, prompt_bytes: int, prompt_tokens: int, *, prompts: int = 1) -> None:
        """Learn from prompts whose tokens the engine has counted."""
        if prompt_bytes > 0 and prompt_tokens > 0:
            self._lines.observed(tenant).observe(prompt_bytes / prompts, prompt_tokens / prompts)
