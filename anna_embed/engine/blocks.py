"""A packed row as blocks of queries, each with the few keys it sees: what attention costs then grows with the length
of the texts, not with the square of the row's.

In depth-first order, what a block of neighbouring tokens sees outside of itself are the ancestors of its first token
alone: an ancestor of a later one that stands before the block still has descendants where the block starts.
"""

from dataclasses import dataclass

import numpy as np
import torch


SIZE = 64  # queries in a block; 32 and 128 were slower on a CPU with texts of 56 tokens
STEP = 16  # numbers of keys are multiples of this, as matrix units and the alignment of masks want


@dataclass(frozen=True, eq=False)
class Group:
    """
    The blocks of a row that have about as many keys, to be computed in one batched product.

    Attributes:
        queries (`torch.Tensor` of shape `(b * SIZE,)`, int64):
            Indices in the row; where the row ends within a block, the index of the row's last token.
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
    starts = range(0, len(exits), SIZE)
    keys = [_keys(exits, start) for start in starts]
    by_width = {}
    for block, seen in enumerate(keys):
        by_width.setdefault(_width(len(seen), max(map(len, keys))), []).append(block)
    groups, order = [], []
    for width, members in sorted(by_width.items()):
        groups.append(_group(exits, [starts[block] for block in members], [keys[block] for block in members], width))
        order += members
    places = np.empty((len(keys), SIZE), dtype=np.int64)
    places[order] = np.arange(places.size).reshape(places.shape)
    return Blocks(groups, torch.from_numpy(places.ravel()[: len(exits)]))


def _keys(exits: np.ndarray, start: int) -> np.ndarray:
    """What the block at `start` can see: the ancestors of its first token, and itself."""
    ancestors = np.flatnonzero(exits[:start] > start)
    return np.concatenate([ancestors, np.arange(start, min(start + SIZE, len(exits)))])


def _width(length: int, longest: int) -> int:
    """Keys in a batched product: powers of two, so that there are few groups and at most half of the work is idle."""
    width = min(max(SIZE, 1 << (length - 1).bit_length()), longest)
    return width + -width % STEP


def _group(exits: np.ndarray, starts: list[int], keys: list[np.ndarray], width: int) -> Group:
    """Blocks of one width side by side."""
    filled, real = np.zeros((len(keys), width), dtype=np.int64), np.zeros((len(keys), width), dtype=bool)
    for line, seen in enumerate(keys):
        filled[line, : len(seen)] = seen
        real[line, : len(seen)] = True
    queries = np.minimum(np.add.outer(starts, np.arange(SIZE)), len(exits) - 1)
    before = filled[:, None, :] <= queries[:, :, None]
    seen = real[:, None, :] & before & (queries[:, :, None] < exits[filled][:, None, :])
    return Group(torch.from_numpy(queries.ravel()), torch.from_numpy(filled.ravel()), torch.from_numpy(seen))
