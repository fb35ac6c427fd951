"""The headers by which a client learns that a budget decides about its request."""

from typing import Final

LIMITED_BY: Final = "x-vtc-limited-by"  # the budget that shortened or refused it
MOST_OUTPUT: Final = "x-vtc-max-output-tokens"  # the output limit of each sequence that its engine was told
BUDGET_HEADERS: Final = (LIMITED_BY, MOST_OUTPUT)
