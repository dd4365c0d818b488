"""How the rows of a step are shared among processes, and which of them are run once only."""

from hypothesis import given
from hypothesis import strategies as st

from anna_embed.training.gather import kept_rows, shares


@given(st.lists(st.integers(1, 2000), max_size=30), st.integers(1, 5))
def test_each_row_has_one_process_and_none_waits_long(sizes, processes):
    """A row that two processes run counts twice; all wait for the one that has the most."""
    shared = shares(sizes, processes)
    assert sorted(number for own in shared for number in own) == list(range(len(sizes)))
    assert len(shared) == processes and all(own == sorted(own) for own in shared)
    loads = [sum(sizes[number] for number in own) for own in shared]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@given(st.lists(st.integers(1, 2000), max_size=12), st.integers(0, 6000))
def test_as_many_are_kept_as_fit(sizes, tokens):
    """One more would take memory that was not granted; one fewer would be run twice for nothing."""
    kept = kept_rows(sizes, tokens)
    fitting = [n for n in range(len(sizes) + 1) if sum(sizes[len(sizes) - n:]) <= tokens]
    assert kept == max(max(fitting), min(1, len(sizes)))
