"""Training lists for the cross-encoder: a query, its positive, hard negatives, and soft targets."""

import random

import numpy as np

from anna_embed.teacher import dense


def training_lists(pairs: list[dict], ids: list[str], texts: list[str], queries: np.ndarray, passages: np.ndarray,
                   config) -> list[dict]:
    """One list per pair.

    The negatives are drawn from the dense retriever's best, so that they are what the reranker will see; the targets
    are the dense teacher's cosines sharpened, with a bonus for the labelled positive: where the label and the teacher
    agree the list is easy, where an unlabelled passage is as good the target says so.

    Args:
        pairs (`list[dict]`): Rows of the pairs artifact.
        ids, texts (`list[str]`): The corpus.
        queries (`np.ndarray`): (pairs, dim), the dense vectors of the pairs' queries.
        passages (`np.ndarray`): (corpus, dim).
        config (`RerankerConfig`): list_size, hard_from, target_temperature, gold_bonus, seed.

    Returns:
        `list[dict]`: `query`, `docs` and `labels` (logits of the target distribution).
    """
    place = {i: n for n, i in enumerate(ids)}
    positives = {}
    for pair in pairs:
        positives.setdefault(pair["query_id"], set()).add(place[pair["positive_id"]])
    found, _ = dense.top_k(queries, passages, config.hard_from + max(map(len, positives.values())))
    lists = []
    for n, pair in enumerate(pairs):
        draw = random.Random(f"{config.seed}:{pair['query_id']}:{pair['positive_id']}")
        own = place[pair["positive_id"]]
        hard = [int(p) for p in found[n] if int(p) not in positives[pair["query_id"]]][: config.hard_from]
        chosen = [own, *draw.sample(hard, min(config.list_size - 1, len(hard)))]
        logits = passages[chosen] @ queries[n] / config.target_temperature
        logits[0] += config.gold_bonus
        lists.append({"query": pair["query"], "docs": [texts[p] for p in chosen], "labels": logits.tolist()})
    return lists
