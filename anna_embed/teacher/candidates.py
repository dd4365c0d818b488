"""Candidates of each query by BM25 and dense retrieval, and all four scores of their union."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from anna_embed.parsing import RecipeError
from anna_embed.schema import SCORES
from anna_embed.teacher.batches import score_in_batches
from anna_embed.teacher.bm25 import BM25, best_matching
from anna_embed.teacher.corpus import Corpus
from anna_embed.teacher.flat import lists
from anna_embed.teacher.fusion import rrf
from anna_embed.teacher.nearest import similarity

MOST_TEXT = 2 ** 30  # bytes of text in a shard: twice that is the end of a column, and candidates may be long
BLOCK = 64  # queries whose candidates' vectors are in memory at a time


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

    def score(self, queries: list[dict], vectors: np.ndarray, nearest: np.ndarray) -> tuple[pa.Table, Counter]:
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
            found = best_matching(scores, self.config.depth)
            unions.append(np.unique(np.concatenate([found, near, right])))
            lexical.append(scores[unions[-1]])
            by_words, by_meaning = np.isin(right, found), np.isin(right, near)
            counts.update({"candidates": len(unions[-1]), "positives": len(right),
                           "positives found by BM25": int(by_words.sum()),
                           "positives found by dense retrieval": int(by_meaning.sum()),
                           "positives found by neither": int((~by_words & ~by_meaning).sum())})
        texts = self.corpus.text_column(np.concatenate(unions))
        asked = (query["query"] for query, union in zip(queries, unions) for _ in union)
        logits = score_in_batches(self.cross_encoder, list(zip(asked, texts.to_pylist())), self.config.token_budget)
        scores = {"bm25": np.concatenate(lexical), "dense": self.similarities(vectors, unions), "reranker": logits}
        return self.table(queries, unions, texts, scores), counts

    def similarities(self, vectors: np.ndarray, unions: list[np.ndarray]) -> np.ndarray:
        """Cosines of each query and its candidates, one query behind the other."""
        found = []
        for first in range(0, len(unions), BLOCK):  # a passage is read once for all queries of a block
            some = unions[first: first + BLOCK]
            read, where = np.unique(np.concatenate(some), return_inverse=True)
            passages = self.passages[read].astype(np.float32)
            of_each = np.split(where, np.cumsum([len(union) for union in some])[:-1])
            found += [similarity(vector, passages[row])
                      for vector, row in zip(vectors[first: first + BLOCK], of_each, strict=True)]
        return np.concatenate(found)

    def table(self, queries: list[dict], unions: list[np.ndarray], texts: pa.StringArray,
              scores: dict[str, np.ndarray]) -> pa.Table:
        """The rows, made as columns: a row's candidates stand best first, as people read them.

        Args:
            queries (`list[dict]`): As for `score`.
            unions (`list[np.ndarray]`): The places of each query's candidates, ascending.
            texts (`pa.StringArray`): The candidates' texts, one query behind the other.
            scores (`dict[str, np.ndarray]`): Their scores by each scorer, in that order.

        Raises:
            [`RecipeError`]: a score is NaN or infinite.
        """
        sizes, places = [len(union) for union in unions], np.concatenate(unions)
        query, ids = np.repeat(np.arange(len(unions)), sizes), self.corpus.id_column(places)
        for name, values in scores.items():
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values))[0])
                asked = queries[query[bad]]["query"]
                raise RecipeError(f"score: the {name} score of query '{asked[:80]}' and passage {ids[bad]} is "
                                  f"{values[bad]}; check that model's weights, or use dtype: float32.")
        fused = rrf(list(scores.values()), places, self.config.rrf_k, query)  # places are in the order of the ids
        order = np.lexsort((places, -fused, query))
        right = np.isin(query * len(self.corpus) + places,
                        [n * len(self.corpus) + place for n, q in enumerate(queries) for place in q["places"]])
        columns = {"candidate_ids": ids.take(pa.array(order)), "candidates": texts.take(pa.array(order)),
                   "is_positive": pa.array(right[order])}
        for name, values in (scores | {"rrf": fused}).items():
            columns[name] = pa.array(values[order].astype(np.float32))
        return pa.table({"query_id": [q["query_id"] for q in queries], "query": [q["query"] for q in queries],
                         **{name: lists(values, sizes) for name, values in columns.items()}}, SCORES.arrow_schema)


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
    """Refuses shards that would not fit, and those with more text than an Arrow column of strings holds, by the mean.

    A passage of the corpus costs about 100 bytes (its id, places and key, its BM25 score for one query); a candidate
    its text twice, as it is and as it is written, and some 500 bytes of numbers.

    Raises:
        [`RecipeError`]: `memory_gb` is too little, or `shard_size` too large.
    """
    candidates = min(2 * config.depth, len(corpus))
    of_query = candidates * corpus.mean_bytes
    if of_query * config.shard_size > MOST_TEXT:
        fits = int(MOST_TEXT // of_query)
        smaller = f"shard_size: {fits} or less" if fits > 0 else f"less than depth: {config.depth}"
        raise RecipeError(f"shard_size: {config.shard_size} queries with {candidates} candidates each have some "
                          f"{of_query * config.shard_size / 1e9:.1f} GB of text, and a shard holds "
                          f"{MOST_TEXT / 1e9:.1f}; write {smaller}.")
    fixed, query = 100 * len(corpus), 2 * config.depth * (2 * corpus.mean_bytes + 500)
    if fixed + query * config.shard_size > config.memory_gb * 1e9:
        fits = int((config.memory_gb * 1e9 - fixed) // query)
        smaller = f"shard_size: {fits} or less, or " if fits > 0 else ""
        needed = (fixed + query * config.shard_size) / 1e9
        raise RecipeError(f"memory_gb: {config.memory_gb} is too little for {len(corpus)} passages and shards of "
                          f"{config.shard_size} queries with {2 * config.depth} candidates each; write {smaller}"
                          f"memory_gb: {needed + 0.05:.1f} or more.")
