"""Scores of vectors on held-out rows: pure functions on arrays."""

import numpy as np
from scipy.stats import spearmanr


def best(scores: np.ndarray, k: int = 10) -> np.ndarray:
    """Indices of each query's `k` best passages, best first, ties in the passages' order.

    Args:
        scores (`np.ndarray`): (queries, passages).
        k (`int`, *optional*, defaults to 10): At most so many.

    Returns:
        `np.ndarray`: (queries, min(k, passages)).
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def ndcg_at_10(ranked: np.ndarray, relevant: list[set[int]]) -> float:
    """Mean nDCG@10 with binary relevance.

    Args:
        ranked (`np.ndarray`): (queries, at least 10 if there are so many) passages, best first.
        relevant (`list[set[int]]`): The right passages of each query, never empty.
    """
    discounts = 1 / np.log2(np.arange(2, 12))
    total = 0.0
    for row, right in zip(ranked, relevant):
        gains = np.asarray([passage in right for passage in row[:10]], float)
        total += (gains * discounts[: len(gains)]).sum() / discounts[: min(len(right), 10)].sum()
    return total / len(relevant)


def spearman(left: np.ndarray, right: np.ndarray, gold: np.ndarray) -> float:
    """Spearman correlation of cosines with graded similarity; vectors of shape (pairs, dim), of length one."""
    return float(spearmanr((left * right).sum(1), gold).statistic)


def label_accuracy(texts: np.ndarray, labels: np.ndarray, gold: np.ndarray) -> float:
    """Share of texts whose nearest label text is the right one.

    Args:
        texts (`np.ndarray`): (texts, dim), of length one.
        labels (`np.ndarray`): (labels, dim), of length one.
        gold (`np.ndarray`): (texts,) index of each text's label.
    """
    return float(((texts @ labels.T).argmax(1) == gold).mean())


def triplet_accuracy(anchors: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> float:
    """Share of triplets whose positive is nearer than the negative; each (triplets, dim)."""
    return float(((anchors * positives).sum(1) > (anchors * negatives).sum(1)).mean())


def clusters(vectors: np.ndarray, number: int, seed: int = 42) -> np.ndarray:
    """Cluster of each vector (texts,) by k-means with a fixed seed."""
    from sklearn.cluster import KMeans

    return KMeans(number, n_init=10, random_state=seed).fit_predict(vectors)


def v_measure(vectors: np.ndarray, gold: np.ndarray, seed: int = 42) -> float:
    """V-measure of k-means with as many clusters as there are categories (mteb's runs on mini-batches)."""
    from sklearn.metrics import v_measure_score

    return float(v_measure_score(gold, clusters(vectors, len(set(gold.tolist())), seed)))
