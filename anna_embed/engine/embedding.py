"""Embeddings of token lists: plan rows, run the stock model on each, put the vectors into the caller's order."""

from contextlib import nullcontext
from typing import Sequence

import torch
from accelerate.utils import extract_model_from_parallel
from transformers.utils import logging

from .attention import IMPLEMENTATION
from .last_layer import on_pooled_tokens
from .masks import DENSE, can_pack
from .packing import Row, plan_rows
from .padding import PaddedRows, plan_padded
from .pooling import normalize


logger = logging.get_logger(__name__)


def plan(token_lists: Sequence[Sequence[int]], budget: float, config) -> list[Row] | list[PaddedRows]:
    """
    Plan the rows that suit a model: packed ones, or padded ones (and that is said once) if it cannot be packed.

    Args:
        token_lists (`Sequence[Sequence[int]]`): whole texts (prompt, text and EOS, tokenised together).
        budget (`float`): the most tokens in a row, or cells in a padded batch.
        config ([`~transformers.PreTrainedConfig`]): the config of the loaded model.

    Returns:
        `list[Row]` or `list[PaddedRows]`: what [`embed_row`] takes one by one.

    Raises:
        `ValueError`: if there is no token list, one of them is empty, or the budget is below 1.
    """
    packs, reason = can_pack(config)
    if packs:
        return plan_rows(token_lists, budget)
    logger.warning_once(f"This model is padded, which is slower, as it cannot be packed: {reason}.")
    return plan_padded(token_lists, budget)


def embed_row(model: torch.nn.Module, row: Row | PaddedRows) -> torch.Tensor:
    """
    Embed the texts of one row.

    Args:
        model (`torch.nn.Module`): an `AutoModel` backbone, plain, with a PEFT adapter, and wrapped for DDP or FSDP or
            not.
        row ([`Row`] or [`PaddedRows`]): `m` texts.

    Returns:
        `torch.Tensor` of shape `(m, d)`, float32, each of length one, on the model's device, in the order of
        `row.texts`.
    """
    return normalize(pool_row(model, row))


def pool_row(model: torch.nn.Module, row: Row | PaddedRows, states=None) -> torch.Tensor:
    """
    The last hidden state of the last token of each text of one row.

    Args:
        model, row: as for [`embed_row`].
        states ([`~transformers.Cache`], *optional*): of the prefix that the row goes on from.

    Returns:
        `torch.Tensor` of shape `(m, d)`, in the dtype and on the device of the model, in the order of `row.texts`.
    """
    backbone = extract_model_from_parallel(model, keep_torch_compile=False)  # wrappers hide the config
    packs_blocks = isinstance(row, Row) and backbone.config.model_type not in DENSE
    if packs_blocks and backbone.config._attn_implementation == "sdpa":
        backbone.set_attn_implementation(IMPLEMENTATION)  # for good: without blocks it is SDPA as before
    kind = backbone.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else backbone.dtype
    inputs = row.inputs(backbone.config, dtype, backbone.device)
    if states is not None:
        inputs["past_key_values"] = states
    with on_pooled_tokens(backbone, row.last) if isinstance(row, Row) else nullcontext():
        return row.pool(model(**inputs, use_cache=False).last_hidden_state)


def in_caller_order(vectors: Sequence[torch.Tensor], rows: Sequence[Row] | Sequence[PaddedRows]) -> torch.Tensor:
    """
    Put the vectors of all rows of a plan into the order of the token lists it was made from.

    Args:
        vectors (`Sequence[torch.Tensor]`): for each row, `(m, d)` vectors in the order of its `texts`.
        rows (`Sequence[Row]` or `Sequence[PaddedRows]`): all rows of the plan.

    Returns:
        `torch.Tensor` of shape `(n, d)`.
    """
    vectors = torch.cat(list(vectors))
    return vectors[torch.cat([row.texts for row in rows]).argsort().to(vectors.device)]


def embed(model: torch.nn.Module, token_lists: Sequence[Sequence[int]], budget: float) -> torch.Tensor:
    """
    Embed token lists, each distinct token once; whether with gradients, dropout or autocast is the caller's choice.

    Args:
        model (`torch.nn.Module`): as for [`embed_row`].
        token_lists (`Sequence[Sequence[int]]`): whole texts (prompt, text and EOS, tokenised together).
        budget (`float`): the most tokens in a row. 1,000 to 2,000 is good with SDPA, whose mask grows with the square.

    Returns:
        `torch.Tensor` of shape `(n, d)`, float32, each of length one, in the order of `token_lists`.

    Raises:
        `ValueError`: if there is no token list, one of them is empty, or the budget is below 1.
    """
    rows = plan(token_lists, budget, extract_model_from_parallel(model, keep_torch_compile=False).config)
    return in_caller_order([embed_row(model, row) for row in rows], rows)
