"""Reading an engine's metrics: the right figures from the right lines, and nothing raised whatever the page holds."""

from dataclasses import astuple

from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.exposition import FIGURE_NAMES, MAX_LINES, CacheFigures, EngineFigures, read_cache, read_figures

PAGE = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m} 9"} 7.0
vllm:num_requests_running{engine="1",model_name="m"} 5.0 1700000000000
vllm:num_requests_running_ever{engine="0",model_name="m"} 99.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="deferred"} 2.0
vllm:num_requests_waiting_by_reason{engine="1",model_name="m",reason="capacity"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.25
vllm:num_preemptions_total{engine="0",model_name="m"} 4.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 1.5e+06
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 17.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 2000.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 400000.0
vllm:prompt_tokens_total{engine="1",model_name="m"} 7.0
vllm:generation_tokens_total{engine="0",model_name="m"} 123456.0
vllm:cache_config_info{block_size="16",kv_cache_max_concurrency="0.8",kv_cache_size_tokens="1600",x_block_size="9"} 1
vllm:cache_config_info{block_size="16",engine="1",kv_cache_size_tokens="None",num_gpu_blocks="50"} 1.0
"""
NOTHING = EngineFigures(None, None, None, None, None, None, None)


def test_figures_are_summed_over_engines_and_deferred_requests_do_not_count_as_waiting() -> None:
    """A model's name with a brace, a timestamp, a longer name that begins alike: each is read for what it is."""
    assert read_figures(PAGE) == EngineFigures(12, 2, 0.375, 4, 2000, 1.5e6, 123456, deferred=2, prompt_tokens=400007)


def test_each_name_that_is_asked_for_decides_a_figure() -> None:
    """Without its lines the page reads differently: nothing is asked of the engine in vain."""
    for name in FIGURE_NAMES:
        lines = [line for line in PAGE.splitlines(keepends=True) if not line.startswith(name.encode() + b"{")]
        assert read_figures(b"".join(lines)) != read_figures(PAGE), name


def test_the_cache_is_reported_in_tokens_or_in_blocks() -> None:
    """A rank that does not know its tokens has its blocks counted."""
    assert read_cache(PAGE) == CacheFigures(1600 + 50 * 16, 16, 0.8)
    assert read_cache(b'vllm:cache_config_info{block_size="None",num_gpu_blocks="8"} 1\n') is None


def test_a_page_without_the_figures_has_none() -> None:
    """An empty filtered answer, and a page of somebody else's."""
    for page in (b"", b"\n\n", b"<html>404</html>", b"up 1\n", b"# HELP vllm:num_requests_running x\n"):
        assert read_figures(page) == NOTHING
        assert read_cache(page) is None


def test_what_is_no_figure_is_passed_over() -> None:
    """Infinite, negative, endless and missing values leave the others as they are."""
    for value in (b"NaN", b"+Inf", b"-Inf", b"-1", b"", b"9" * 400, b"seven", b"0x10", b"\xff"):
        page = b'vllm:num_requests_running{engine="0"} ' + value + b'\nvllm:num_requests_running{engine="1"} 5\n'
        assert read_figures(page).running == 5, value
    assert read_figures(b"vllm:num_requests_running 3").running == 3


def test_lines_beyond_the_bound_are_not_read() -> None:
    """An endless page costs no more than the bound."""
    page = b"x 1\n" * MAX_LINES + b"vllm:num_requests_running 3\n"
    assert read_figures(page).running is None
    assert read_figures(page[4:]).running == 3


@given(st.binary() | st.lists(st.sampled_from(PAGE.splitlines(keepends=True))).map(b"".join), st.data())
def test_no_page_raises_and_every_figure_is_a_number_or_nothing(page: bytes, data: st.DataObject) -> None:
    """Whatever bytes come, cut anywhere."""
    cut = page[: data.draw(st.integers(0, len(page)))]
    for figure in astuple(read_figures(cut)):
        assert figure is None or figure >= 0
    read_cache(cut)
