"""Which tokens stand where: rows, padded batches, masks and counts, against slow and obvious versions of each."""

import math
import time
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BloomConfig,
    Gemma3TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3NextConfig,
)

from anna_embed.engine import attention_mask, can_pack, count, plan_padded, plan_rows
from anna_embed.engine.packing import ROW_COST


# Three tokens and up to eight lists: equal lists, lists that begin others, and one-token lists come up all the time.
LISTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=8)
BUDGETS = st.one_of(st.integers(1, 30), st.just(math.inf))
patiently = settings(deadline=None, derandomize=True)


def trie_nodes(lists):
    """All paths from the root, the slow and obvious way."""
    return {tuple(tokens[:depth]) for tokens in lists for depth in range(1, len(tokens) + 1)}


def path_to(row, index):
    """The tokens that the token at `index` sees, by the definition of entry and exit numbers."""
    return [row.input_ids[j].item() for j in range(index + 1) if row.exits[j] > index]


def common_prefix(lists):
    """Tokens that all of some lists begin with."""
    return next((n for n, tokens in enumerate(zip(*lists)) if len(set(tokens)) > 1), min(map(len, lists)))


def everything(row):
    return [values.tolist() for values in (row.input_ids, row.position_ids, row.exits, row.last)]


@patiently
@given(LISTS, BUDGETS, st.integers(1, 4))
def test_each_text_is_read_back_from_its_row_and_each_token_stands_there_once(lists, budget, align):
    """Else a vector is that of another text, or is lost, or work is done twice."""
    rows = plan_rows(lists, budget, align)
    assert sorted(number for row in rows for number in row.texts.tolist()) == list(range(len(lists)))
    for row in rows:
        held = [lists[number] for number in row.texts.tolist()]
        assert [path_to(row, last) for last in row.last.tolist()] == held
        size, nodes = len(row.input_ids), len(trie_nodes(held))
        assert size == math.ceil(nodes / align) * align
        for index in range(size):
            depth = len(path_to(row, index)) - 1
            assert row.position_ids[index] == depth
            assert index < nodes or (depth == 0 and row.exits[index] == index + 1), "filling must see itself only"


@patiently
@given(LISTS, BUDGETS, st.integers(1, 4))
def test_rows_stay_under_the_budget(lists, budget, align):
    """Else a step runs out of memory. Only a text that is itself too long may exceed it, alone or with others that
    share so much of it that they take half of the budget beside that."""
    for row in plan_rows(lists, budget, align):
        held = [lists[number] for number in row.texts.tolist()]
        longest = max(held, key=len)
        alone = all(tokens == longest[: len(tokens)] for tokens in held)
        assert len(row.input_ids) <= max(budget, common_prefix(held) + budget / 2) or alone


@patiently
@given(LISTS, BUDGETS, st.randoms(use_true_random=False))
def test_the_order_of_the_texts_does_not_change_the_rows(lists, budget, random):
    """Else the same batch gives other gradients after a shuffle or a resume."""
    order = random.sample(range(len(lists)), len(lists))
    rows, shuffled = plan_rows(lists, budget), plan_rows([lists[number] for number in order], budget)
    assert [everything(row) for row in rows] == [everything(row) for row in shuffled]
    padded, again = plan_padded(lists, budget), plan_padded([lists[number] for number in order], budget)
    assert [batch.input_ids.tolist() for batch in padded] == [batch.input_ids.tolist() for batch in again]


@patiently
@given(LISTS, st.integers(4, 30))
def test_rows_are_cut_where_least_is_repeated(lists, budget):
    """Else a long few-shot prefix is encoded in more rows than it must be, and the speed is lost."""
    distinct = sorted({tuple(tokens) for tokens in lists})
    costs = []
    for cuts in (cuts for n in range(len(distinct)) for cuts in combinations(range(1, len(distinct)), n)):
        parts = [distinct[a:b] for a, b in pairwise([0, *cuts, len(distinct)])]
        sizes = [len(trie_nodes(part)) for part in parts]
        if all(size <= max(budget, common_prefix(part) + budget / 2) or size == len(part[-1])  # one path: a text alone
               for size, part in zip(sizes, parts)):
            costs.append(sum(sizes) + ROW_COST * len(sizes))
    rows = plan_rows(lists, budget)
    assert sum(len(row.input_ids) + ROW_COST for row in rows) == min(costs)


def test_two_tasks_with_long_prompts_do_not_share_a_row_if_that_repeats_a_prompt():
    """Filling rows greedily would start the second prompt at the end of the first row and repeat all of it."""
    first = [[1] * 300 + [number] for number in range(10, 60)]
    second = [[2] * 300 + [number] for number in range(10, 210)]
    rows = plan_rows(first + second, 512)
    assert [len(row.input_ids) for row in rows] == [350, 500]


def test_a_prompt_that_fills_the_budget_is_not_repeated_for_each_query():
    """Else five examples of 200 tokens, under a budget of 1,024, make a step twice as long, and nobody is told."""
    lists = [[1] * 1020 + [number] * 20 for number in range(10, 42)]
    rows = plan_rows(lists, 1024)
    assert len(rows) == 2 and sum(len(row.input_ids) for row in rows) == 2 * 1020 + 32 * 20
    assert max(len(row.input_ids) for row in rows) <= 1020 + 512


@patiently
@given(LISTS)
def test_count_is_that_of_a_trie(lists):
    """Else the share of distinct tokens in every log line is wrong."""
    assert count(lists) == (sum(map(len, lists)), len(trie_nodes(lists)))
    assert len(plan_rows(lists, math.inf)[0].input_ids) == count(lists).distinct


@patiently
@given(LISTS, BUDGETS)
def test_padded_batches_hold_each_distinct_text_once_under_the_budget(lists, budget):
    """Else models that cannot be packed run out of memory, or get the vectors of other texts."""
    batches = plan_padded(lists, budget)
    assert sorted(number for batch in batches for number in batch.texts.tolist()) == list(range(len(lists)))
    assert sum(len(batch.input_ids) for batch in batches) == len({tuple(tokens) for tokens in lists})
    for batch in batches:
        assert batch.input_ids.numel() <= budget or len(batch.input_ids) == 1
        for number, line in zip(batch.texts.tolist(), batch.last.tolist()):
            assert batch.input_ids[line][batch.attention_mask[line] == 1].tolist() == lists[number]


@patiently
@given(LISTS, st.integers(1, 4))
def test_the_mask_shows_ancestors_within_the_window_of_positions(lists, window):
    """Else a token sees another text, or a windowed layer sees too far or not far enough."""
    row = plan_rows(lists, math.inf)[0]
    size = len(row.input_ids)
    mixed = Gemma3TextConfig(num_hidden_layers=2, layer_types=["full_attention", "sliding_attention"])
    mixed.sliding_window = window
    masks = attention_mask(row, mixed)
    for i in range(size):
        ancestors = [j for j in range(i + 1) if row.exits[j] > i]
        assert masks["full_attention"][0, 0, i].isfinite().nonzero()[:, 0].tolist() == ancestors
        assert masks["sliding_attention"][0, 0, i].isfinite().nonzero()[:, 0].tolist() == ancestors[-window:]
    assert torch.equal(attention_mask(row, MistralConfig(sliding_window=window)), masks["sliding_attention"])
    assert torch.equal(attention_mask(row, LlamaConfig()), masks["full_attention"])
    assert torch.equal(attention_mask(row, Qwen2Config(sliding_window=window)), masks["full_attention"])


@pytest.mark.parametrize(
    "config, word",
    [
        (LlamaConfig(is_causal=False), "bidirectional"),
        (Gemma3TextConfig(use_bidirectional_attention=True), "bidirectional"),
        (Qwen3NextConfig(num_hidden_layers=4), "linear_attention"),
        (BertConfig(), "bert"),
        (BloomConfig(), "ALiBi"),
        (MambaConfig(), "recurrent"),
        (LlamaConfig(attn_implementation="flash_attention_2"), "sdpa"),
    ],
)
def test_models_that_cannot_be_packed_are_named_with_the_reason(config, word):
    """Else they are packed and their vectors are silently wrong."""
    packs, reason = can_pack(config)
    assert not packs and word in reason


@pytest.mark.parametrize("plan", [plan_rows, plan_padded])
@pytest.mark.parametrize(
    "lists, budget, sentence",
    [([], 8, "no token list"), ([[1], []], 8, "list 1 is empty"), ([[1]], 0, "budget"), ([[1]], math.nan, "budget")],
)
def test_nothing_to_encode_is_an_error(plan, lists, budget, sentence):
    """Else the mistake shows up far away as a shape error or a NaN."""
    with pytest.raises(ValueError, match=sentence):
        plan(lists, budget)


def test_planning_is_not_quadratic():
    """Else a corpus takes hours to plan: 20,000 texts of 500 tokens take a second, comparing all pairs takes hours."""
    lists = np.random.default_rng(0).integers(0, 30_000, (20_000, 500))
    lists[:, :400] = 7
    lists = lists.tolist()
    start = time.process_time()
    rows = plan_rows(lists, 2048)
    assert time.process_time() - start < 20
    assert len(rows) == math.ceil(20_000 / 16)
