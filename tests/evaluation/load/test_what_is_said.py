"""Prompts are seeded and have the wanted lengths; conversations grow from the same beginning."""

import random
from itertools import islice

from evaluation.load.client import Endpoint, Surface
from evaluation.load.prompts import Chats, Lengths, characters

CHATS = Chats("you are kind", turns=3, question=Lengths(4, 6), answer=Lengths(2, 3))


def test_texts_have_the_wanted_lengths_and_repeat_with_the_seed() -> None:
    """Two generators with the same seed give the same texts."""
    first, second = (list(islice(Lengths(3, 9).prompts(random.Random(5)), 50)) for _ in range(2))
    assert first == second
    assert {characters(prompt) for prompt in first} == set(range(3, 10))


def test_every_turn_holds_the_one_before_and_one_question_more() -> None:
    """After the last turn another conversation begins with the same instructions."""
    prompts = list(islice(CHATS.prompts(random.Random(1)), 4))
    first, second, third, fresh = prompts
    assert [len(prompt) for prompt in prompts] == [2, 4, 6, 2]
    assert second[:2] == first and third[:4] == second
    assert [message["role"] for message in third] == ["system", "user", "assistant", "user", "assistant", "user"]  # type: ignore[index]
    assert fresh[0] == first[0] and fresh[1] != first[1]


def test_a_conversation_is_sent_as_its_messages() -> None:
    """A text becomes one user message."""
    endpoint = Endpoint("http://127.0.0.1:1", "m", surface=Surface.CHAT)
    chat = next(CHATS.prompts(random.Random(3)))
    assert endpoint.body(chat, 5)["messages"] == chat
    assert endpoint.body("hi", 5)["messages"] == [{"role": "user", "content": "hi"}]
