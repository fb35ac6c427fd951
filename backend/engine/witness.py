"""The engine's own count of its work, separate from what it reports to its clients.

Tests and benches compare the gateway's bill with it. The last `MAX_REQUESTS` requests are kept by id, totals for ever.
"""

from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_REQUESTS = 100_000


@dataclass(slots=True)
class RequestCount:
    """One request: `prompt_tokens` are those of its prompts, each once; `ending` is empty while it runs."""

    prompt_tokens: int
    sequences: int
    output_tokens: int = 0
    ending: str = ""


@dataclass(slots=True)
class Witness:
    """Totals, and one count for each request id. `max_held` is the most sequences that ran or waited at one step."""

    requests: OrderedDict[str, RequestCount] = field(default_factory=OrderedDict)
    started: int = 0
    finished: int = 0
    aborted: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    max_running: int = 0
    max_waiting: int = 0
    max_held: int = 0

    def start(self, request_id: str, prompt_tokens: int, sequences: int) -> RequestCount:
        """A request entered the engine."""
        count = RequestCount(prompt_tokens, sequences)
        self.requests[request_id] = count
        if len(self.requests) > MAX_REQUESTS:
            self.requests.popitem(last=False)
        self.started += 1
        self.prompt_tokens += prompt_tokens
        return count

    def see(self, running: int, waiting: int) -> None:
        """Sequences at one step."""
        self.max_running = max(self.max_running, running)
        self.max_waiting = max(self.max_waiting, waiting)
        self.max_held = max(self.max_held, running + waiting)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)
