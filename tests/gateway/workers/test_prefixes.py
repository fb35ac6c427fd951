"""What is believed of the workers' caches: no more than was sent there, and less where an engine says so."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.workers import prefix_chain
from gateway.workers.prefixes import (
    BLOCK_BYTES,
    BLOCK_ENDS,
    MAX_BLOCKS_PER_WORKER,
    CachedPrefix,
    PrefixIndex,
    cached_tokens,
    prompt_bytes,
)

TEXT = bytes(range(256)) * 16  # sixteen blocks, each different from the others by what stands before it


def make_index(*workers: int, tokens: int = 10**6) -> PrefixIndex:
    index = PrefixIndex()
    for worker in workers:
        index.add(worker)
        index.bound(worker, tokens)
    return index


def test_a_longer_prompt_continues_the_chain_of_a_shorter_one() -> None:
    """The names of whole blocks do not depend on what follows; a block that is not whole has no name."""
    whole = prefix_chain(TEXT, "salt")
    assert len(whole) == 16
    for length in range(0, len(TEXT), 100):
        assert prefix_chain(TEXT[:length], "salt") == whole[: length // BLOCK_BYTES]


def test_other_salts_and_other_beginnings_share_no_name() -> None:
    """The same text under another salt, or after another first byte, has no block in common."""
    names = set(prefix_chain(TEXT, "alice", "tiny"))
    for other in (prefix_chain(TEXT, "bob", "tiny"), prefix_chain(TEXT, "alice", "poet"), prefix_chain(b"x" + TEXT)):
        assert names.isdisjoint(other)


def test_long_prompts_have_few_blocks() -> None:
    """Blocks grow with the distance from the beginning: a mebibyte has a few hundred, and none is coarser than 1/64."""
    assert len(prefix_chain(bytes(2**20))) < 400
    sizes = [end - start for start, end in zip((0, *BLOCK_ENDS), BLOCK_ENDS, strict=False)]
    assert all(size <= max(BLOCK_BYTES, end // 64) for size, end in zip(sizes, BLOCK_ENDS, strict=True))
    assert BLOCK_ENDS[-1] >= 2**30


def test_the_longest_match_comes_first() -> None:
    """Workers are named by how much of a prompt they have, each once; those without any of it are not."""
    index = make_index(0, 1, 2, 3)
    prefix = prefix_chain(TEXT)
    index.send(0, prefix[:4])
    index.send(1, prefix)
    index.send(2, prefix[:4])
    assert list(index.holders(prefix)) == [(16, [1]), (4, [0, 2])]
    assert list(index.holders(prefix[:3])) == [(3, [0, 1, 2])]
    assert list(index.holders(prefix_chain(TEXT, "other"))) == []


def test_the_end_of_the_longest_unused_prompt_is_forgotten_first() -> None:
    """What does not fit the KV cache goes by last use, the beginning of a prompt after its end."""
    index = make_index(0)
    old, new = prefix_chain(TEXT, "old"), prefix_chain(TEXT, "new")
    index.send(0, old)
    index.send(0, new)
    index.send(0, old)
    index.bound(0, int(24 * BLOCK_BYTES * 0.3))
    assert (index.found(0, old), index.found(0, new)) == (16, 7)
    index.check_invariants()


def test_a_restarted_worker_has_nothing() -> None:
    """A cleared worker is found no more; the others keep what they have."""
    index = make_index(0, 1)
    prefix = prefix_chain(TEXT)
    index.send(0, prefix)
    index.send(1, prefix)
    index.clear(0)
    assert list(index.holders(prefix)) == [(16, [1])]
    index.remove(1)
    assert list(index.holders(prefix)) == []
    index.check_invariants()


def _reported(index: PrefixIndex, name: str, found_tokens: int, *, others: bool = False) -> CachedPrefix:
    """Send the prompt `name` to worker 0, whose engine counts 1,000 tokens and finds so many of them."""
    cached = index.send(0, prefix_chain(TEXT, name))
    if not others:
        index.report(0, cached, 16, 1000, found_tokens)
        index.answered(0, cached)
    return cached


def test_a_lost_beginning_takes_all_that_was_used_before_it_along() -> None:
    """An engine that finds less than expected has lost that prompt, and so whatever was used no later."""
    index = make_index(0)
    for name, found in (("a", 0), ("b", 0), ("c", 0), ("c", 900)):
        _reported(index, name, found)
    _reported(index, "b", 0)  # believed cached, and lost
    assert index.found(0, prefix_chain(TEXT, "a")) == 0
    assert index.found(0, prefix_chain(TEXT, "b")) == 16  # it has just been read anew
    assert index.found(0, prefix_chain(TEXT, "c")) == 16
    index.check_invariants()


def test_an_engine_that_never_tells_is_not_believed_to_have_lost_everything() -> None:
    """Nothing found, from an engine that has never found anything, says nothing."""
    index = make_index(0)
    for name in ("a", "b", "b"):
        _reported(index, name, 0)
    assert index.found(0, prefix_chain(TEXT, "a")) == 16


def test_a_prompt_that_is_still_being_read_is_not_lost() -> None:
    """Two requests at once: the second finds nothing because the first has not been read, and nothing is cut."""
    index = make_index(0)
    for name, found in (("a", 0), ("a", 900)):
        _reported(index, name, found)
    first = _reported(index, "b", 0, others=True)
    _reported(index, "b", 0)
    index.answered(0, first)
    assert index.found(0, prefix_chain(TEXT, "a")) == 16


def test_tokens_follow_bytes() -> None:
    """A prompt's tokens are spread evenly over its bytes; no block is no token, and no claim exceeds the prompt."""
    assert cached_tokens(1000, 16, 0) == 0
    assert cached_tokens(1000, 16, 8) == int(1000 * BLOCK_ENDS[7] / prompt_bytes(16))
    assert cached_tokens(1000, 16, 16) < 1000


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "answer", "report", "clear", "bound"]),
        st.integers(0, 3),  # worker
        st.integers(0, 5),  # whose prompt, or which of those in flight
        st.integers(0, 16),  # its blocks, or what the engine found
    ),
    max_size=60,
)


@given(_STEPS)
def test_the_index_claims_no_more_than_was_sent_and_stays_bounded(steps: list[tuple[str, int, int, int]]) -> None:
    """In any order of events: a worker has at most the longest beginning sent to it, within its KV cache."""
    index = make_index(0, 1, 2, 3, tokens=3000)
    sent: dict[tuple[int, int], int] = {}
    in_flight: list[tuple[int, int, CachedPrefix]] = []
    for kind, worker, number, blocks in steps:
        prefix = prefix_chain(TEXT[: blocks * BLOCK_BYTES], str(number))
        if kind == "send" and prefix:
            in_flight.append((worker, blocks, index.send(worker, prefix)))
            sent[worker, number] = max(blocks, sent.get((worker, number), 0))
        elif kind in ("answer", "report") and in_flight:
            where, length, cached = in_flight.pop(number % len(in_flight))
            if kind == "report":
                index.report(where, cached, length, length * 80, blocks * 5 * length)
            index.answered(where, cached)
        elif kind == "clear":
            index.clear(worker)
            sent = {key: most for key, most in sent.items() if key[0] != worker}
        elif kind == "bound":
            index.bound(worker, 1 + blocks * 200)
        index.check_invariants()
    for worker in range(4):
        for number in range(6):
            whole = prefix_chain(TEXT, str(number))
            assert index.found(worker, whole) <= sent.get((worker, number), 0)
        held, tokens = index.cached_size(worker)
        assert held <= MAX_BLOCKS_PER_WORKER
        assert tokens <= 1.5 * 3201  # the mean of tokens per byte has moved since it was trimmed, by at most so much
