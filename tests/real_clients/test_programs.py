"""Whole programs that talk to a gateway: Claude Code, and vLLM's own benchmark."""

import json
import sys
from pathlib import Path

import pytest

from .conftest import INSTALLED, ROOT, Front

pytestmark = pytest.mark.clients

CLAUDE = INSTALLED / "node_modules" / ".bin" / "claude"
# Runs `vllm bench serve` without the command's entry point, which needs vLLM's own name among the installed packages.
BENCH = """
import argparse, sys
from vllm.benchmarks import serve
parser = argparse.ArgumentParser()
serve.add_cli_args(parser)
serve.main(parser.parse_args(sys.argv[1:]))
"""


def test_claude_code(front: Front) -> None:
    """One question, one answer of the model, told as a success; the gateway charged one tenant for it."""
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1"}
    names = dict.fromkeys(("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"), "tiny")
    done = front.run(
        CLAUDE,
        *("-p", "Say hello", "--output-format", "json", "--max-turns", "1", "--tools", ""),
        ANTHROPIC_BASE_URL=front.served.url,
        ANTHROPIC_AUTH_TOKEN=front.key(),
        **quiet,
        **names,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["subtype"], result["is_error"], result["num_turns"]) == ("success", False, 1), result
    assert result["result"] and result["modelUsage"]["tiny"]["outputTokens"] > 0


@pytest.mark.parametrize(("tenant", "completed"), [("bench", 8), ("alice", 0)])
def test_vllm_bench_serve(front: Front, tmp_path: Path, tenant: str, completed: int) -> None:
    """It asks for exact lengths by `ignore_eos`: a tenant with that right gets them, another is told what it lacks."""
    python, tokenizer = ROOT / ".venv-vllm" / "bin" / "python", tmp_path / "byte-llama"
    backend = (sys.executable, "-m", "backend", "model", "byte-llama", str(tokenizer))
    assert front.run(*backend, PYTHONPATH=str(ROOT)).returncode == 0
    arguments = (
        *("--backend", "openai-chat", "--base-url", front.served.url, "--endpoint", "/v1/chat/completions"),
        *("--model", "tiny", "--tokenizer", tokenizer, "--dataset-name", "random", "--num-prompts", "8"),
        *("--random-input-len", "64", "--random-output-len", "16", "--max-concurrency", "4"),
        *("--save-result", "--save-detailed", "--result-dir", tmp_path, "--result-filename", "bench.json"),
    )
    done = front.run(python, "-c", BENCH, *arguments, OPENAI_API_KEY=front.key(tenant))
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads((tmp_path / "bench.json").read_text())
    assert (result["completed"], result["total_output_tokens"]) == (completed, 16 * completed)
    assert all("Forbidden" in error for error in result["errors"]) or completed
