"""The fallback for models that cannot be packed: batches of similar length, padded on the right."""

from dataclasses import dataclass
from typing import Sequence

import numpy as np
import torch

from .pooling import last_token_pool
from .prefixes import as_arrays


@dataclass(frozen=True, eq=False)
class PaddedRows:
    """
    One padded batch of `b` distinct token lists that holds `m` texts; used like a [`~anna_embed.engine.Row`].

    Attributes:
        input_ids (`torch.Tensor` of shape `(b, n)`, int64):
            The token lists, longest first, filled up on the right.
        attention_mask (`torch.Tensor` of shape `(b, n)`, int64):
            1 for tokens, 0 for padding.
        last (`torch.Tensor` of shape `(m,)`, int64):
            In which line of the batch each text stands.
        texts (`torch.Tensor` of shape `(m,)`, int64):
            Which of the caller's token lists those are. Repeated lists are each listed, with the same `last`.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    last: torch.Tensor
    texts: torch.Tensor

    @property
    def size(self) -> int:
        """Tokens that the model runs through, padding included."""
        return self.input_ids.numel()

    def inputs(self, config, dtype: torch.dtype, device: torch.device) -> dict:
        """What the model is called with."""
        return {"input_ids": self.input_ids.to(device), "attention_mask": self.attention_mask.to(device)}

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """Take the state of each text's last token: `(b, n, d)` to `(m, d)`, in the order of `texts`."""
        return last_token_pool(hidden, self.attention_mask.to(hidden.device))[self.last.to(hidden.device)]


def plan_padded(token_lists: Sequence[Sequence[int]], budget: float) -> list[PaddedRows]:
    """
    Sort token lists by length and pad neighbours to the longest of them; repeated lists are encoded once.

    Args:
        token_lists (`Sequence[Sequence[int]]`):
            Whole texts (prompt, text and EOS, tokenised together).
        budget (`float`):
            The most cells (lists times the longest) in a batch. A list that is longer gets a batch of its own.

    Returns:
        `list[PaddedRows]`: the batches; each of the token lists is in exactly one.

    Raises:
        `ValueError`: if there is no token list, one of them is empty, or the budget is below 1.
    """
    if not budget >= 1:
        raise ValueError(f"The budget ({budget}) must be at least one token.")
    lists = as_arrays(token_lists)
    numbers = {}
    for number, tokens in enumerate(lists):
        numbers.setdefault(tokens.tobytes(), []).append(number)
    # Longest first: what does not fit into memory says so at once. The tokens decide between equal lengths, so that
    # the caller's order does not.
    groups = [[]]
    for key in sorted(numbers, key=lambda key: (-len(key), key)):
        if groups[-1] and (len(groups[-1]) + 1) * len(lists[groups[-1][0][0]]) > budget:
            groups.append([])
        groups[-1].append(numbers[key])
    return [_pad([lists[repeats[0]] for repeats in group], group) for group in groups]


def _pad(lists: list[np.ndarray], numbers: list[list[int]]) -> PaddedRows:
    """Fill up distinct lists to the first one's length; `numbers` holds the caller's numbers of each."""
    input_ids = np.zeros((len(lists), len(lists[0])), dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for line, tokens in enumerate(lists):
        input_ids[line, : len(tokens)] = tokens
        attention_mask[line, : len(tokens)] = 1
    return PaddedRows(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        last=torch.tensor([line for line, repeats in enumerate(numbers) for _ in repeats]),
        texts=torch.tensor([number for repeats in numbers for number in repeats]),
    )
