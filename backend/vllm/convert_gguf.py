"""Converts a GGUF file into a Hugging Face model folder: `convert_gguf.py FILE.gguf FOLDER`.

Runs under vLLM's interpreter, which has transformers, torch and gguf; the program that calls it has none.
"""

import sys
from pathlib import Path

import torch  # type: ignore[import-not-found]
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # type: ignore[import-not-found]


def convert(gguf: Path, folder: Path) -> None:
    """Write tokenizer, chat template and bfloat16 weights of `gguf` to `folder`."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
