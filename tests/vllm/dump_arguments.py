"""Prints, as JSON, every option of the installed vLLM's server. Runs under vLLM's own interpreter."""

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = make_arg_parser(FlexibleArgumentParser())
    json.dump(sorted(option for action in parser._actions for option in action.option_strings), sys.stdout)
