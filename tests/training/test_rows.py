"""Which rows a step has, how processes share them, and which of them are run once only."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, LlamaConfig

from anna_embed.engine import plan

from anna_embed.training.rows import kept_rows, plan_evenly, shares


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


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=20)
CONFIGS = {"packed": LlamaConfig(), "padded": BertConfig()}


def texts_of(lengths):
    """As many token lists, all behind the same three tokens and otherwise different."""
    return [[1, 2, 3, *range(100 * n + 10, 100 * n + 10 + length)] for n, length in enumerate(lengths)]


def busiest(rows, processes):
    return max(sum(rows[number].size for number in own) for own in shares([row.size for row in rows], processes))


@pytest.mark.parametrize("kind", CONFIGS)
@settings(deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 200), st.integers(1, 9))
def test_even_rows_hold_every_text_once_within_the_budget(kind, lengths, budget, processes):
    """A lost text is a vector of zeros, one that stands twice a gradient that counts twice; a row beyond the budget
    is memory that was not granted."""
    texts = texts_of(lengths)
    rows = plan_evenly(texts, budget, CONFIGS[kind], processes)
    assert sorted(number for row in rows for number in row.texts.tolist()) == list(range(len(texts)))
    assert max(row.size for row in rows) <= max(row.size for row in plan(texts, budget, CONFIGS[kind]))


@pytest.mark.parametrize("processes, plain", [(2, 1.33), (4, 1.33), (8, 2.66)])
def test_no_process_waits_long(processes, plain):
    """Rows of the whole budget leave processes idle: 30 texts of 100 tokens are three rows, and eight GPUs would be as
    fast as three. By hand: of four or eight processes one has a text more than its share, 1.07 times it."""
    texts = texts_of([97] * 30)
    full, even = (busiest(rows, processes) / (3 + 30 * 97) * processes
                  for rows in (plan(texts, 1024, CONFIGS["packed"]),
                               plan_evenly(texts, 1024, CONFIGS["packed"], processes)))
    assert full == pytest.approx(plain, abs=0.02) and even < 1.09


def test_one_process_runs_full_rows():
    """Smaller rows repeat more prefixes and start more kernels for nothing where nobody waits."""
    texts = texts_of([97] * 30)
    rows = plan_evenly(texts, 1024, CONFIGS["packed"], 1)
    assert [row.input_ids.tolist() for row in rows] == [
        row.input_ids.tolist() for row in plan(texts, 1024, CONFIGS["packed"])]
