"""A packed row as blocks of queries, each with the few keys it sees: what attention costs then grows with the length
of the texts, not with the square of the row's.

In depth-first order, what a block of neighbouring tokens sees outside of itself are the ancestors of its first token
alone: an ancestor of a later one that stands before the block still has descendants where the block starts.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np
import torch


SIZE = 64  # queries in a block; 32 and 128 were slower on a CPU with texts of 56 tokens
STEP = 16  # numbers of keys are multiples of this, as matrix units and the alignment of masks want
# What a block and a group cost beside their keys, in keys of a block: 20 to 100 and 30 to 100 are level, groups of
# 170 are some 10 % slower (attention of SmolLM2-135M).
BLOCK_COST, GROUP_COST = 40, 60
FEW = 64  # a group also costs this part of all keys: long texts would have many, and a GPU kernels to start for each


@dataclass(frozen=True, eq=False)
class Group:
    """
    The blocks of a row that have about as many keys, to be computed in one batched product.

    Attributes:
        queries (`torch.Tensor` of shape `(b * SIZE,)`, int64):
            Indices in the row; where a block is cut short, the index of its last token.
        keys (`torch.Tensor` of shape `(b * k,)`, int64):
            Indices in the row; filled up with 0, which the mask hides.
        seen (`torch.Tensor` of shape `(b, SIZE, k)`, bool):
            Whether a query sees a key.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    seen: torch.Tensor

    def to(self, device: torch.device) -> "Group":
        """The same on a device."""
        return Group(self.queries.to(device), self.keys.to(device), self.seen.to(device))

    def split(self, most: int) -> list["Group"]:
        """Parts of at most so many keys, or of one block: views of this one."""
        width = self.seen.shape[2]
        size = max(1, most // width)
        parts = self.queries.split(size * SIZE), self.keys.split(size * width), self.seen.split(size)
        return [Group(*part) for part in zip(*parts)]


@dataclass(frozen=True, eq=False)
class Blocks:
    """
    All blocks of a row.

    Attributes:
        groups (`list[Group]`):
            Blocks of about equally many keys.
        places (`torch.Tensor` of shape `(n,)`, int64):
            Where each token of the row stands among the queries of all groups, one group after the other.
    """

    groups: list[Group]
    places: torch.Tensor

    def to(self, device: torch.device) -> "Blocks":
        """The same on a device."""
        return Blocks([group.to(device) for group in self.groups], self.places.to(device))


def blocks_of(exits: torch.Tensor) -> Blocks:
    """
    Cut a packed row into blocks.

    Args:
        exits (`torch.Tensor` of shape `(n,)`, int64): as in [`~anna_embed.engine.Row`].

    Returns:
        `Blocks`: every token is a query once; its keys are its ancestors and itself.
    """
    exits = exits.numpy()
    starts = _starts(exits)
    keys = [_keys(exits, start, end) for start, end in pairwise([*starts, len(exits)])]
    widths = np.array([len(seen) + -len(seen) % STEP for seen in keys])
    groups, order = [], []
    for members, width in _alike(widths):
        groups.append(_group(exits, [starts[block] for block in members], [keys[block] for block in members], width))
        order += members
    first = np.empty(len(starts), dtype=np.int64)  # where a block's queries begin among those of all groups
    first[order] = np.arange(len(order)) * SIZE
    sizes = np.diff([*starts, len(exits)])
    places = np.repeat(first - starts, sizes) + np.arange(len(exits))
    return Blocks(groups, torch.from_numpy(places))


def _starts(exits: np.ndarray) -> list[int]:
    """
    Where the blocks begin so that they compute the fewest scores, which is a shortest path.

    A block that runs over the start of a text sees the texts on both sides. So a block may end there, and the next is
    filled with that text alone. Texts of less than half a block are left out: there are many, and little is won.
    """
    indices = np.arange(len(exits))
    depth = indices - np.searchsorted(np.sort(exits), indices, side="right")  # ancestors of each token
    branches = np.append(np.flatnonzero(np.diff(depth, prepend=-1) != 1), len(exits))
    texts = [*branches[:-1][np.diff(branches) >= SIZE // 2].tolist(), len(exits)]
    cost, before, open_ends = {0: 0}, {}, [0]
    while (start := heappop(open_ends)) < len(exits):
        furthest = min(start + SIZE, len(exits))
        for end in {furthest, *texts[bisect_right(texts, start): bisect_right(texts, furthest)]}:
            keys = int(depth[start]) + end - start
            total = cost[start] + keys + -keys % STEP + BLOCK_COST
            if total < cost.get(end, math.inf):
                if end not in cost:
                    heappush(open_ends, end)
                cost[end], before[end] = total, start
    starts, end = [], len(exits)
    while end:
        end = before[end]
        starts.append(end)
    return starts[::-1]


def _keys(exits: np.ndarray, start: int, end: int) -> np.ndarray:
    """What a block can see: the ancestors of its first token, and itself."""
    return np.concatenate([np.flatnonzero(exits[:start] > start), np.arange(start, end)])


def _alike(widths: np.ndarray) -> list[tuple[list[int], int]]:
    """Blocks that are computed together, filled up to the widest of them, and that width: as cheap as possible, as
    fewer groups mean more filling, and less filling means more groups."""
    distinct, counts = np.unique(widths, return_counts=True)
    group_cost = GROUP_COST + int(widths.sum()) // FEW
    best = [(0, 0)]  # for so many of the smallest widths: the cost, and how many of them the last group leaves out
    for end in range(1, len(distinct) + 1):
        best.append(min((best[first][0] + int(counts[first:end].sum() * distinct[end - 1]) + group_cost, first)
                        for first in range(end)))
    groups, end = [], len(distinct)
    while end:
        first = best[end][1]
        members = np.flatnonzero((widths >= distinct[first]) & (widths <= distinct[end - 1]))
        groups.append((members.tolist(), int(distinct[end - 1])))
        end = first
    return groups[::-1]


def _group(exits: np.ndarray, starts: list[int], keys: list[np.ndarray], width: int) -> Group:
    """Blocks of one width side by side."""
    filled, real = np.zeros((len(keys), width), dtype=np.int64), np.zeros((len(keys), width), dtype=bool)
    for line, seen in enumerate(keys):
        filled[line, : len(seen)] = seen
        real[line, : len(seen)] = True
    # A block that is cut short is filled up with its last token.
    ends = np.array([seen[-1] for seen in keys])
    queries = np.minimum(np.add.outer(starts, np.arange(SIZE)), ends[:, None])
    before = filled[:, None, :] <= queries[:, :, None]
    seen = real[:, None, :] & before & (queries[:, :, None] < exits[filled][:, None, :])
    return Group(torch.from_numpy(queries.ravel()), torch.from_numpy(filled.ravel()), torch.from_numpy(seen))
