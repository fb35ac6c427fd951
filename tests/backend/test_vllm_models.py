"""The model folders that the workers write themselves."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.vllm.models import ModelError, alone, model_folder, write_byte_llama


def silent(_text: str) -> None:
    """Report to nobody."""


def test_a_token_is_a_byte(tmp_path: Path) -> None:
    """The 256 bytes have symbols of their own, one character each, and the ids 0 to 255."""
    folder = tmp_path / "byte-llama"
    write_byte_llama(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocabulary = model["vocab"]
    assert model["merges"] == []
    symbols = {number: symbol for symbol, number in vocabulary.items()}
    assert all(len(symbols[byte]) == 1 for byte in range(256))
    assert len({symbols[byte] for byte in range(256)}) == 256
    assert (symbols[ord("a")], symbols[ord(" ")], symbols[0]) == ("a", "Ġ", "Ā")


def test_the_configuration_knows_the_vocabulary(tmp_path: Path) -> None:
    """Sizes and special tokens of configuration and tokenizer agree."""
    write_byte_llama(tmp_path / "m")
    config, tokenizer, settings = (
        json.loads((tmp_path / "m" / name).read_text(encoding="utf-8"))
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json")
    )
    vocabulary = tokenizer["model"]["vocab"]
    assert config["vocab_size"] == len(vocabulary) == 259
    assert config["eos_token_id"] == vocabulary[settings["eos_token"]]
    assert {added["content"] for added in tokenizer["added_tokens"]} == {"<s>", "</s>", "<pad>"}
    assert settings["chat_template"]


def test_a_folder_in_use_is_not_written_again(tmp_path: Path) -> None:
    """A second server finds the folder as it is; one that differs from what would be written is replaced."""
    folder = model_folder("byte-llama", tmp_path, Path("python"), silent)
    before = (folder / "config.json").stat()
    model_folder("byte-llama", tmp_path, Path("python"), silent)
    assert (folder / "config.json").stat().st_ino == before.st_ino
    (folder / "config.json").write_text("{}")
    model_folder("byte-llama", tmp_path, Path("python"), silent)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    assert [path.name for path in tmp_path.iterdir()] == ["byte-llama"]


def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    """The message names the folder that is no model, and the names that need no folder."""
    with pytest.raises(ModelError, match="byte-llama, smollm2"):
        model_folder(str(tmp_path), tmp_path, Path("python"), silent)


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    """When the model cannot be had, the message says so and no half folder is left."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    broken.chmod(0o755)
    cache = tmp_path / "models"
    with pytest.raises(ModelError, match=r"could not download(.|\n)*no network"):
        model_folder("smollm2", cache, broken, silent)
    assert list(cache.iterdir()) == []


def test_a_name_of_a_hub_is_left_to_vllm(tmp_path: Path) -> None:
    """`owner/model` that is no folder is passed on; where there is such a folder it must hold a model."""
    assert model_folder("meta-llama/Llama-3.1-8B", tmp_path, Path("python"), silent) == Path("meta-llama/Llama-3.1-8B")
    with pytest.raises(ModelError, match="no model folder"):
        model_folder("nothing-there", tmp_path, Path("python"), silent)


def test_two_that_start_together_make_a_model_once(tmp_path: Path) -> None:
    """The second waits until the first has made it, and finds it."""
    made = tmp_path / "made"
    python = tmp_path / "python"  # in the place of pip: notes each call, and fails
    python.write_text(f"#!/bin/sh\necho x >> {made}\nexit 1\n")
    python.chmod(0o755)
    folder = tmp_path / "models" / "smollm2"
    begun = threading.Event()

    def second() -> Path:
        begun.set()
        return model_folder("smollm2", tmp_path / "models", python, silent)

    with ThreadPoolExecutor(1) as pool:
        with alone(tmp_path / "models"):
            waiting = pool.submit(second)
            begun.wait()
            folder.mkdir()
            (folder / "config.json").write_text("{}")
        assert waiting.result() == folder
    assert not made.exists()
