"""Reciprocal rank fusion (Cormack et al. 2009; section 4.1 of the report)."""

import numpy as np


def ranks(scores: np.ndarray, ids: list[str], lists: np.ndarray | None = None) -> np.ndarray:
    """Ranks from 1 (the highest score) within each list, ties by candidate id; shape (n,).

    Args:
        scores (`np.ndarray`): (n,).
        ids (`list[str]`): Of the candidates, or anything in the same order.
        lists (`np.ndarray`): (n,), ascending: which list each belongs to; None if all are of one.
    """
    lists = np.zeros(len(scores), np.int64) if lists is None else lists
    order = np.lexsort((np.asarray(ids), -np.asarray(scores, np.float64), lists))
    result = np.empty(len(order), np.int64)
    result[order] = np.arange(1, len(order) + 1)
    return result - np.searchsorted(lists, lists)  # lists before it


def rrf(score_lists: list[np.ndarray], ids: list[str], k: int = 60, lists: np.ndarray | None = None) -> np.ndarray:
    """`sum over scorers of 1 / (k + rank)`, every scorer ranking the whole union; float64 of shape (n,).

    Args:
        score_lists (`list[np.ndarray]`): One array of shape (n,) per scorer.
        ids (`list[str]`): The candidates' ids; they settle ties, so that the result does not depend on order.
        k (`int`): 60 in the paper and the report.
        lists (`np.ndarray`): As for `ranks`: the unions of many queries, one behind the other.
    """
    return np.sum([1.0 / (k + ranks(scores, ids, lists)) for scores in score_lists], axis=0)
