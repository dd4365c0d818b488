"""Packed, padded and separate encoding are the same function. The oracle encodes each list alone, without padding."""

import copy
import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModel
from transformers.utils.logging import warning_once

from anna_embed.engine import (
    attention,
    embed,
    embed_row,
    in_caller_order,
    last_token_pool,
    normalize,
    plan_padded,
    plan_rows,
)
from anna_embed.engine.masks import PACKABLE, same_alone


SIZES = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
EXPERTS = {"moe_intermediate_size": 16, "num_experts_per_tok": 2, "num_experts": 4, "num_local_experts": 4}
WINDOW = 6  # shorter than every prompt and most texts below
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW, "use_sliding_window": True}
FAMILIES = {
    "llama": {},
    "mistral": {"sliding_window": WINDOW},
    "qwen2": MIXED,
    "qwen3": {},
    "gemma3_text": MIXED,
}

PROMPT = [5, 6, 7, 8, 9, 10, 11, 12]
TITLE = PROMPT + [13, 14, 15]
LISTS = [TITLE + [20, 21, 2], TITLE + [20, 22, 23, 24, 25, 26, 27, 2], PROMPT + [2], [*range(40, 48), 2]]
LISTS += [PROMPT, LISTS[1], [2], TITLE + [20, 21, 2], PROMPT + [13, 60, 61, 2]]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """These models are too small to share among threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def embed_padded(model, token_lists, budget):
    """What a model that cannot be packed goes through."""
    rows = plan_padded(token_lists, budget)
    return in_caller_order([embed_row(model, row) for row in rows], rows)


def tiny(model_type, attention="sdpa", **overrides):
    """A random model whose attention is sharp enough that a wrong mask shows."""
    torch.manual_seed(0)
    known = AutoConfig.for_model(model_type).to_dict()
    sizes = {key: value for key, value in (SIZES | EXPERTS).items() if key in known}
    config = AutoConfig.for_model(model_type, **sizes, **overrides)
    model = AutoModel.from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3 if parameter.ndim > 1 else 0.1)
    return model.eval()


def with_lora(model):
    """Attach an adapter that does something, and ask for the gradients of everything."""
    lora = LoraConfig(task_type="FEATURE_EXTRACTION", r=4, target_modules="all-linear")
    model = get_peft_model(model, lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.requires_grad_(True)


def separately(model, lists):
    states = [model(input_ids=torch.tensor([tokens]), use_cache=False).last_hidden_state[0, -1] for tokens in lists]
    return normalize(torch.stack(states))


def gradient(model, vectors):
    """The gradient of a loss that weighs every coordinate of every vector differently."""
    weights = torch.sin(torch.arange(vectors.numel(), dtype=torch.float32)).view(vectors.shape)
    model.zero_grad()
    (vectors * weights).sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def relative(value, reference):
    assert value.shape == reference.shape and reference.isfinite().all()
    return ((value - reference).norm() / reference.norm()).item()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # 5.17 does not know the new name
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_vectors_and_gradients_are_those_of_separate_encoding(family, checkpointing):
    """Else training is not the training that the losses describe, and faster for being wrong."""
    model = with_lora(tiny(family, **FAMILIES[family]))
    reference = separately(model, LISTS)
    reference_gradient = gradient(model, reference)
    if checkpointing:
        model.train().gradient_checkpointing_enable()  # checkpoints in training mode only; there is no dropout
    for budget in (1, 16, math.inf):
        vectors = embed(model, LISTS, budget)
        assert relative(vectors, reference) < 1e-5
        assert relative(gradient(model, vectors), reference_gradient) < 1e-5


@pytest.mark.parametrize("at_once, dropout", [(attention.AT_ONCE, 0.0), (1, 0.0), (attention.AT_ONCE, 1e-30)])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_many_blocks_are_encoded_as_separate_texts(family, at_once, dropout, monkeypatch):
    """Else a block is computed with the mask of another, or a key that many blocks share loses a gradient.

    With dropout, be it none to speak of, the blocks go through SDPA's kernels, as all do on a GPU.
    """
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    random = np.random.default_rng(0)
    lists = [PROMPT * 3 + random.integers(1, 97, length).tolist() for length in (1, 2, 30, 90, 130, 64, 40, 128)]
    lists += [random.integers(1, 97, length).tolist() for length in (100, 64, 1, 70)]
    model = with_lora(tiny(family, **FAMILIES[family], attention_dropout=dropout)).train()
    reference = separately(model, lists)
    reference_gradient = gradient(model, reference)
    vectors = embed(model, lists, math.inf)
    assert relative(vectors, reference) < 1e-5
    assert relative(gradient(model, vectors), reference_gradient) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_left_padded_right_padded_and_packed_agree(family):
    """Else the trainer, the stock SentenceTransformer and mteb give different vectors for one text."""
    model = tiny(family, **FAMILIES[family])
    width = max(map(len, LISTS))
    with torch.no_grad():
        packed = embed(model, LISTS, 32)
        assert relative(packed, separately(model, LISTS)) < 1e-5
        assert relative(embed_padded(model, LISTS, 32), packed) < 1e-5
        for before, after in ((1, 0), (0, 1)):
            lines = [[0] * before * (width - len(t)) + t + [0] * after * (width - len(t)) for t in LISTS]
            mask = [[0] * before * (width - len(t)) + [1] * len(t) + [0] * after * (width - len(t)) for t in LISTS]
            lines, mask = torch.tensor(lines), torch.tensor(mask)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            hidden = model(input_ids=lines, attention_mask=mask, position_ids=positions, use_cache=False)
            padded = normalize(last_token_pool(hidden.last_hidden_state, mask))
            assert relative(padded, packed) < 1e-5


@pytest.mark.parametrize("model_type", sorted(PACKABLE))
def test_every_model_type_that_is_packed_packs_exactly(model_type):
    """Else can_pack promises what the architecture does not keep."""
    known = AutoConfig.for_model(model_type).to_dict()
    model = tiny(model_type, "eager", **{key: value for key, value in MIXED.items() if key in known})
    with torch.no_grad():
        assert relative(embed(model, LISTS, 20), separately(model, LISTS)) < 1e-5


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    st.sampled_from(["mistral", "gemma3_text"]),
    st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=14), min_size=1, max_size=6),
    st.one_of(st.integers(1, 40), st.just(math.inf)),
    st.integers(1, 16),
)
def test_any_tree_of_texts_is_encoded_as_if_each_stood_alone(family, lists, budget, align):
    """Else some shape of the data (one token, repeats, a text that begins another, windows) breaks the vectors."""
    model = tiny(family, **FAMILIES[family])
    rows = plan_rows(lists, budget, align)
    with torch.no_grad():
        vectors = in_caller_order([embed_row(model, row) for row in rows], rows)
        assert relative(vectors, separately(model, lists)) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_mask_the_vectors_are_wrong(family):
    """The negative control: else the tests above could not tell a right layout from none."""
    model = tiny(family, **FAMILIES[family])
    row = plan_rows(LISTS, math.inf)[0]
    with torch.no_grad():
        hidden = model(input_ids=row.input_ids[None], position_ids=row.position_ids[None], use_cache=False)
        unmasked = in_caller_order([normalize(row.pool(hidden.last_hidden_state))], [row])
        assert relative(unmasked, separately(model, LISTS)) > 0.1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_half_precision_and_autocast_pack_as_well_as_they_compute(attention):
    """Else a mask of the wrong dtype stops bf16 training, or blocks nothing: it holds -inf also after a cast."""
    for model in (tiny("llama", attention), tiny("gemma3_text", attention, **MIXED)):
        with torch.no_grad():
            reference = separately(model, LISTS)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                vectors = embed(model, LISTS, math.inf)
            assert relative(vectors, reference) < 0.05
            row = plan_rows(LISTS, math.inf)[0]
            # accelerate opens autocast inside the forward, after the inputs were made.
            inputs = row.inputs(model.config, torch.float32, torch.device("cpu"))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = model(**inputs, use_cache=False).last_hidden_state
            assert relative(in_caller_order([normalize(row.pool(hidden))], [row]), reference) < 0.05
            vectors = embed(model.bfloat16(), LISTS, math.inf)
            assert vectors.dtype == torch.float32 and relative(vectors, reference) < 0.05


def test_scores_are_no_rounder_than_those_of_the_stock_kernel():
    """Else autocast rounds the attention scores, which SDPA's kernels never do, and sharp attention is off by far;
    or the backward pass, which runs outside of it, is that of another function."""
    model = with_lora(tiny("llama").bfloat16())
    with torch.no_grad():
        exact = separately(copy.deepcopy(model).float(), LISTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stock, ours = separately(model, LISTS), embed(model, LISTS, math.inf)
        within = gradient(model, ours)
    assert relative(ours, exact) <= 1.2 * relative(stock, exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = embed(model, LISTS, math.inf)
    assert relative(within, gradient(model, ours)) < 1e-2


def test_a_wrapped_model_is_called_through_its_wrapper():
    """Else under DDP the gradients are not reduced, or the config is not found."""
    wrapped = torch.nn.DataParallel(tiny("llama"))
    calls = []
    wrapped.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        assert relative(embed(wrapped, LISTS, math.inf), separately(wrapped, LISTS)) < 1e-5
    assert len(calls) == 1 + len(LISTS)


def test_repeated_texts_are_encoded_once_and_share_their_vector():
    """Else in-batch passages that repeat cost their full price."""
    model = tiny("llama")
    seen = []
    model.embed_tokens.register_forward_hook(lambda module, args, output: seen.append(args[0].numel()))
    with torch.no_grad():
        vectors = embed(model, [PROMPT] * 50, 4)
        padded = embed_padded(model, [PROMPT] * 50, 4)
    assert seen == [len(PROMPT), len(PROMPT)]
    assert vectors.unique(dim=0).shape[0] == padded.unique(dim=0).shape[0] == 1


def test_bidirectional_models_are_padded_and_it_is_said_once(caplog):
    """Else their vectors change with what shares the row; and nobody knows why they are slower."""
    warning_once.cache_clear()  # another test of this process may have heard it
    for model in (tiny("llama", is_causal=False), tiny("bert")):
        with torch.no_grad(), caplog.at_level(logging.WARNING):
            assert relative(embed(model, LISTS, 40), separately(model, LISTS)) < 1e-5
            embed(model, LISTS, 40)
    assert ["bidirectional" in message for message in caplog.messages] == [True, False]


def test_embedding_nothing_is_an_error():
    """Else an empty batch ends in a shape error deep inside the model."""
    model = tiny("llama")
    with pytest.raises(ValueError, match="no token list"):
        embed(model, [], 8)
    with pytest.raises(ValueError, match="Token list 0 is empty"):
        embed_padded(model, [[]], 8)


LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4,
            "long_factor": [4.0, 8.0, 16.0, 32.0], "original_max_position_embeddings": 16}


@pytest.mark.parametrize("model_type, overrides", [
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
               "max_position_embeddings": 16}),
    ("phi3", {"rope_parameters": LONGROPE, "max_position_embeddings": 128, "original_max_position_embeddings": 16}),
], ids=["dynamic", "longrope"])
def test_rotary_positions_that_depend_on_the_longest_text(model_type, overrides):
    """If this fails, training allows texts beside which all others of a packed row have other vectors than alone."""
    short, long = [[5, 6, 7, 20, 2], [5, 6, 7, *range(30, 40), 2]], [*range(3, 80), 2]
    model = tiny(model_type, **overrides)
    assert same_alone(model.config) == 16 and same_alone(tiny(model_type).config) == math.inf
    with torch.no_grad():
        alone, beside = separately(model, short), embed(model, [*short, long], 1000)[:2]
        torch.testing.assert_close(embed(model, short, 1000), alone, rtol=0, atol=1e-5)
    assert (beside - alone).abs().max() > 1e-4
