"""How many tokens one request took, as engines report them and as the scheduler charges them."""

from typing import Final, NamedTuple


class Usage(NamedTuple):
    """Tokens of one request so far: of all its prompts, of the cached part of these, and of all its answers together.

    It is a tuple because streams make very many of them, and a frozen dataclass takes three times as long.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


NOTHING: Final = Usage()
