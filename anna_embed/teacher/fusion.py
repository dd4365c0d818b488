"""Reciprocal rank fusion (Cormack et al. 2009; section 4.1 of the report)."""

import numpy as np


def ranks(scores: np.ndarray, ids: list[str]) -> np.ndarray:
    """Ranks from 1 (the highest score), ties by candidate id; shape (n,)."""
    order = np.lexsort((np.asarray(ids), -np.asarray(scores, np.float64)))
    result = np.empty(len(order), np.int64)
    result[order] = np.arange(1, len(order) + 1)
    return result


def rrf(score_lists: list[np.ndarray], ids: list[str], k: int = 60) -> np.ndarray:
    """`sum over scorers of 1 / (k + rank)`, every scorer ranking the whole union; float64 of shape (n,).

    Args:
        score_lists (`list[np.ndarray]`): One array of shape (n,) per scorer.
        ids (`list[str]`): The candidates' ids; they settle ties, so that the result does not depend on order.
        k (`int`): 60 in the paper and the report.
    """
    return np.sum([1.0 / (k + ranks(scores, ids)) for scores in score_lists], axis=0)
