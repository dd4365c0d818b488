"""Candidates of each query by BM25 and dense retrieval, and all four scores of their union."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from anna_embed.parsing import RecipeError
from anna_embed.teacher.batches import score_in_batches
from anna_embed.teacher.bm25 import BM25, best
from anna_embed.teacher.corpus import Corpus
from anna_embed.teacher.fusion import rrf
from anna_embed.teacher.nearest import similarity


@dataclass
class Teacher:
    """The three scorers over one corpus.

    Args:
        corpus (`Corpus`): The passages.
        bm25 (`BM25`): Their lexical index.
        passages (`np.ndarray` or `Vectors`): Their dense vectors, (passages, dim).
        cross_encoder (`CrossEncoder`): The loaded model.
        config (`ScoreConfig`): depth, token_budget, rrf_k.
    """

    corpus: Corpus
    bm25: BM25
    passages: object
    cross_encoder: object
    config: object

    def score(self, queries: list[dict], vectors: np.ndarray, nearest: np.ndarray) -> tuple[list[dict], Counter]:
        """Rows of the scores artifact (`schema.SCORES`), and what happened: who proposed the positives.

        Args:
            queries (`list[dict]`): From `group_queries`, their positives' places added by `with_places`.
            vectors (`np.ndarray`): (queries, dim), their dense vectors.
            nearest (`np.ndarray`): (queries, depth), the places that dense retrieval proposes.

        Raises:
            [`RecipeError`]: a scorer returns NaN or infinity.
        """
        unions, lexical, counts = [], [], Counter({"queries": len(queries)})
        for query, near in zip(queries, nearest, strict=True):
            scores, right = self.bm25.scores(query["query"]), np.asarray(query["places"])
            found = best(scores, self.config.depth)
            unions.append(np.unique(np.concatenate([found, near, right])))
            lexical.append(scores[unions[-1]])
            by_words, by_meaning = np.isin(right, found), np.isin(right, near)
            counts += Counter({"candidates": len(unions[-1]), "positives": len(right),
                               "positives found by BM25": int(by_words.sum()),
                               "positives found by dense retrieval": int(by_meaning.sum()),
                               "positives found by neither": int((~by_words & ~by_meaning).sum())})
        places = np.unique(np.concatenate(unions))
        ids, texts = (dict(zip(places.tolist(), read(places))) for read in (self.corpus.ids, self.corpus.texts))
        pairs = [(query["query"], texts[p]) for query, union in zip(queries, unions) for p in union.tolist()]
        logits = np.split(score_in_batches(self.cross_encoder, pairs, self.config.token_budget),
                          np.cumsum([len(union) for union in unions])[:-1])
        rows = []
        for query, vector, union, *scores in zip(queries, vectors, unions, lexical, logits, strict=True):
            names = [ids[p] for p in union.tolist()]
            rows.append(self._row(query, names, [texts[p] for p in union.tolist()], {
                "bm25": scores[0], "dense": similarity(vector, self.passages[union]), "reranker": scores[1]}))
        return rows, counts

    def _row(self, query, ids, texts, scores):
        for name, values in scores.items():
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0])
                raise RecipeError(f"score: the {name} score of query '{query['query'][:80]}' and passage {ids[bad]} "
                                  f"is {values[bad]}; check that model's weights, or use dtype: float32.")
        scores["rrf"] = rrf(list(scores.values()), ids, self.config.rrf_k)
        order = np.lexsort((np.asarray(ids), -scores["rrf"]))  # best first, as people read it
        positives = set(query["positive_ids"])
        return {"query_id": query["query_id"], "query": query["query"], "candidate_ids": [ids[i] for i in order],
                "candidates": [texts[i] for i in order], "is_positive": [ids[i] in positives for i in order],
                **{name: [float(values[i]) for i in order] for name, values in scores.items()}}


def group_queries(pairs: list[dict]) -> list[dict]:
    """Distinct queries with the ids of all their positives, in the order of their ids."""
    positives, texts = defaultdict(list), {}
    for row in pairs:
        texts[row["query_id"]] = row["query"]
        positives[row["query_id"]].append(row["positive_id"])
    return [{"query_id": q, "query": texts[q], "positive_ids": sorted(set(positives[q]))} for q in sorted(texts)]


def with_places(queries: list[dict], corpus: Corpus) -> list[dict]:
    """Adds to each query the `places` of its positives in the corpus.

    Raises:
        [`RecipeError`]: a positive is not in the corpus.
    """
    places = corpus.places(i for query in queries for i in query["positive_ids"])
    for query in queries:
        lost = [i for i in query["positive_ids"] if i not in places]
        if lost:
            raise RecipeError(f"pairs: the positive {lost[0]} of query '{query['query'][:80]}' is the id of no "
                              "passage in the corpus; mend the pairs, or make them with recipes.convert.")
    return [query | {"places": [places[i] for i in query["positive_ids"]]} for query in queries]


def require_memory(config, corpus: Corpus) -> None:
    """Refuses shards that would not fit.

    A passage of the corpus costs about 100 bytes (its id, places and key, its BM25 score for one query); a candidate
    its text twice, as it is and as it is written, and some 500 bytes of numbers.

    Raises:
        [`RecipeError`]: `memory_gb` is too little.
    """
    fixed, query = 100 * len(corpus), 2 * config.depth * (2 * corpus.mean_bytes + 500)
    if fixed + query * config.shard_size > config.memory_gb * 1e9:
        fits = int((config.memory_gb * 1e9 - fixed) // query)
        smaller = f"shard_size: {fits} or less, or " if fits > 0 else ""
        needed = (fixed + query * config.shard_size) / 1e9
        raise RecipeError(f"memory_gb: {config.memory_gb} is too little for {len(corpus)} passages and shards of "
                          f"{config.shard_size} queries with {2 * config.depth} candidates each; write {smaller}"
                          f"memory_gb: {needed + 0.05:.1f} or more.")
