"""Texts that go on from the kept states of a prefix are encoded as if each stood alone."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from test_packing import FAMILIES, MIXED, WINDOW, relative, separately, tiny
from transformers import AutoConfig

from anna_embed.engine import embed, normalize
from anna_embed.engine.masks import PACKABLE
from anna_embed.engine.packing import ROW_COST
from anna_embed.engine.prefill import PrefixStates, pool_lists


PREFIX = [5 + n % 60 for n in range(ROW_COST + 30)]
TITLE = PREFIX + [13, 14, 15]
TEXTS = [TITLE + [20, 21, 2], TITLE + [20, 22, 23, 24, 25, 26, 27, 2], PREFIX + [2], TITLE + [20, 21, 2]]
TEXTS += [PREFIX + [*range(70, 96)] * 4 + [2], PREFIX[:-1] + [90, 2]]  # a long one; one whose prompt ends otherwise


def calls(model):
    """The sizes of the forward passes from now on."""
    sizes = []
    model.embed_tokens.register_forward_hook(lambda module, args, output: sizes.append(args[0].numel()))
    return sizes


@pytest.mark.parametrize("model_type", sorted(PACKABLE))
def test_every_model_type_goes_on_from_a_prefix_exactly(model_type):
    """Else texts behind examples get other vectors than in the stock library: windows (of 6 tokens here) count
    positions, and a cache that forgets what is outside of them would hide it from rows that go on from it."""
    known = AutoConfig.for_model(model_type).to_dict()
    mixed = {key: value for key, value in MIXED.items() if key in known}
    for attention in ("eager", None):  # Gemma 2 has no other, the rest takes blocks
        model, kept = tiny(model_type, attention, **mixed), PrefixStates()
        with torch.no_grad():
            for budget in (40, 1000):
                pooled = pool_lists(model, TEXTS, budget, PREFIX, kept)
                assert relative(normalize(pooled), separately(model, TEXTS)) < 1e-5
        assert len(kept.kept) == 1


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    st.sampled_from(["mistral", "gemma3_text"]),
    st.integers(ROW_COST + 1, 200),
    st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=14), min_size=1, max_size=6),
    st.integers(1, 300),
)
def test_any_tree_behind_any_prefix(family, length, ends, budget):
    """Else some shape of the data breaks the vectors: blocks, groups and windows meet the prefix in many ways."""
    model = tiny(family, **FAMILIES[family])
    prefix = [5 + n * n % 60 for n in range(length)]
    lists = [prefix + end for end in ends]
    with torch.no_grad():
        pooled = pool_lists(model, lists, budget, prefix, PrefixStates())
        assert relative(normalize(pooled), separately(model, lists)) < 1e-5


def test_a_prefix_is_computed_once_for_all_rows_and_calls():
    """Else five examples cost their full price in every call, or a call that shares less of them gets wrong states."""
    model, kept = tiny("llama"), PrefixStates()
    sizes = calls(model)
    with torch.no_grad():
        pool_lists(model, [PREFIX + [n, 2] for n in range(60)], 20, PREFIX, kept)
        assert sizes[0] == len(PREFIX) and max(sizes[1:]) <= 20
        count = len(sizes)
        shorter = pool_lists(model, [PREFIX[:-3] + [2]], 20, PREFIX, kept)
        assert sizes[count:] == [1]
        assert relative(normalize(shorter), separately(model, [PREFIX[:-3] + [2]])) < 1e-5


def test_who_waits_is_told_after_each_row():
    """Else the bar of `encode` stands still for a minute on a slow machine, or does not reach its end."""
    for prefix, kept in (((), None), (PREFIX, PrefixStates())):
        told = []
        pool_lists(tiny("llama"), [PREFIX + [5 + n] * 20 for n in range(60)], 300, prefix, kept, told.append)
        assert sum(told) == 60 and len(told) > 1, told


def test_short_prefixes_stand_in_the_rows():
    """Else an instruction of a few tokens costs a forward pass of its own."""
    model = tiny("llama")
    sizes = calls(model)
    with torch.no_grad():
        pool_lists(model, [[5, 6, 7, 2], [5, 6, 8, 2]], 100, [5, 6], PrefixStates())
    assert sizes == [6]


def test_states_are_those_of_the_weights():
    """Else a model that was trained on, cast or given an adapter encodes texts behind the states of the old one."""
    model, kept = tiny("llama"), PrefixStates()

    def check():
        with torch.no_grad():
            pooled = normalize(pool_lists(model, TEXTS, 100, PREFIX, kept))
            assert relative(pooled, separately(model, TEXTS)) < 1e-5

    check()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    embed(model, TEXTS, 100).sum().backward()
    optimizer.step()
    check()
    inject_adapter_in_model(LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False), model)
    check()
    for layer in model.modules():
        if isinstance(getattr(layer, "scaling", None), dict):
            layer.enable_adapters(False)
    check()
    model.double()
    check()
    assert len(kept.kept) == 5


def test_states_are_kept_within_the_limit_and_the_oldest_go_first():
    """Else a server that sees many prompts runs out of memory, or throws away the prompt it uses all the time."""
    model = tiny("llama")
    prefixes = [[n, *PREFIX] for n in range(3)]
    one = 2 * 2 * 2 * 8 * 4 * len(prefixes[0])  # keys and values of two layers of two heads of eight float32 numbers
    kept = PrefixStates(limit=2 * one)
    sizes = calls(model)
    with torch.no_grad():
        for number in (0, 1, 0, 2, 0, 1):
            pool_lists(model, [[*prefixes[number], 2]], 100, prefixes[number], kept)
    assert [size for size in sizes if size > 1] == [len(prefixes[0])] * 4  # 0, 1, 2, and 1 again
    with torch.no_grad():
        small = PrefixStates(limit=1)
        pooled = pool_lists(model, TEXTS, 100, PREFIX, small)
        assert relative(normalize(pooled), separately(model, TEXTS)) < 1e-5
    assert not small.kept


def test_copies_start_without_states():
    """Else a process of a pool is sent all states, or a copied model shares them with the original."""
    kept = PrefixStates(limit=7)
    kept.kept["key"] = []
    for other in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert other.limit == 7 and not other.kept


def test_models_that_cannot_be_packed_are_padded():
    """Else bidirectional models are given the states of a prefix that had not seen what follows it."""
    model = tiny("llama", is_causal=False)
    with torch.no_grad():
        pooled = pool_lists(model, [np.array(text) for text in TEXTS], 200, PREFIX, PrefixStates())
        assert relative(normalize(pooled), separately(model, TEXTS)) < 1e-5
    assert WINDOW < ROW_COST
