"""BM25, reciprocal rank fusion and the cross-encoder on a held-out retrieval task."""

from collections.abc import Callable

import numpy as np

from anna_embed.evaluation.heldout import HeldOut, retrieval_rows
from anna_embed.evaluation.metrics import best


def teacher_scores(task: HeldOut, bm25: Callable, dense_scores: np.ndarray, rerank: Callable, rrf: Callable,
                   depth: int, few: int) -> list[dict]:
    """nDCG@10 of BM25, of the RRF of BM25 and dense, and of the cross-encoder over the RRF's best.

    BM25 is scored on all queries; the other two on the first `few`, as the cross-encoder is slow.

    Args:
        task (`HeldOut`): A retrieval task.
        bm25 (`Callable`): A query to scores of all passages.
        dense_scores (`np.ndarray`): (few, passages) cosines.
        rerank (`Callable`): Pairs of query and passage to logits.
        rrf (`Callable`): Lists of scores and ids to fused scores.
        depth (`int`): Candidates that the cross-encoder orders; those behind them keep their places.
        few (`int`): Queries for it.
    """
    queries = list(task.queries.values())
    lexical = np.stack([bm25(query) for query in queries[:few]])
    fused = np.stack([rrf([left, right], task.ids) for left, right in zip(lexical, dense_scores, strict=True)])
    candidates = best(fused, max(depth, 10))
    first = candidates[:, :depth]
    logits = rerank([(query, task.passages[p]) for query, row in zip(queries, first) for p in row])
    reordered = np.take_along_axis(first, best(logits.reshape(first.shape), depth), 1)
    reordered = np.concatenate([reordered, candidates[:, depth:]], 1)
    rows = {"BM25": np.concatenate([best(bm25(query)[None]) for query in queries]), "RRF (BM25 + dense)": best(fused),
            "reranker": reordered[:, :10]}
    return [{"model": model, **row} for model, ranked in rows.items() for row in retrieval_rows(task, ranked, few)]
