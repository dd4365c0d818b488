"""BM25, reciprocal rank fusion and the cross-encoder on a held-out retrieval task."""

import numpy as np

from anna_embed.evaluation.heldout import HeldOut
from anna_embed.evaluation.metrics import ndcg_at_10


def teacher_scores(task: HeldOut, bm25_scores, dense_scores: np.ndarray, rerank, rrf, depth: int, most: int) -> list[dict]:
    """nDCG@10 of BM25, dense, RRF of both, and the cross-encoder over the RRF's best.

    BM25 is scored on all queries; then all four on the first `most` queries, on which the slow cross-encoder runs, so
    that those rows can be compared.

    Args:
        task (`HeldOut`): A retrieval task.
        bm25_scores (`Callable`): A query to scores of all passages.
        dense_scores (`np.ndarray`): (queries, passages) cosines.
        rerank (`Callable`): Pairs of query and passage to logits.
        rrf (`Callable`): Lists of scores and ids to fused scores.
        depth (`int`): Candidates that the cross-encoder orders.
        most (`int`): Queries for it.
    """
    queries, relevant = list(task.queries.values()), task.relevant
    lexical = np.stack([bm25_scores(q) for q in queries])
    few = slice(0, most)
    fused = np.stack([rrf([left, right], task.ids) for left, right in zip(lexical[few], dense_scores[few])])
    order = {"BM25": _best(lexical[few]), "dense teacher": _best(dense_scores[few]), "RRF (BM25 + dense)": _best(fused)}
    candidates = _best(fused, depth)
    logits = rerank([(q, task.passages[p]) for q, row in zip(queries[few], candidates) for p in row])
    resorted = np.argsort(-logits.reshape(candidates.shape), axis=1, kind="stable")
    order["reranker"] = np.take_along_axis(candidates, resorted, 1)
    name = f"{task.name} (first {len(fused)} queries)"
    rows = [{"model": "BM25", "task": task.name, "value": ndcg_at_10(_best(lexical), relevant), "n": len(queries)}]
    rows += [{"model": m, "task": name, "value": ndcg_at_10(o, relevant[few]), "n": len(fused)} for m, o in order.items()]
    return [{**row, "metric": "ndcg_at_10"} for row in rows]


def _best(scores, k=10):
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]
