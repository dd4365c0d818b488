"""The last feed-forward network runs on pooled tokens only. That the vectors are right is seen in test_packing.py, for
every type of model; here, that work is saved, and that nothing is left behind."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from transformers import LlamaConfig, LlamaModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from anna_embed.engine import embed
from anna_embed.engine.prefill import PrefixStates, pool_lists


PROMPT = list(range(20, 60)) * 5  # long enough to be kept for other rows
LISTS = [PROMPT + [5, 6, 7], PROMPT + [5, 6, 8, 9], PROMPT + [5, 6, 7], [3, 4]]  # three distinct texts


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlamaModel(LlamaConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                  num_attention_heads=4, num_key_value_heads=2)).eval()


def lengths(model, layer):
    """How many tokens the feed-forward network of a layer has seen."""
    seen = []
    model.layers[layer].mlp.down_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    return seen


def test_only_pooled_tokens_run_through_it(model):
    """Else a thirtieth of each pass is spent on what nobody reads."""
    first, last = lengths(model, 0), lengths(model, 1)
    embed(model, LISTS, 1000)
    assert last == [3] and first == [200 + 3 + 2 + 2]


def test_only_pooled_tokens_run_through_it_behind_a_prefix(model):
    """Else encoding with a prompt does not profit."""
    last = lengths(model, 1)
    pool_lists(model, LISTS[:3], 1000, PROMPT, PrefixStates())
    assert last == [1, 2]  # the prefix, whose states are kept, then the texts


def test_nothing_is_left_behind(model):
    """Else the model that the user goes on with gives zeros."""
    whole = torch.tensor([LISTS[1]])
    before = model(input_ids=whole).last_hidden_state
    embed(model, LISTS, 1000)
    with pytest.raises(IndexError):
        embed(model, [[3, 1000]], 1000)
    assert torch.equal(model(input_ids=whole).last_hidden_state, before)


def test_threads_do_not_meet(model):
    """Else a server that answers two requests at once fails, or mixes them up."""
    texts = [[[n % 97, *range(3, 3 + n % 7), 5 + n % 11]] for n in range(80)]
    with torch.no_grad():
        expected = [embed(model, lists, 1000) for lists in texts]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda lists: torch.no_grad()(embed)(model, lists, 1000), texts))
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


def test_wrappers_that_run_a_layer_twice_are_seen(model):
    """Else training with FSDP's checkpoints ends with an error in the backward pass."""
    embed(model, LISTS, 1000).sum().backward()
    expected = model.embed_tokens.weight.grad.clone()
    model.zero_grad()
    apply_activation_checkpointing(
        model, checkpoint_wrapper_fn=lambda layer: checkpoint_wrapper(layer, CheckpointImpl.NO_REENTRANT),
        check_fn=lambda module: isinstance(module, LlamaDecoderLayer))
    embed(model, LISTS, 1000).sum().backward()
    torch.testing.assert_close(model.embed_tokens.weight.grad, expected)
