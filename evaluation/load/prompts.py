"""What the tenants of a load say: prompts of random letters, or conversations that begin alike.

A letter is a token for a byte tokenizer. Everything is drawn from the tenant's seeded generator, so two runs of one
seed say the same. The answers within a conversation are written here and not taken from the engine, so a prompt does
not depend on what an engine said.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LETTERS = "abcdefghijklmnopqrstuvwxyz "

Message = dict[str, str]
Prompt = str | Sequence[Message]
"""A text, or the messages of a conversation."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens, uniform over both ends included."""

    shortest: int
    longest: int

    @property
    def mean(self) -> float:
        """The expected length."""
        return (self.shortest + self.longest) / 2

    def draw(self, source: random.Random) -> int:
        """One length."""
        return source.randint(self.shortest, self.longest)

    def text(self, source: random.Random) -> str:
        """Letters of one length."""
        return "".join(source.choices(_LETTERS, k=self.draw(source)))

    def prompts(self, source: random.Random) -> Iterator[Prompt]:
        """One text after another, without end."""
        while True:
            yield self.text(source)


@dataclass(frozen=True, slots=True)
class Chats:
    """Conversations of `turns` questions that all begin with the same `instructions`.

    Each prompt is everything said before in its conversation and one more question, as a chat client sends it.
    """

    instructions: str
    turns: int
    question: Lengths
    answer: Lengths

    def prompts(self, source: random.Random) -> Iterator[Prompt]:
        """Every turn of one conversation after another, without end."""
        while True:
            messages: list[Message] = [{"role": "system", "content": self.instructions}]
            for _ in range(self.turns):
                messages.append({"role": "user", "content": self.question.text(source)})
                yield tuple(messages)
                messages.append({"role": "assistant", "content": self.answer.text(source)})


def characters(prompt: Prompt) -> int:
    """How long the text of a prompt is, without what a template adds."""
    return len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)
