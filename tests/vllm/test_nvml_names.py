"""NVML's binding, of which vLLM carries a copy, has what finding GPUs calls."""

import ast
import inspect
import os
import re

from backend.supervisor import gpus
from backend.vllm.launch import find_python


def test_every_nvml_call_exists_and_takes_what_it_is_given() -> None:
    """No machine of the tests has a GPU: a misspelt call would be found by the first that has one."""
    (copy,) = find_python(None, os.environ).parent.parent.glob("lib/python*/site-packages/vllm/third_party/pynvml.py")
    binding = ast.parse(copy.read_text("utf-8"))
    known = {each.name: len(each.args.args) for each in binding.body if isinstance(each, ast.FunctionDef)}
    called = set(re.findall(r"nvml\.(nvml\w+)\((\w*)", inspect.getsource(gpus)))
    assert {name for name, _ in called} >= {"nvmlInit", "nvmlDeviceGetMemoryInfo", "nvmlShutdown"}
    for name, argument in called:
        assert known[name] >= bool(argument), name
    assert any(isinstance(each, ast.ClassDef) and each.name == "NVMLError" for each in binding.body)
