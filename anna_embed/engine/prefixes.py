"""Token lists in order, and the prefixes they share with their neighbours."""

from array import array
from itertools import pairwise
from typing import NamedTuple, Sequence

import numpy as np


class Sharing(NamedTuple):
    """How many tokens some lists hold, and how many are left when each distinct one is kept once."""

    tokens: int
    distinct: int


def count(token_lists: Sequence[Sequence[int]]) -> Sharing:
    """
    Count what sharing saves at best, in one row without a budget.

    Args:
        token_lists (`Sequence[Sequence[int]]`): whole texts (prompt, text and EOS, tokenised together).

    Returns:
        `Sharing`: the tokens of all lists, and the distinct tokens (nodes of the prefix tree) among them.

    Raises:
        `ValueError`: if there is no token list, or one of them is empty.
    """
    _, lists, shared = sort_lists(token_lists)
    tokens = sum(map(len, lists))
    return Sharing(tokens, tokens - sum(shared))


def sort_lists(token_lists: Sequence[Sequence[int]]) -> tuple[list[int], list[np.ndarray], list[int]]:
    """
    Sort token lists as dictionaries sort words.

    Args:
        token_lists (`Sequence[Sequence[int]]`): token ids, none negative.

    Returns:
        The caller's number of each list, the lists, and how many tokens each shares with its left neighbour (the first
        with none). Repeated lists keep the caller's order.

    Raises:
        `ValueError`: if there is no token list, or one of them is empty.
    """
    lists = as_arrays(token_lists)
    keys = [tokens.tobytes() for tokens in lists]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    lists = [lists[number] for number in order]
    return order, lists, [0] + [common(left, right) for left, right in pairwise(lists)]


def as_arrays(token_lists: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """
    Turn token lists into arrays whose bytes sort and hash as the lists do, which is a memcmp instead of a Python loop.

    Args:
        token_lists (`Sequence[Sequence[int]]`): token ids, none negative.

    Returns:
        `list[np.ndarray]`: big-endian uint32, in the caller's order.

    Raises:
        `ValueError`: if there is no token list, or one of them is empty.
    """
    if len(token_lists) == 0:
        raise ValueError("There is no token list to encode.")
    for number, tokens in enumerate(token_lists):
        if len(tokens) == 0:
            raise ValueError(f"Token list {number} is empty: a text needs at least one token, its EOS.")
    return [_as_array(tokens) for tokens in token_lists]


def _as_array(tokens: Sequence[int]) -> np.ndarray:
    # A list by way of an array, as numpy takes three times as long to read a list of ints.
    return (tokens if isinstance(tokens, np.ndarray) else np.array(array("I", tokens))).astype(">u4")


def common(left: np.ndarray, right: np.ndarray) -> int:
    """Length of the longest common prefix of two arrays."""
    length = min(len(left), len(right))
    if length == 0:
        return 0
    differs = left[:length] != right[:length]
    first = int(differs.argmax())
    return first if differs[first] else length
