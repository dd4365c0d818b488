"""One task through the teacher: candidates by BM25 and dense retrieval, then all four scores of their union."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from anna_embed.parsing import RecipeError
from anna_embed.teacher import dense, reranker
from anna_embed.teacher.bm25 import BM25
from anna_embed.teacher.fusion import rrf


@dataclass
class Teacher:
    """The three scorers over one corpus.

    Args:
        ids, texts (`list[str]`): The corpus.
        bm25 (`BM25`): Its lexical index.
        vectors (`np.ndarray`): Its dense vectors, (passages, dim).
        dense_model, cross_encoder: The loaded models.
        config (`ScoreConfig`): Depth, prompts, batch size, rrf_k.
    """

    ids: list[str]
    texts: list[str]
    bm25: BM25
    vectors: np.ndarray
    dense_model: object
    cross_encoder: object
    config: object

    def score(self, queries: list[dict]) -> list[dict]:
        """Rows of the scores artifact (`schema.SCORES`) for queries as `group_queries` gives them.

        Raises:
            [`RecipeError`]: a scorer returns NaN or infinity, or a positive is not in the corpus.
        """
        texts, c = [q["query"] for q in queries], self.config
        place = {i: n for n, i in enumerate(self.ids)}
        for query in queries:
            lost = [i for i in query["positive_ids"] if i not in place]
            if lost:
                raise RecipeError(f"pairs: the positive {lost[0]} of query '{query['query'][:80]}' is the id of no "
                                  "passage in the corpus; mend the pairs, or make them with recipes.convert.")
        vectors = dense.encode(self.dense_model, texts, c.dense_query_prompt, c.batch_size, progress=False)
        lexical, (semantic, _) = self.bm25.top_k(texts, c.depth), dense.top_k(vectors, self.vectors, c.depth)
        unions = [sorted({*map(int, lexical[n]), *map(int, semantic[n]), *(place[i] for i in q["positive_ids"])},
                         key=lambda p: self.ids[p]) for n, q in enumerate(queries)]
        pairs = [(text, self.texts[p]) for text, union in zip(texts, unions) for p in union]
        logits = iter(np.split(reranker.score(self.cross_encoder, pairs, c.batch_size),
                               np.cumsum([len(u) for u in unions])[:-1]))
        return [self._row(*of_query, next(logits)) for of_query in zip(queries, unions, vectors)]

    def _row(self, query, union, vector, logits):
        ids = [self.ids[p] for p in union]
        scores = {"bm25": self.bm25.scores(query["query"])[union], "dense": self.vectors[union] @ vector,
                  "reranker": logits}
        for name, values in scores.items():
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0])
                raise RecipeError(f"score: the {name} score of query '{query['query'][:80]}' and passage {ids[bad]} "
                                  f"is {values[bad]}; check that model's weights, or use dtype: float32.")
        scores["rrf"] = rrf(list(scores.values()), ids, self.config.rrf_k)
        order = np.lexsort((np.asarray(ids), -scores["rrf"]))  # best first, as people read it
        positives = set(query["positive_ids"])
        return {"query_id": query["query_id"], "query": query["query"], "candidate_ids": [ids[i] for i in order],
                "candidates": [self.texts[union[i]] for i in order],
                "is_positive": [ids[i] in positives for i in order],
                **{name: [float(values[i]) for i in order] for name, values in scores.items()}}


def group_queries(pairs: list[dict]) -> list[dict]:
    """Distinct queries with the ids of all their positives, in the order of their ids."""
    positives, texts = defaultdict(list), {}
    for row in pairs:
        texts[row["query_id"]] = row["query"]
        positives[row["query_id"]].append(row["positive_id"])
    return [{"query_id": q, "query": texts[q], "positive_ids": sorted(set(positives[q]))} for q in sorted(texts)]
