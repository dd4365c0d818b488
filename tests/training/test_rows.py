"""Which rows a step has, how processes share them, and which of them are run once only."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, BertConfig, GPTNeoXConfig, LlamaConfig, MixtralConfig

from anna_embed.engine import ROW_COST, plan
from anna_embed.training.rows import has_dropout, kept_rows, plan_evenly, shares, work


@given(st.lists(st.integers(1, 2000), max_size=30), st.integers(1, 5))
def test_each_row_has_one_process_and_none_waits_long(sizes, processes):
    """A row that two processes run counts twice; all wait for the one that has the most."""
    shared = shares(sizes, processes)
    assert sorted(number for own in shared for number in own) == list(range(len(sizes)))
    assert len(shared) == processes and all(own == sorted(own) for own in shared)
    loads = [sum(sizes[number] + ROW_COST for number in own) for own in shared]
    assert max(loads) - min(loads) <= max(sizes, default=0) + ROW_COST


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


def busiest(rows, processes, kept_tokens=10**9):
    sizes = [row.size for row in rows]
    return max(work([sizes[number] for number in own], kept_tokens) for own in shares(sizes, processes))


@pytest.mark.parametrize("kind", CONFIGS)
@settings(deadline=None, derandomize=True)
@given(LENGTHS, st.one_of(st.integers(1, 200), st.just(math.inf)), st.integers(1, 9), st.integers(0, 300))
def test_even_rows_hold_every_text_once_within_the_budget(kind, lengths, budget, processes, kept):
    """A lost text is a vector of zeros, one that stands twice a gradient that counts twice; a row beyond the budget
    is memory that was not granted; and if it takes longer than with full rows they are for nothing."""
    texts = texts_of(lengths)
    full, rows = plan(texts, budget, CONFIGS[kind]), plan_evenly(texts, budget, kept, CONFIGS[kind], processes)
    assert sorted(number for row in rows for number in row.texts.tolist()) == list(range(len(texts)))
    assert max(row.size for row in rows) <= max(row.size for row in full)
    assert busiest(rows, processes, kept) <= busiest(full, processes, kept)


@pytest.mark.parametrize("processes, plain", [(2, 1.33), (4, 1.33), (8, 2.66)])
def test_no_process_waits_long(processes, plain):
    """Rows of the whole budget leave processes idle: 30 texts of 100 tokens are three rows, and eight GPUs would be as
    fast as three. By hand: the busiest of four and of eight has 8 for 7.5 and 4 for 3.75 texts, 1.07 times its
    share."""
    texts = texts_of([97] * 30)
    full, even = (max(sum(rows[number].size for number in own) for own in shares([r.size for r in rows], processes))
                  / (3 + 30 * 97) * processes
                  for rows in (plan(texts, 1024, CONFIGS["packed"]),
                               plan_evenly(texts, 1024, 10**9, CONFIGS["packed"], processes)))
    assert full == pytest.approx(plain, abs=0.02) and even < 1.09


def test_one_process_runs_full_rows():
    """Smaller rows repeat more prefixes and start more kernels for nothing where nobody waits."""
    texts = texts_of([97] * 30)
    rows = plan_evenly(texts, 1024, 0, CONFIGS["packed"], 1)
    assert [row.input_ids.tolist() for row in rows] == [
        row.input_ids.tolist() for row in plan(texts, 1024, CONFIGS["packed"])]


SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}


@pytest.mark.parametrize("config, draws", [
    (LlamaConfig(**SMALL), False),
    (LlamaConfig(attention_dropout=0.1, **SMALL), True),
    (BertConfig(**SMALL), True),  # by default
    (GPTNeoXConfig(**SMALL), False),  # its `classifier_dropout` is that of a head
    (MixtralConfig(num_key_value_heads=2, router_jitter_noise=0.1, **SMALL), True),
])
def test_dropout_of_the_base_is_found(config, draws):
    """Where it is missed, eight GPUs draw other numbers than one, and train another model; where there is none,
    they wait for each other for nothing."""
    assert has_dropout(AutoModel.from_config(config)) is draws
