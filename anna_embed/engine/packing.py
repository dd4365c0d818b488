"""The packed layout: token lists that share prefixes become rows in which each distinct token stands once.

A causal decoder gives a prefix the same states whatever follows it. Sorted, token lists that share a prefix are
neighbours; written one after the other, each without what it shares with the one before, they are a tree in
depth-first order. A token's number in the row is its entry number, `exits` is the number after its last descendant,
and its depth is its position. One test then says who sees whom (`masks.attention_mask`).
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Sequence

import numpy as np
import torch

from .attention import IMPLEMENTATION
from .blocks import blocks_of
from .masks import attention_mask, block_mask
from .prefixes import sort_lists


# What starting one more row costs beside its tokens (weights are read again, kernels launched again), in tokens. It
# keeps the plan from breaking rows up to save a repeated prefix of a few tokens.
ROW_COST = 64


@dataclass(frozen=True, eq=False)
class Row:
    """
    One packed row of `n` tokens that holds `m` texts.

    Attributes:
        input_ids (`torch.Tensor` of shape `(n,)`, int64):
            The tokens of the tree, depth first.
        position_ids (`torch.Tensor` of shape `(n,)`, int64):
            Depth in the tree: what the position would be if the text stood alone.
        exits (`torch.Tensor` of shape `(n,)`, int64):
            Index after the token's last descendant. Token `j` is `i` or an ancestor of `i` exactly if
            `j <= i < exits[j]`.
        last (`torch.Tensor` of shape `(m,)`, int64):
            Index in the row of each text's last token.
        texts (`torch.Tensor` of shape `(m,)`, int64):
            Which of the caller's token lists those are. Repeated lists are each listed, with the same `last`.
        start (`int`):
            Tokens of a prefix that all texts of the row go on from, and whose states it is given.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    exits: torch.Tensor
    last: torch.Tensor
    texts: torch.Tensor
    start: int = 0

    @property
    def size(self) -> int:
        """Tokens that the model runs through."""
        return len(self.input_ids)

    @property
    def key_positions(self) -> torch.Tensor:
        """The positions of the prefix and of the row."""
        return torch.cat([torch.arange(self.start), self.position_ids])

    def inputs(self, config, dtype: torch.dtype, device: torch.device) -> dict:
        """What the model is called with: a batch of one row, its positions and its explicit mask."""
        inputs = {"input_ids": self.input_ids[None].to(device), "position_ids": self.position_ids[None].to(device)}
        # The mask is never left out: without it transformers reads restarted positions as separate sequences.
        if config._attn_implementation != IMPLEMENTATION:
            return inputs | {"attention_mask": attention_mask(self, config, dtype, device)}
        blocks = blocks_of(self.exits)
        mask = block_mask(self, blocks, config, dtype, device)
        return inputs | {"attention_mask": mask, "blocks": blocks.to(device)}

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """Take the state of each text's last token: `(1, n, d)` to `(m, d)`, in the order of `texts`."""
        return hidden[0, self.last.to(hidden.device)]


def plan_rows(token_lists: Sequence[Sequence[int]], budget: float, align: int = 1, start: int = 0) -> list[Row]:
    """
    Pack token lists into rows that encode each distinct token once.

    The lists are sorted, so the rows do not depend on the caller's order (only `texts` does). Rows end where the
    fewest tokens must be repeated: a prefix of all lists stands once in each row, a prefix of some lists in as few
    rows as it can. Takes seconds for 100,000 lists of 500 tokens.

    Args:
        token_lists (`Sequence[Sequence[int]]`):
            Whole texts (prompt, text and EOS, tokenised together).
        budget (`float`):
            The most tokens in a row; `math.inf` for a single row. Beside a prefix that all of its lists share, a row
            may hold half of the budget, however long that prefix is; otherwise five few-shot examples that just fill
            the budget would be repeated for each query. A list that is longer than that gets a row of its own, shared
            only with its own prefixes and repetitions.
        align (`int`, *optional*, defaults to 1):
            Rows are filled up to a multiple of this many tokens, for kernels and compilers that want few shapes. A
            filling token sees itself only, and nothing sees it.
        start (`int`, *optional*, defaults to 0):
            The lists go on from a prefix of this many tokens whose states the rows will be given.

    Returns:
        `list[Row]`: the rows; each of the token lists is in exactly one.

    Raises:
        `ValueError`: if there is no token list, one of them is empty, or the budget or `align` is below 1.
    """
    if not budget >= 1 or align < 1:
        raise ValueError(f"The budget ({budget}) and align ({align}) must be at least one token.")
    order, lists, shared = sort_lists(token_lists)
    # A list that begins its right neighbour ends on the way to it: only the others, the leaves, take room. This also
    # keeps repeated lists in one row when they alone exceed the budget.
    leaves = [k for k in range(len(lists)) if k + 1 == len(lists) or shared[k + 1] < len(lists[k])]
    starts = [0] + [leaf + 1 for leaf in leaves[:-1]]
    lengths = [len(lists[leaf]) for leaf in leaves]
    cuts = _cut(lengths, [shared[start] for start in starts], budget, align)
    bounds = [starts[cut] for cut in cuts] + [len(lists)]
    return [_lay_out(lists[a:b], shared[a:b], order[a:b], align, start) for a, b in pairwise(bounds)]


def _cut(lengths: list[int], shared: list[int], budget: float, align: int) -> list[int]:
    """
    Choose the leaves at which rows start, so that the repeated tokens plus `ROW_COST` a row are fewest.

    Starting a row at leaf `j` encodes `shared[j]` tokens again. Dynamic programming over the end of the last row; the
    starts from which a row up to here still fits are a window that only moves forward (a row that grows shares no
    longer prefix), so a queue holds its best, and another the least of `shared` behind each start.
    """
    new = np.cumsum(np.subtract(lengths, shared)).tolist()  # tokens of one row with all leaves up to and with this one
    spent, came_from, best, least = [0], [], deque(), deque()
    for end, length in enumerate(lengths):
        price = spent[end] + shared[end] + ROW_COST
        while best and best[-1][1] > price:
            best.pop()
        # What the leaves from `end` on hold in one row is new[k] minus this offset.
        best.append((end, price, new[end] - length))
        while least and least[-1][1] >= shared[end]:
            least.pop()
        least.append((end, shared[end]))
        while best[0][0] < end:
            while least[0][0] <= best[0][0]:
                least.popleft()
            if -((best[0][2] - new[end]) // align) * align <= max(budget, least[0][1] + budget / 2):
                break
            best.popleft()
        came_from.append(best[0][0])
        spent.append(best[0][1])
    cuts = [came_from[-1]]
    while cuts[-1] > 0:
        cuts.append(came_from[cuts[-1] - 1])
    return cuts[::-1]


def _lay_out(lists: list[np.ndarray], shared: list[int], order: list[int], align: int, prefix: int) -> Row:
    """Write sorted lists into one row, each without what it shares with the one before it."""
    size = sum(map(len, lists)) - sum(shared[1:])
    size += -size % align
    # What stays as it is made here is filling: any token, at position 0, without descendants.
    input_ids, position_ids = np.full(size, lists[0][0], dtype=np.int64), np.zeros(size, dtype=np.int64)
    exits = np.arange(1, size + 1)
    last, end, depth = [], 0, 0
    path = np.empty(max(map(len, lists)), dtype=np.int64)  # row index of the current list's token at each depth
    for tokens, common in zip(lists, [0, *shared[1:]]):
        exits[path[common:depth]] = end  # the branch that is left here has had its last descendant
        depth, start = len(tokens), end
        end += depth - common
        path[common:depth] = np.arange(start, end)
        input_ids[start:end] = tokens[common:]
        position_ids[start:end] = np.arange(common, depth) + prefix
        last.append(path[depth - 1])
    exits[path[:depth]] = end
    return Row(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        exits=torch.from_numpy(exits),
        last=torch.tensor(last),
        texts=torch.tensor(order),
        start=prefix,
    )
