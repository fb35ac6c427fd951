"""The launcher of real vLLM, with a stand-in for the interpreter that has vLLM: what it is given, how it ends."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.vllm.engine_order import SCHEDULER
from backend.vllm.launch import LaunchError, VllmLaunch, find_python, reserve_port

HOPELESS_SECONDS = 60
ROOT = Path(__file__).parents[2]

STAND_IN = """\
    #!{python}
    # Takes vLLM's arguments; writes down what it was given, has a child as vLLM has, answers /health.
    import http.server, json, os, signal, subprocess, sys

    if "vtc_engine_order" in sys.argv:
        sys.exit("this vLLM was not tested" if os.path.exists("untested") else 0)

    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    given = {{"argv": sys.argv, "env": dict(os.environ), "pids": [os.getpid(), child.pid]}}
    with open("{report}", "w") as report:
        json.dump(given, report)
    print("the model is too large", flush=True)
    if "--fail" in sys.argv:
        child.kill()
        child.wait()
        sys.exit(3)

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503 if "--never-ready" in sys.argv else 200)
            self.end_headers()

    def stop(*_):
        child.terminate()
        child.wait()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


class StandIn:
    """A program in the place of vLLM's interpreter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "python"
        self._report = folder / "report.json"
        self.path.write_text(textwrap.dedent(STAND_IN).format(python=sys.executable, report=self._report))
        self.path.chmod(0o755)

    @property
    def given(self) -> dict[str, object]:
        """The arguments that it was started with."""
        report: dict[str, object] = json.loads(self._report.read_text())
        return report

    @property
    def processes(self) -> list[int]:
        """It and its child, as descriptors that become readable when the process ends."""
        pids = self.given["pids"]
        assert isinstance(pids, list)
        return [os.pidfd_open(pid) for pid in pids]

    @contextmanager
    def launched(self, *extra: str) -> Iterator["subprocess.Popen[str]"]:
        """The launcher with this stand-in; ended at the end."""
        command = [sys.executable, "-m", "backend", "vllm", "--python", str(self.path), *extra]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    """A stand-in in a folder of its own."""
    return StandIn(tmp_path)


def ready_url(process: "subprocess.Popen[str]") -> str:
    """The URL of the first line on standard output."""
    assert process.stdout is not None
    word, url = process.stdout.readline().split()
    assert word == "ready"
    return url


def await_ends(descriptors: list[int]) -> None:
    """Return when every process has ended."""
    for descriptor in descriptors:
        readable, _, _ = select.select([descriptor], [], [], HOPELESS_SECONDS)
        assert readable, "a process of the tree still runs"
        os.close(descriptor)


def test_one_line_says_where_vllm_serves(stand_in: StandIn) -> None:
    """Standard output holds the ready line and nothing else, and the URL answers."""
    with stand_in.launched() as process:
        url = ready_url(process)
        with urllib.request.urlopen(f"{url}/health") as answer:
            assert answer.status == 200
        process.terminate()
        out, err = process.communicate(timeout=HOPELESS_SECONDS)
    assert (process.returncode, out) == (0, "")
    assert "is ready after" in err


def test_vllm_gets_its_model_its_limits_and_a_quiet_environment(stand_in: StandIn) -> None:
    """The byte-llama folder is made and served with invented weights, offline, with one thread on a CPU."""
    with stand_in.launched("--", "--max-num-seqs", "4") as process:
        ready_url(process)
        argv, env = stand_in.given["argv"], stand_in.given["env"]
    assert isinstance(argv, list)
    assert isinstance(env, dict)
    assert argv[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert argv[argv.index("--model") + 1] == ".models/byte-llama"
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} == {
        path.name for path in (stand_in.folder / ".models" / "byte-llama").iterdir()
    }
    assert argv[-2:] == ["--max-num-seqs", "4"]
    assert (env["HF_HUB_OFFLINE"], env["VLLM_NO_USAGE_STATS"]) == ("1", "1")


def test_a_fair_order_inside_the_engine_is_found_on_a_path_of_its_own(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM gets the scheduler's name and a folder with nothing else, before the operator's own path."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:/elsewhere")
    with stand_in.launched("--engine-order", "vtc") as process:
        ready_url(process)
        argv, env = stand_in.given["argv"], stand_in.given["env"]
    assert isinstance(argv, list)
    assert isinstance(env, dict)
    assert argv[argv.index("--scheduler-cls") + 1] == SCHEDULER
    folder, *rest = env["PYTHONPATH"].split(":")
    assert rest == [str(ROOT), "/elsewhere"]
    found = [path.name for path in Path(folder).iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert found == [SCHEDULER.partition(".")[0]]


def test_the_engines_own_order_needs_nothing(stand_in: StandIn) -> None:
    """By default vLLM's scheduler and its module path are its own."""
    with stand_in.launched() as process:
        ready_url(process)
        argv, env = stand_in.given["argv"], stand_in.given["env"]
    assert isinstance(argv, list)
    assert isinstance(env, dict)
    assert "--scheduler-cls" not in argv
    assert env.get("PYTHONPATH") == os.environ.get("PYTHONPATH")


def test_a_vllm_that_was_not_tested_is_not_started(stand_in: StandIn) -> None:
    """The fair order rests on vLLM's private interface: another release is refused before a model is loaded."""
    (stand_in.folder / "untested").touch()
    with stand_in.launched("--engine-order", "vtc") as process:
        _, err = process.communicate(timeout=HOPELESS_SECONDS)
    assert process.returncode == 1
    assert "this vLLM was not tested" in err
    assert not (stand_in.folder / "report.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_the_whole_tree_ends_with_the_launcher(number: signal.Signals, stand_in: StandIn) -> None:
    """However the launcher ends, neither vLLM nor its children run on."""
    with stand_in.launched() as process:
        ready_url(process)
        running = stand_in.processes
        process.send_signal(number)
        await_ends(running)
        process.wait(HOPELESS_SECONDS)


def test_a_failed_start_shows_vllms_last_words(stand_in: StandIn) -> None:
    """When vLLM ends before it is ready, the launcher fails and shows its output and status."""
    with stand_in.launched("--", "--fail") as process:
        out, err = process.communicate(timeout=HOPELESS_SECONDS)
    assert (process.returncode, out) == (1, "")
    assert "the model is too large" in err
    assert "ended with status 3" in err


def test_a_start_that_takes_too_long_is_given_up(stand_in: StandIn) -> None:
    """After the start time the tree is ended and the launcher fails."""
    with stand_in.launched("--start-seconds", "1", "--", "--never-ready") as process:
        out, err = process.communicate(timeout=HOPELESS_SECONDS)
    assert (process.returncode, out) == (1, "")
    assert "no answer in 1 s" in err


def test_a_taken_port_is_reported_before_anything_starts(stand_in: StandIn) -> None:
    """A port that somebody listens on is refused in words."""
    with reserve_port("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with stand_in.launched("--port", str(port)) as process:
            _, err = process.communicate(timeout=HOPELESS_SECONDS)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in err


def test_a_reserved_port_is_the_childs(stand_in: StandIn) -> None:
    """Two launchers that ask for any port never get the same one."""
    with reserve_port("127.0.0.1", 0) as one, reserve_port("127.0.0.1", 0) as other:
        assert one.getsockname() != other.getsockname()


def test_arguments_of_the_caller_win() -> None:
    """The caller's arguments stand last, so that vLLM obeys them; a GPU changes threads and compilation only."""
    launch = VllmLaunch(Path("python"), "smollm2", Path("m"), "127.0.0.1", 1, ("--max-model-len", "64"), has_gpu=True)
    command = launch.command()
    assert command[-2:] == ("--max-model-len", "64")
    assert "--enforce-eager" not in command
    assert not {"OMP_NUM_THREADS", "VLLM_ENABLE_V1_MULTIPROCESSING"} & set(launch.environment({}))
    on_cpu = VllmLaunch(Path("python"), "smollm2", Path("m"), "127.0.0.1", 1, (), has_gpu=False)
    assert "--enforce-eager" in on_cpu.command()
    assert on_cpu.environment({})["OMP_NUM_THREADS"] == "1"
    assert on_cpu.environment({})["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert on_cpu.environment({"OMP_NUM_THREADS": "8"})["OMP_NUM_THREADS"] == "8"


def test_the_interpreter_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, by variable, in ./.venv-vllm; without any of them the message says what to do."""
    monkeypatch.chdir(tmp_path)
    named, variable = tmp_path / "named", tmp_path / "variable"
    for path in (named, variable):
        path.touch()
    environment = {"VTC_VLLM_PYTHON": str(variable)}
    assert find_python(named, environment) == named
    assert find_python(None, environment) == variable
    with pytest.raises(LaunchError, match="does not exist"):
        find_python(tmp_path / "missing", {})
    with pytest.raises(LaunchError, match="scripts/install-vllm"):
        find_python(None, {})
    inside = tmp_path / ".venv-vllm" / "bin" / "python"
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert find_python(None, {}) == inside
