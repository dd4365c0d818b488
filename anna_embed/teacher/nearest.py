"""The k nearest passages of each query: exact, in blocks with a running merge, never a queries x passages matrix."""

from pathlib import Path

import numpy as np
import torch

from anna_embed.precision import bfloat16_speedup
from anna_embed.teacher.running import best_of, index_in, score_in
from anna_embed.teacher.shards import Processes
from anna_embed.writer import put

QUERY_BLOCK, PASSAGE_BLOCK = 1024, 16384  # at most; a block's scores are then 64 MB
SLACK = 16  # passages found beyond k: their order in the blocks is right but for the last bits
WORTH_IT = 1.4  # times as fast as float32 must bfloat16 be, as it finds half as many passages again
SHARD = 4096  # queries searched for at a time, each passage being read once: what a kill may cost


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
            put(partial, paths[number])
    return np.concatenate([np.load(path) for path in paths])


def top_k(queries: np.ndarray, passages, k: int, memory_gb: float = 4.0,
          device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
    """The k passages nearest to each query by dot product.

    The last bits of a matrix product depend on the shape of its blocks, so some more than k are taken and scored
    again by `similarity`. A query for which these are not proven to hold the k nearest, by a bound of the product's
    error, is searched for again, and twice as many are taken: the result is the same for any blocks, device and
    number of processes. The first products are of bfloat16 where a CPU is faster at it.

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
    k, dim = min(k, len(passages)), queries.shape[1]
    places, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    dtype, found = torch.float32, k + SLACK
    if device == "cpu" and bfloat16_speedup(dim) > WORTH_IT:
        dtype, found = torch.bfloat16, k + k // 2 + SLACK
    rest = np.arange(len(queries) if k else 0)
    while len(rest):
        unsure = []
        for some in np.split(rest, range(step := _at_once(found, memory_gb), len(rest), step)):
            index, limit = _find(queries[some], passages, found, memory_gb, device, dtype)
            places[some], scores[some] = _exactly(queries[some], passages, index, k, memory_gb)
            unsure.append(some[scores[some, -1] <= limit])
        rest, dtype, found = np.concatenate(unsure), torch.float32, 2 * found
    return places, scores


def _find(queries, passages, found, memory_gb, device, dtype):
    """Candidates by products of a type, and what no other passage's exact product exceeds.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: indices (int64) of shape (q, min(found, n)), and a float32 of shape (q,); all
        passages are candidates where it is minus infinity.
    """
    found = min(found, len(passages))
    query_block, passage_block = block_sizes(memory_gb, queries.shape[1])
    asked = [_tensor(queries[first: first + query_block], device) for first in range(0, len(queries), query_block)]
    longest, lost = [0.0], [0.0]  # of the passages: norms, and those of what rounding takes from them

    def blocks():
        for first in range(0, len(passages), passage_block):
            block = _tensor(passages[first: first + passage_block], device)
            rounded = block.to(dtype)
            longest.append(block.norm(dim=1).max().item())
            lost.append((block - rounded).norm(dim=1).max().item())
            del block
            yield rounded

    keys = best_of([some.to(dtype) for some in asked], blocks(), min(passage_block, len(passages)), found)
    limit = np.full(len(queries), -np.inf, np.float32)
    if found < len(passages):
        some, worst = torch.cat(asked), score_in(keys[:, -1])
        error = _error(some.norm(dim=1), (some - some.to(dtype)).norm(dim=1), max(longest), max(lost), some.shape[1],
                       worst, dtype)
        limit = (worst + error).cpu().numpy()
    return index_in(keys).cpu().numpy(), limit


def _error(norms, taken, longest, lost, dim, worst, dtype):
    """How far a product of vectors rounded to a type, itself rounded to it, may be from the exact one.

    Cauchy-Schwarz for what rounding took from either vector, `dim` roundings of float32 in the sum (and in the exact
    product's), and the type's last bit of the result.
    """
    products = (norms + taken) * (longest + lost)
    rounding = taken * longest + (norms + taken) * lost + torch.finfo(dtype).eps * worst.abs()
    return rounding + 2 * (dim + 1) * 2.0**-24 * products + 1e-30


def similarity(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Dot products row by row, float32; a row's bits depend on that row alone.

    Args:
        queries, passages (`np.ndarray`): (n, dim) each, or shapes that broadcast to (..., dim).
    """
    return (queries.astype(np.float32, copy=False) * passages.astype(np.float32, copy=False)).sum(-1)


def block_sizes(memory_gb: float, dim: int) -> tuple[int, int]:
    """Queries and passages per block.

    Of a block there are its float32 scores, their group maxima and, if very many tie, the keys of all of them: about
    40 bytes a score at worst; and the passages themselves as float16, twice as float32, and as bfloat16.
    """
    passages = int(min(PASSAGE_BLOCK, max(1, memory_gb * 1e9 / 4 // (12 * dim))))
    return int(min(QUERY_BLOCK, max(1, memory_gb * 1e9 / 2 // (40 * passages)))), passages


def _at_once(found: int, memory_gb: float) -> int:
    """Queries for which so many candidates may be held at a time: keys, their merger and their order."""
    return int(max(1, memory_gb * 1e9 / 8 // (40 * found)))


def _tensor(array, device):
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).float()


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
