"""Training lists for the cross-encoder: a query, its positive, hard negatives, and soft targets."""

import random

import numpy as np

from anna_embed.parsing import RecipeError
from anna_embed.teacher import dense
from anna_embed.teacher.bm25 import BM25, best_matching
from anna_embed.teacher.fusion import rrf


def training_lists(pairs: list[dict], ids: list[str], texts: list[str], queries: np.ndarray, passages: np.ndarray,
                   config) -> list[dict]:
    """One list per pair.

    The negatives are drawn from what the reranker will see: the dense retriever's best, or with `lexical_weight` the
    best of RRF over it and BM25. The targets are the teacher's scores sharpened, with a bonus for the labelled
    positive: where the label and the teacher agree the list is easy, where an unlabelled passage is as good the target
    says so. BM25's scores are divided by the query's highest, which makes them comparable between queries.

    Args:
        pairs (`list[dict]`): Rows of the pairs artifact.
        ids, texts (`list[str]`): The corpus.
        queries (`np.ndarray`): (pairs, dim), the dense vectors of the pairs' queries.
        passages (`np.ndarray`): (corpus, dim).
        config (`RerankerConfig`): list_size, hard_from, target_temperature, lexical_weight, gold_bonus, seed.

    Returns:
        `list[dict]`: `query`, `docs` and `labels` (logits of the target distribution).
    """
    place = {i: n for n, i in enumerate(ids)}
    positives = {}
    for pair in pairs:
        if pair["positive_id"] not in place:
            raise RecipeError(f"pairs: the positive '{pair['positive_id']}' of '{pair['task']}' is no passage of its "
                              "corpus; make pairs with recipes.convert.")
        positives.setdefault(pair["query_id"], set()).add(place[pair["positive_id"]])
    wanted = config.hard_from + max(map(len, positives.values()))
    found, _ = dense.top_k(queries, passages, wanted)
    bm25 = BM25(texts) if config.lexical_weight else None
    lists = []
    for n, pair in enumerate(pairs):
        draw = random.Random(f"{config.seed}:{pair['query_id']}:{pair['positive_id']}")
        own, ranked = place[pair["positive_id"]], found[n]
        if bm25:
            lexical = bm25.scores(pair["query"])
            ranked = np.union1d(ranked, best_matching(lexical, wanted))
            ranked = ranked[np.argsort(-rrf([lexical[ranked], passages[ranked] @ queries[n]], ranked), kind="stable")]
        hard = [int(p) for p in ranked if int(p) not in positives[pair["query_id"]]][: config.hard_from]
        chosen = [own, *draw.sample(hard, min(config.list_size - 1, len(hard)))]
        logits = passages[chosen] @ queries[n] / config.target_temperature
        if bm25:
            logits += config.lexical_weight * lexical[chosen] / max(lexical.max(), 1e-9)
        logits[0] += config.gold_bonus
        lists.append({"query": pair["query"], "docs": [texts[p] for p in chosen], "labels": logits.tolist()})
    return lists
