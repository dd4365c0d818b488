"""The best passages of each query as blocks of passages go by: what `nearest.top_k` finds its candidates with."""

from collections.abc import Iterable

import torch

GROUP = 32  # passages whose best score stands for them at first
LOWEST = torch.iinfo(torch.int64).min


def best_of(asked: list[torch.Tensor], blocks: Iterable[torch.Tensor], widest: int, found: int) -> torch.Tensor:
    """
    Keys of the best passages of each query by the scores that the blocks' products have, to their last bits.

    Args:
        asked (`list[torch.Tensor]`): blocks of queries, (q, dim) each, the first the longest.
        blocks (`Iterable[torch.Tensor]`): of passages, (n, dim) each, of the queries' type and device.
        widest (`int`): passages in the longest of them.
        found (`int`): how many are wanted; no more than there are passages.

    Returns:
        `torch.Tensor`: (all queries, found) int64, descending: `index_in` and `score_in` read them.
    """
    device, first = asked[0].device, 0
    best = [torch.full((len(some), found), LOWEST, device=device) for some in asked]
    room = asked[0].new_empty(len(asked[0]) * (widest + GROUP))  # new memory each time would cost more
    for block in blocks:
        for n, some in enumerate(asked):
            best[n] = _merge(best[n], _scores(some, block, room, found), first, len(block))
        first += len(block)
    return torch.cat(best)


def index_in(keys: torch.Tensor) -> torch.Tensor:
    """The passages in keys, int64."""
    return 0xFFFFFFFF - (keys & 0xFFFFFFFF)


def score_in(keys: torch.Tensor) -> torch.Tensor:
    """The scores in keys, float32; minus infinity for the lowest, which no passage has."""
    ascending = (keys >> 32).int()
    scores = (ascending ^ ((ascending >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return torch.where(keys == LOWEST, -torch.inf, scores)


def _scores(queries, passages, room, found):
    """Dot products in groups of passages, (groups, group, q); minus infinity fills the last group up.

    Queries stand last: maxima of groups are then seven times as fast in bfloat16 on a CPU.
    """
    width = len(passages)
    group = 1 << (max(1, min(GROUP, width // (4 * found))).bit_length() - 1)
    scores = room[: len(queries) * (width + -width % group)].view(-1, len(queries))
    torch.mm(passages, queries.T, out=scores[:width])
    scores[width:] = -torch.inf
    return scores.unflatten(0, (-1, group))


def _merge(best, scores, first, width):
    """The running best of some queries, with a block's scores merged in.

    Score and index share one int64 key, larger for a higher score and then for a lower index, so a key has no tie.

    Args:
        best (`torch.Tensor`): (q, found) keys, descending.
        scores (`torch.Tensor`): (groups, group, q).
        first (`int`): Index of the block's first passage.
        width (`int`): Passages of the block.
    """
    rows, columns, values = _promising(scores, best)
    real = columns < width
    rows, keys = rows[real], _keys(values[real], first + columns[real])
    count = torch.bincount(rows, minlength=len(best))
    place = torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]  # rows ascend
    new = best.new_full((len(best), int(count.max())), LOWEST)
    new[rows, place] = keys
    return torch.cat([best, new], 1).topk(best.shape[1], 1).values


def _promising(scores, best):
    """Rows, columns and values of all scores that may enter the best: few, once the best are good.

    As many groups as are wanted have a score of at least the weakest of their maxima; so nothing below it enters.
    """
    found, maxima, limit = best.shape[1], scores.amax(1).T.contiguous().float(), score_in(best[:, -1:])
    if maxima.shape[1] >= found:
        limit = torch.maximum(limit, maxima.topk(found, 1).values[:, -1:])
    rows, groups = (maxima >= limit).nonzero(as_tuple=True)
    some = scores[groups, :, rows].float()
    which, inner = (some >= limit[rows]).nonzero(as_tuple=True)
    return rows[which], groups[which] * scores.shape[1] + inner, some[which, inner]


def _keys(scores, index):
    bits = (scores + 0.0).view(torch.int32)  # adding zero makes one zero of the two
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ascending.long() << 32) + (0xFFFFFFFF - index)
