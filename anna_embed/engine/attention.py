"""Attention over the blocks of a packed row, registered with transformers as the attention implementation `blocks`.

Calls without blocks (a padded batch, someone else's code) are transformers' own SDPA, so a model may keep it.
"""

import torch
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .blocks import SIZE


IMPLEMENTATION = "blocks"
# Scores that a core computes at once: these, their softmax and its gradient then stay in its caches. Those are 1,024
# keys of a block with the 9 heads of SmolLM2-135M; half as many are level, twice as many up to a quarter slower.
AT_ONCE = 9 * SIZE * 1024


def block_attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, blocks=None, **kwargs):
    """
    The attention function that the stock models call.

    Args:
        module (`torch.nn.Module`): the attention layer.
        query (`torch.Tensor` of shape `(1, h, n, d)`): queries of a packed row.
        key, value (`torch.Tensor` of shape `(1, g, p + n, d)`): keys and values, `h / g` queries' heads to each; the
            first are those of a prefix that the row goes on from.
        attention_mask (`torch.Tensor` of shape `(1, 1, 1, s)`): 0 or -inf for each query and key of each group of
            blocks, one after the other (`masks.block_mask`): of this layer, as layers may differ in their window.
        dropout (`float`): of the attention weights.
        scaling (`float`, *optional*): `d ** -0.5` by default.
        blocks ([`~anna_embed.engine.blocks.Blocks`], *optional*): the row's blocks; without them this is SDPA.

    Returns:
        `tuple[torch.Tensor, None]`: the output of shape `(1, n, h, d)`.
    """
    if blocks is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    sizes, flat = [group.seen.numel() for group in blocks.groups], attention_mask.flatten()
    masks = [mask.view_as(group.seen) for mask, group in zip(flat[: sum(sizes)].split(sizes), blocks.groups)]
    states = [state[0].transpose(0, 1) for state in (query, key, value)]
    prefix = key.shape[2] - query.shape[2]
    if prefix > 0:
        window = flat.split([sum(sizes), len(flat) - sum(sizes)])[1].view(-1, prefix)
        with torch.autocast(query.device.type, enabled=False):  # it would round the scores
            out = _behind_prefix(*states, blocks, masks, window, scaling)
    elif query.device.type == "cpu" and dropout == 0:
        out = BlockProducts.apply(*states, blocks, masks, scaling)
    else:
        out = _by_sdpa(*states, blocks, masks, scaling, dropout)
    return out[None], None


def _behind_prefix(query, key, value, blocks, masks, window, scaling):
    """As [`BlockProducts`], without gradients, behind a prefix: its keys, the first ones, are the same for all blocks
    and multiplied at once. `window` is the mask of the prefix, `(n, p)`, or empty."""
    prefix, (heads, size) = len(key) - len(query), key.shape[1:]
    first = [state[:prefix].transpose(0, 1) for state in (key, value)]
    outputs = []
    for group, mask in zip(blocks.groups, masks):
        count = len(mask)
        q = (query[group.queries].float() * scaling).view(count, SIZE, heads, -1, size).permute(2, 0, 3, 1, 4)
        k, v = (state[prefix:][group.keys].view(count, -1, heads, size).permute(2, 0, 1, 3) for state in (key, value))
        # Scores in float32, as in SDPA's kernels.
        rows, own = q.reshape(heads, -1, size).float(), [k.flatten(0, 1).float(), v.flatten(0, 1)]
        scores = rows.new_empty(*rows.shape[:2], prefix + mask.shape[2])
        torch.bmm(rows, first[0].float().mT, out=scores[:, :, :prefix])
        by_block = scores.view(heads, count, -1, SIZE, scores.shape[2])
        behind = torch.bmm(rows.view(heads * count, -1, size), own[0].mT)
        torch.add(behind.view(*by_block.shape[:4], -1), mask[:, None], out=by_block[..., prefix:])
        if len(window):
            by_block[..., :prefix] += window[group.queries].view(count, 1, SIZE, prefix)
        weights = torch.softmax(scores, 2).to(value.dtype)
        out = torch.bmm(weights[:, :, :prefix], first[1]).view(heads * count, -1, size)
        out = out.baddbmm_(weights.view(heads * count, -1, weights.shape[2])[:, :, prefix:], own[1])
        outputs.append(out.view(q.shape).permute(1, 3, 0, 2, 4).reshape(-1, *query.shape[1:]))
    return torch.cat(outputs)[blocks.places]


def _by_sdpa(query, key, value, blocks, masks, scaling, dropout):
    """`(n, heads, d)` states to the output `(n, h, d)` by SDPA's kernels, a group at a time."""
    outputs = []
    for group, mask in zip(blocks.groups, masks):
        count = len(group.seen)
        q = query[group.queries].unflatten(0, (count, SIZE)).transpose(1, 2)
        k, v = (Select.apply(state, group.keys).unflatten(0, (count, -1)).transpose(1, 2) for state in (key, value))
        k, v = (state.repeat_interleave(query.shape[1] // key.shape[1], 1) for state in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, mask[:, None], dropout_p=dropout, scale=scaling)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[blocks.places]


class Select(torch.autograd.Function):
    """`states[index]`, whose gradient is summed in float32: a prefix is a key of many blocks."""

    @staticmethod
    def forward(ctx, states, index):
        ctx.save_for_backward(index)
        ctx.shape, ctx.dtype = states.shape, states.dtype
        return states[index]

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved_tensors
        total = torch.zeros(ctx.shape, dtype=torch.float32, device=grad.device)
        return total.index_add_(0, index, grad.float()).to(ctx.dtype), None


class BlockProducts(torch.autograd.Function):
    """
    Attention by batched matrix products, five times as fast on a CPU as SDPA's kernel for blocks this small.

    The heads that share keys are stacked, so keys are never repeated; weights are computed again in the backward pass
    instead of kept; gradients of keys and values are summed in float32.
    """

    @staticmethod
    def forward(ctx, query, key, value, blocks, masks, scaling):
        ctx.save_for_backward(query, key, value)
        ctx.parts, ctx.places, ctx.scaling = _parts(blocks, masks, query.shape[1]), blocks.places, scaling
        outputs = []
        with torch.autocast(query.device.type, enabled=False):  # it would round the scores
            for group, mask in ctx.parts:
                q, k, v = _stacked(query, group.queries, key), _batched(key, group), _batched(value, group)
                outputs.append(_unstacked(torch.bmm(_weights(q, k, mask, scaling).to(v.dtype), v), query))
        return torch.cat(outputs)[blocks.places]

    @staticmethod
    def backward(ctx, grad):
        with torch.autocast(grad.device.type, enabled=False):  # the caller's, if `backward` is called within
            return BlockProducts._gradients(ctx, grad)

    @staticmethod
    def _gradients(ctx, grad):
        query, key, value = ctx.saved_tensors
        grads = [torch.zeros(state.shape, dtype=torch.float32, device=grad.device) for state in (key, value)]
        grad_query = []
        # A block's places that are filled up see the gradient 0: what they repeat must not count twice.
        sizes = [len(group.queries) for group, _ in ctx.parts]
        spread = grad.new_zeros(sum(sizes), *grad.shape[1:])
        spread[ctx.places] = grad
        for (group, mask), part in zip(ctx.parts, spread.split(sizes)):
            q, k, v = _stacked(query, group.queries, key), _batched(key, group), _batched(value, group)
            weights, part = _weights(q, k, mask, ctx.scaling), _stacked(part, None, key)
            grad_weights = torch.bmm(part, v.mT).float()
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype).mul_(ctx.scaling)
            grad_scores, weights = grad_scores.to(q.dtype), weights.to(v.dtype)
            grad_query.append(_unstacked(torch.bmm(grad_scores, k), query))
            for total, found in zip(grads, (torch.bmm(grad_scores.mT, q), torch.bmm(weights.mT, part))):
                found = found.unflatten(0, (len(group.seen), -1)).transpose(1, 2).flatten(0, 1)
                total.index_add_(0, group.keys, found.float())
        grad_query = torch.cat(grad_query)[ctx.places]
        return grad_query, grads[0].to(key.dtype), grads[1].to(value.dtype), None, None, None


def _parts(blocks, masks: list[torch.Tensor], heads: int) -> list[tuple]:
    """Groups and their masks in parts of at most `AT_ONCE` scores for each thread, or of one block."""
    most, parts = AT_ONCE * _threads() // (SIZE * heads), []
    for group, mask in zip(blocks.groups, masks, strict=True):
        some = group.split(most)
        parts += zip(some, mask.split([len(part.seen) for part in some]))
    return parts


@torch.compiler.assume_constant_result  # else a compiled model falls into parts here
def _threads() -> int:
    return torch.get_num_threads()


def _stacked(states: torch.Tensor, index: torch.Tensor | None, key: torch.Tensor) -> torch.Tensor:
    """States of queries, `(b * SIZE, h, d)`, to `(b * g, h / g * SIZE, d)`: heads that share keys together."""
    states = states if index is None else states[index]
    blocks = states.view(-1, SIZE, *states.shape[1:]).transpose(1, 2)
    return blocks.reshape(len(blocks) * key.shape[1], -1, states.shape[-1])


def _unstacked(stacked: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """The inverse of `_stacked`."""
    return stacked.view(-1, query.shape[1], SIZE, stacked.shape[-1]).transpose(1, 2).flatten(0, 1)


def _batched(states: torch.Tensor, group) -> torch.Tensor:
    """Keys or values, `(n, g, d)`, to `(b * g, k, d)`: for each block its own."""
    return states[group.keys].unflatten(0, (len(group.seen), -1)).transpose(1, 2).flatten(0, 1)


def _weights(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor, scaling: float) -> torch.Tensor:
    """The softmax over the keys of each block, `(b * g, h / g * SIZE, k)`, float32 as in SDPA's kernels."""
    scores = torch.bmm(q.float() * scaling, k.float().mT)
    # In place, over views: (blocks, heads, queries, keys) plus what is the same for all heads.
    scores.view(len(mask), -1, *mask.shape[1:]).add_(mask[:, None])
    return torch.softmax(scores, -1)


AttentionInterface.register(IMPLEMENTATION, block_attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
