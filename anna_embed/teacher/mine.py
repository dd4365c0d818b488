"""Hard negatives by TopK-PercPos (NV-Retriever, arXiv 2407.15831; section 4.3 of the report).

The report's sentence is inverted ("falling below this threshold are excluded"); its sources drop what scores *above*
the threshold, because that is what may be an unlabelled positive.
"""

import random
from collections import Counter
from dataclasses import dataclass

import numpy as np

from anna_embed.parsing import RecipeError
from anna_embed.schema import TEACHERS


@dataclass(frozen=True)
class Rule:
    """How negatives are chosen; the keys of `MineConfig`."""

    num_negatives: int = 7
    margin: float = 0.95
    threshold_from: str = "min"
    score_source: str = "dense"
    top_k: int = 50
    seed: int = 42


def threshold(positive_score: float, margin: float) -> float:
    """The highest score a negative may have: `pos - |pos| * (1 - margin)`.

    For positive scores this is `pos * margin`; for negative ones (raw logits) the plain product would lie *above* the
    positive and drop nothing.
    """
    return positive_score - abs(positive_score) * (1 - margin)


def choose(scores: np.ndarray, is_positive: np.ndarray, ids: list[str], own: int, rule: Rule,
           name: str) -> tuple[list[int], Counter]:
    """Chooses negatives for one (query, positive).

    Args:
        scores (`np.ndarray`): (candidates,) of the rule's score source.
        is_positive (`np.ndarray`): (candidates,) bool; every positive of the query, so that none is ever chosen.
        ids (`list[str]`): The candidates' ids; they settle ties, so that the order of the candidates does not matter.
        own (`int`): Index of the row's own positive.
        rule (`Rule`): The rule.
        name (`str`): Names the row; seeds the draw together with `rule.seed`, so that the order of rows does not
            matter.

    Returns:
        `tuple[list[int], Counter]`: indices of the negatives, hardest first (perhaps fewer than asked: never filled
        up with random passages), and counts of what happened.
    """
    positive_scores = scores[is_positive] if rule.threshold_from == "min" else scores[own: own + 1]
    highest = threshold(float(positive_scores.min()), rule.margin)
    candidates = np.flatnonzero(~is_positive)
    allowed = candidates[scores[candidates] <= highest]
    allowed = allowed[np.lexsort((np.asarray(ids)[allowed], -scores[allowed]))]
    pool = allowed[: rule.top_k]
    counts = Counter({"rows": 1, "candidates": len(candidates),
                      "dropped as likely false negatives": len(candidates) - len(allowed)})
    if len(pool) < rule.num_negatives and len(allowed) > len(pool):
        pool = allowed[: rule.num_negatives]
        counts["rows with top_k widened"] += 1
    places = random.Random(f"{rule.seed}:{name}").sample(range(len(pool)), min(rule.num_negatives, len(pool)))
    counts["negatives"] += len(places)
    counts["rows with fewer negatives than asked"] += len(places) < rule.num_negatives
    counts["sum of ranks"] += sum(places) + len(places)
    return [int(pool[p]) for p in sorted(places)], counts


def mine(pair: dict, scored: dict, rule: Rule) -> tuple[dict, Counter]:
    """One row of the triplets artifact (`schema.TRIPLETS`) from a pair and its query's scores.

    Raises:
        [`RecipeError`]: a score is NaN or infinite (compared with a threshold it would drop in silence), or the scores
        do not hold the pair's positive.
    """
    ids, texts = scored["candidate_ids"], scored["candidates"]
    for name in TEACHERS:
        bad = np.flatnonzero(~np.isfinite(np.asarray(scored[name], np.float64)))
        if len(bad):
            raise RecipeError(f"scores: the {name} score of query '{scored['query'][:80]}' and passage {ids[bad[0]]} "
                              f"is {scored[name][bad[0]]}; delete that artifact and run the score stage again.")
    if pair["positive_id"] not in ids:
        raise RecipeError(f"scores: query '{pair['query'][:80]}' has no score for its positive {pair['positive_id']}; "
                          "they were made from other pairs: run the score stage again.")
    is_positive, own = np.asarray(scored["is_positive"]), ids.index(pair["positive_id"])
    source = np.asarray(scored[rule.score_source], np.float64)
    chosen, counts = choose(source, is_positive, ids, own, rule, f"{pair['query_id']}:{pair['positive_id']}")
    order = [own, *chosen]
    row = {key: pair[key] for key in ("query_id", "query", "positive_id", "positive", "label", "label_score", "task")}
    row |= {f"teacher_{name}": [scored[name][i] for i in order] for name in TEACHERS}
    siblings = [i for i, positive in zip(ids, is_positive) if positive and i != pair["positive_id"]]
    return row | {"negative_ids": [ids[i] for i in chosen], "negatives": [texts[i] for i in chosen],
                  "sibling_positive_ids": siblings}, counts


def keep_own_negatives(pair: dict, siblings: list[str], text_id) -> dict:
    """A triplet with the dataset's own negatives, for the kinds that no teacher scores; a sibling positive is none."""
    negatives = {text_id(n): n for n in pair["negatives"]}
    kept = [i for i in negatives if i not in siblings]
    return pair | {"negative_ids": kept, "negatives": [negatives[i] for i in kept], "sibling_positive_ids": siblings,
                   **{f"teacher_{name}": [] for name in TEACHERS}}
