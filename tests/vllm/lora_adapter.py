"""A LoRA adapter of byte-llama with weights of its own, in the folder format that vLLM loads (PEFT, safetensors)."""

import array
import json
import random
from pathlib import Path

from backend.vllm.models import _llama_config

RANK = 8


def write_adapter(folder: Path, seed: int) -> None:
    """Write an adapter on the queries and values of every layer; another `seed` is another adapter."""
    folder.mkdir()
    draw = random.Random(seed)
    shape = _llama_config()
    hidden, outputs = shape["hidden_size"], shape["num_attention_heads"] * shape["head_dim"]
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{side}.weight": sizes
        for layer in range(shape["num_hidden_layers"])
        for module in ("q_proj", "v_proj")
        for side, sizes in (("A", (RANK, hidden)), ("B", (outputs, RANK)))
    }
    head: dict[str, object] = {}
    data = array.array("f")
    for name, (rows, columns) in tensors.items():
        start = 4 * len(data)
        data.extend(draw.gauss(0, 1) for _ in range(rows * columns))
        head[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [start, 4 * len(data)]}
    text = json.dumps(head).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data.tobytes())
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 100 * RANK, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"bias": "none", "task_type": "CAUSAL_LM"}))
