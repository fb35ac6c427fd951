"""What two engines that say different words must have in common: status, headers, shape and counts of tokens."""

import re

from vllm_exchange import Answer
from vllm_shapes import answer_shape

TOKEN_COUNT = re.compile(rb'"(prompt|input|completion|output|total)_tokens":(\d+)')
OF_THE_PROMPT = {"prompt", "input"}
# Clock and size, which follow the words.
OWN_HEADERS = {"date", "content-length"}


def comparable_headers(answer: Answer) -> dict[str, str]:
    """Every header with its value, but for clock and size."""
    return {name: value for name, value in answer.headers.items() if name not in OWN_HEADERS}


def token_counts(answer: Answer) -> dict[str, int]:
    """The last count of each kind of token in a body."""
    return {kind.decode(): int(count) for kind, count in TOKEN_COUNT.findall(answer.body)}


def assert_same_form(embedded: Answer, vllm: Answer) -> None:
    """Status, headers and shape are equal."""
    assert (embedded.status, comparable_headers(embedded)) == (vllm.status, comparable_headers(vllm))
    assert answer_shape(embedded) == answer_shape(vllm), (embedded.body, vllm.body)
