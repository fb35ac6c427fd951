"""What the gateway does with each request field of vLLM 0.32, of OpenAI and of Anthropic, by family of endpoint.

The gateway passes a field, overwrites it, removes it, limits it, reserves it for tenants with a right, or refuses it. A
field that the table does not name passes, except for a `strict` tenant. The table is the policy; `request.py` applies
it. `limits.py` knows the limits, and `request.py` knows which values ask for something.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from gateway.wire.surface import Family


class Treatment(Enum):
    """What the gateway does with a field before the request goes to a worker."""

    PASS = "pass"  # noqa: S105 - not a password
    OVERWRITE = "overwrite"
    REMOVE = "remove"
    CLAMP = "clamp"
    RIGHT = "right"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Rule:
    """The treatment of one field; `right` names the tenant's right where the treatment is RIGHT."""

    treatment: Treatment
    right: str = ""


PASS: Final = Rule(Treatment.PASS)
OVERWRITE = Rule(Treatment.OVERWRITE)
REMOVE = Rule(Treatment.REMOVE)
CLAMP = Rule(Treatment.CLAMP)
REFUSE = Rule(Treatment.REFUSE)


def _right(name: str) -> Rule:
    return Rule(Treatment.RIGHT, name)


def _table(*parts: Mapping[str, Rule] | str) -> Mapping[str, Rule]:
    """One table out of tables and of strings that list fields to pass."""
    merged: dict[str, Rule] = {}
    for part in parts:
        merged |= dict.fromkeys(part.split(), PASS) if isinstance(part, str) else part
    return MappingProxyType(merged)


# The engine's queue order, its ids and the grouping of chunks are the gateway's business (a client that
# batches 10,000 tokens into a chunk, or names its own priority, would escape the meter or the queue).
_OURS = {
    "model": OVERWRITE,
    "cache_salt": OVERWRITE,
    "priority": REMOVE,
    "request_id": REMOVE,
    "session_id": REMOVE,
    "stream_interval": REMOVE,
    "user": REMOVE,
    "safety_identifier": REMOVE,
}

_RIGHTS = {
    "use_beam_search": _right("beam_search"),
    "best_of": _right("best_of"),
    "ignore_eos": _right("ignore_eos"),
    "echo": _right("echo"),
    "prompt_logprobs": _right("prompt_logprobs"),
    "prompt_embeds": _right("prompt_embeds"),
    "chat_template": _right("chat_template"),
    "kv_transfer_params": _right("kv_transfer"),
    "ec_transfer_params": _right("kv_transfer"),
    "vllm_xargs": _right("vllm_xargs"),
    "media_io_kwargs": _right("mm_kwargs"),
    "mm_processor_kwargs": _right("mm_kwargs"),
}

RIGHTS = frozenset(rule.right for rule in _RIGHTS.values()) | {"media_url"}
"""Every right that a tenant can be given."""

_LIMITED = dict.fromkeys(("n", "max_tokens", "min_tokens", "logprobs", "logprob_token_ids", "logit_bias"), CLAMP)

_SAMPLING = """
temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty length_penalty seed stop
stop_token_ids include_stop_str_in_output skip_special_tokens spaces_between_special_tokens
truncate_prompt_tokens truncation_side allowed_token_ids bad_words watermarking repetition_detection
thinking_token_budget response_format structured_outputs return_tokens_as_token_ids return_token_ids
return_token_offsets return_prompt_text routed_experts_prompt_start mm_payload return_mm_kwargs
add_special_tokens stream
"""

# Fields of the OpenAI API that vLLM 0.32 accepts and ignores.
_OPENAI_IGNORED = """
metadata store service_tier prediction modalities audio verbosity web_search_options functions function_call
prompt_cache_key prompt_cache_retention prompt_cache_options moderation
"""

_CHAT_PROMPT = """
messages tools tool_choice parallel_tool_calls add_generation_prompt continue_final_message documents
chat_template_kwargs reasoning_effort include_reasoning
"""

_POOLING = """
truncate_prompt_tokens truncation_side padding add_special_tokens use_activation encoding_format embed_dtype
endianness dimensions add_generation_prompt continue_final_message chat_template_kwargs messages input
"""

_SCORING = """
queries query documents items data_1 data_2 text_1 text_2 top_n max_tokens_per_query max_tokens_per_doc
instruction truncate_prompt_tokens truncation_side padding use_activation chat_template_kwargs
return_documents
"""

# Some of them are beta; of those after `chat_template_kwargs` vLLM makes nothing.
_MESSAGES = """
messages system tools tool_choice thinking output_config output_format metadata chat_template_kwargs
betas billing_policy cache_control compaction context_management mcp_servers speed user_profile_id workspace_id
"""

FIELDS: Mapping[Family, Mapping[str, Rule]] = MappingProxyType(
    {
        Family.CHAT: _table(
            _SAMPLING,
            _CHAT_PROMPT,
            _OPENAI_IGNORED,
            _OURS,
            _RIGHTS,
            _LIMITED,
            {"stream_options": OVERWRITE, "max_completion_tokens": CLAMP, "top_logprobs": CLAMP},
        ),
        Family.COMPLETION: _table(
            _SAMPLING,
            "prompt suffix",
            _OPENAI_IGNORED,
            _OURS,
            _RIGHTS,
            _LIMITED,
            {"stream_options": OVERWRITE},
        ),
        Family.RESPONSES: _table(
            _SAMPLING,
            """include input instructions max_tool_calls metadata parallel_tool_calls prompt reasoning
            include_reasoning service_tier text tool_choice tools truncation prompt_cache_key
            prompt_cache_retention enable_response_messages previous_input_messages chat_template_kwargs
            stream_options context_management moderation access_programs background_options image
            prompt_cache_options""",
            _OURS,
            _RIGHTS,
            {"max_output_tokens": CLAMP, "top_logprobs": CLAMP, "logit_bias": CLAMP},
            # The answer repeats `user`, and vLLM makes no other use of it.
            {"user": PASS, "store": OVERWRITE, "background": REFUSE}
            | dict.fromkeys(("previous_response_id", "conversation"), REFUSE),
        ),
        Family.MESSAGES: _table(
            _MESSAGES,
            """stream stop_sequences temperature top_k top_p watermarking mm_payload return_mm_kwargs service_tier
            container inference_geo diagnostics fallback_credit_token fallbacks thread""",
            _OURS,
            _RIGHTS,
            {"max_tokens": CLAMP},
        ),
        Family.EMBEDDING: _table(_POOLING, _OURS, _RIGHTS),
        Family.RERANK: _table(_SCORING, _OURS, _RIGHTS),
        Family.SCORE: _table(_SCORING, _OURS, _RIGHTS),
        Family.TOKENIZE: _table(
            """prompt messages tools add_special_tokens return_token_strs add_generation_prompt
            continue_final_message chat_template_kwargs""",
            _OURS,
            _RIGHTS,
            {"cache_salt": REMOVE},
        ),
        Family.DETOKENIZE: _table("tokens", _OURS, {"cache_salt": REMOVE}),
        Family.COUNT_TOKENS: _table(_MESSAGES, _OURS, _RIGHTS, {"cache_salt": REMOVE}),
    }
)
"""By family and field, the rule; a field that is missing here is unknown."""

_IDENTIFYING = "metadata user store service_tier safety_identifier prompt_cache_key prompt_cache_retention"
ACCIDENTAL = frozenset({"stream", "stream_options", "seed", *_IDENTIFYING.split()})
"""Fields that change neither the prompt nor the engine's work, so that a client may change them between attempts."""

_TREATED = frozenset({Treatment.REMOVE, Treatment.RIGHT, Treatment.REFUSE})

UNTREATED: Mapping[Family, frozenset[str]] = MappingProxyType(
    {
        family: frozenset(name for name, rule in rules.items() if rule.treatment not in _TREATED)
        for family, rules in FIELDS.items()
    }
)
"""By family, the fields that pass without further treatment; most fields of a request are among them."""
