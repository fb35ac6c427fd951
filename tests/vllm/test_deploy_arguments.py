"""The vLLM of the tests knows every argument with which the examples of deploy/ start theirs."""

import json
import os
import subprocess

from deployed_engines import ENGINES

from backend.vllm.launch import find_python

PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
for arguments in json.load(sys.stdin):
    parsed = parser.parse_args(arguments)
    print(parsed.max_num_seqs, parsed.max_num_batched_tokens, parsed.max_model_len, parsed.shutdown_timeout)
"""


def test_vllm_takes_the_arguments_of_every_example() -> None:
    """Each command line is parsed by vLLM itself, and the sizes arrive where they are meant to."""
    options = [engine().options for engine in ENGINES.values()]
    lines = [[word for name, value in each.items() for word in (name, value) if word] for each in options]
    done = subprocess.run(
        [find_python(None, os.environ), "-c", PARSE],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = ("--max-num-seqs", "--max-num-batched-tokens", "--max-model-len", "--shutdown-timeout")
    assert done.stdout.splitlines()[-len(lines) :] == [" ".join(each[name] for name in names) for each in options]
