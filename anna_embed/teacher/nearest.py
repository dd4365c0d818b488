"""The k nearest passages of each query: exact, in blocks with a running merge, never a queries x passages matrix."""

from pathlib import Path

import numpy as np
import torch

from anna_embed.teacher.shards import Processes

QUERY_BLOCK, PASSAGE_BLOCK = 1024, 16384  # at most; a block's scores are then 64 MB
GROUP = 32  # passages whose best score stands for them at first
SLACK = 16  # passages found beyond k: their order in the blocks is right but for the last bits
SHARD = 4096  # queries searched for at a time, each passage being read once: what a kill may cost
LOWEST = torch.iinfo(torch.int64).min


def search(queries, passages, k: int, memory_gb: float, folder: Path, processes: Processes,
           description: str = "Searching") -> np.ndarray:
    """`top_k`, shard by shard of the queries, every process its part; int32 indices of shape (q, min(k, n)).

    Args:
        queries, passages (`np.ndarray` or `Vectors`): (q, dim) and (n, dim).
        k (`int`), memory_gb (`float`): As for `top_k`.
        folder (`Path`): Where the shards are kept until the stage has ended.
        processes (`Processes`): Share the work.
        description (`str`): Stands in front of the bar.
    """
    starts = range(0, len(queries), SHARD)
    paths = [folder / f"{number:05d}.npy" for number in range(len(starts))]
    folder.mkdir(parents=True, exist_ok=True)
    with processes.together():
        sizes = [min(SHARD, len(queries) - first) for first in starts]
        for number in processes.share(paths, sizes, description, "query"):
            some = queries[starts[number]: starts[number] + SHARD]
            found, _ = top_k(some, passages, k, memory_gb, str(processes.state.device))
            partial = paths[number].with_suffix(".tmp.npy")
            np.save(partial, found.astype(np.int32))
            partial.rename(paths[number])
    return np.concatenate([np.load(path) for path in paths])


def top_k(queries: np.ndarray, passages, k: int, memory_gb: float = 4.0,
          device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
    """The k passages nearest to each query by dot product.

    The last bits of a matrix product depend on the shape of its blocks, so a few more than k are taken and scored
    again by `similarity`: the result is the same for any blocks, device and number of processes.

    Args:
        queries (`np.ndarray`): (q, dim).
        passages (`np.ndarray` or `Vectors`): (n, dim); read in blocks, each once.
        k (`int`): At most n are returned.
        memory_gb (`float`): What the blocks may take, the arrays given and returned not counted.
        device (`str`): Where blocks are multiplied.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: indices (int64) and scores (float32), each (q, min(k, n)), best first, ties by
        index.
    """
    k, found = min(k, len(passages)), min(k + SLACK, len(passages))
    if not len(queries) or not k:
        return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    query_block, passage_block = block_sizes(memory_gb, queries.shape[1])
    asked = [_tensor(queries[first: first + query_block], device) for first in range(0, len(queries), query_block)]
    best = [torch.full((len(block), found), LOWEST, device=device) for block in asked]
    room = torch.empty(query_block * (passage_block + GROUP), device=device)  # new memory each time would cost more
    for first in range(0, len(passages), passage_block):
        block = _tensor(passages[first: first + passage_block], device)
        for n, some in enumerate(asked):
            best[n] = _merge(best[n], _scores(some, block, room, found), first, len(block))
    index = np.concatenate([(0xFFFFFFFF - (b & 0xFFFFFFFF)).cpu().numpy() for b in best])
    return _exactly(queries, passages, index, k, memory_gb)


def similarity(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Dot products row by row, float32; a row's bits depend on that row alone.

    Args:
        queries, passages (`np.ndarray`): (n, dim) each, or shapes that broadcast to (..., dim).
    """
    return (queries.astype(np.float32, copy=False) * passages.astype(np.float32, copy=False)).sum(-1)


def block_sizes(memory_gb: float, dim: int) -> tuple[int, int]:
    """Queries and passages per block.

    Of a block there are its float32 scores, their group maxima and, if very many tie, the keys of all of them: about
    40 bytes a score at worst; and the passages themselves as float16 and float32.
    """
    passages = int(min(PASSAGE_BLOCK, max(1, memory_gb * 1e9 / 4 // (6 * dim))))
    return int(min(QUERY_BLOCK, max(1, memory_gb * 1e9 / 2 // (40 * passages)))), passages


def _tensor(array, device):
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).float()


def _scores(queries, passages, room, found):
    """Dot products in groups of passages, (q, groups, group); minus infinity fills the last group up."""
    width = len(passages)
    group = 1 << (max(1, min(GROUP, width // (4 * found))).bit_length() - 1)
    scores = room[: len(queries) * (width + -width % group)].view(len(queries), -1)
    torch.mm(queries, passages.T, out=scores[:, :width])
    scores[:, width:] = -torch.inf
    return scores.unflatten(1, (-1, group))


def _merge(best, scores, first, width):
    """The running best of some queries, with a block's scores merged in.

    Score and index share one int64 key, larger for a higher score and then for a lower index, so a key has no tie.

    Args:
        best (`torch.Tensor`): (q, found) keys, descending.
        scores (`torch.Tensor`): (q, groups, group) float32.
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
    found, maxima, limit = best.shape[1], scores.amax(2), _score(best[:, -1:])
    if maxima.shape[1] >= found:
        limit = torch.maximum(limit, maxima.topk(found, 1).values[:, -1:])
    rows, groups = (maxima >= limit).nonzero(as_tuple=True)
    some = scores[rows, groups]
    which, inner = (some >= limit[rows]).nonzero(as_tuple=True)
    return rows[which], groups[which] * scores.shape[2] + inner, some[which, inner]


def _keys(scores, index):
    bits = (scores + 0.0).view(torch.int32)  # adding zero makes one zero of the two
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ascending.long() << 32) + (0xFFFFFFFF - index)


def _score(keys):
    """The score in a key; minus infinity for the lowest, which no passage has."""
    ascending = (keys >> 32).int()
    scores = (ascending ^ ((ascending >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return torch.where(keys == LOWEST, -torch.inf, scores)


def _exactly(queries, passages, index, k, memory_gb):
    """The k best of what was found, by their exact scores; a passage that many queries found is read once for all."""
    places, scores = np.empty((len(index), k), np.int64), np.empty((len(index), k), np.float32)
    step = int(min(256, max(1, memory_gb * 1e9 / 4 // (16 * index.shape[1] * queries.shape[1]))))
    for first in range(0, len(index), step):
        here = np.sort(index[first: first + step], 1)
        read, where = np.unique(here, return_inverse=True)
        read = passages[read].astype(np.float32)
        exact = np.stack([similarity(query, read[row]) for query, row in
                          zip(queries[first: first + step], where.reshape(here.shape))])
        order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
        places[first: first + step] = np.take_along_axis(here, order, 1)
        scores[first: first + step] = np.take_along_axis(exact, order, 1)
    return places, scores
