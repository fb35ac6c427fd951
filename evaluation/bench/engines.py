"""The engines that a bench can start, and the sizes it gives them.

Real vLLM runs a random model of the dimensions given here, the embedded engine a profile. Sizes that are left out
are the engine's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

import orjson

# With the smallest model, moving tokens costs vLLM more than computing them: on two cores the load client, the
# gateway and vLLM's own API server would then be measured competing for a processor, which no engine with an
# accelerator shows. This one (16 M parameters) makes a step take ten milliseconds and more, as on an accelerator: the
# way from an answer's end to the next request's place in the batch is then about a step, which one slack sequence
# covers.
VLLM_MODEL: Mapping[str, int] = {
    "hidden_size": 512,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 1408,
}


class EngineKind(Enum):
    """Which engine a bench runs."""

    VLLM = "vllm"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class KvCache:
    """A KV cache of `blocks` blocks of `block_tokens` tokens."""

    blocks: int
    block_tokens: int

    @property
    def tokens(self) -> int:
        """What it holds."""
        return self.blocks * self.block_tokens


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine to start: `profile` is the embedded engine's speed, `model` vLLM's dimensions.

    `sequences` is what it runs at once, `batched_tokens` what it computes in one step.
    """

    kind: EngineKind
    profile: str = "cpu-tiny"
    sequences: int = 16
    model: Mapping[str, int] = field(default_factory=lambda: VLLM_MODEL)
    kv: KvCache | None = None
    batched_tokens: int | None = None

    @property
    def arguments(self) -> list[str]:
        """The command line after the interpreter."""
        match self.kind:
            case EngineKind.VLLM:
                model = ["--hf-overrides", orjson.dumps(dict(self.model)).decode()]
                start = ["-m", "backend", "vllm", "--model", "byte-llama", "--port", "0", "--end-with-parent", "--"]
                return [*start, *self._sizes("--num-gpu-blocks-override"), *model]
            case EngineKind.EMBEDDED:
                start = ["-m", "backend", "embedded", "--profile", self.profile, "--model", "tiny", "--port", "0"]
                return [*start, "--end-with-parent", *self._sizes("--kv-blocks")]
            case _:
                assert_never(self.kind)

    def _sizes(self, blocks_option: str) -> Sequence[str]:
        sizes = ["--max-num-seqs", str(self.sequences)]
        if self.batched_tokens is not None:
            sizes += ["--max-num-batched-tokens", str(self.batched_tokens)]
        if self.kv is not None:
            sizes += [blocks_option, str(self.kv.blocks), "--block-size", str(self.kv.block_tokens)]
        return sizes
