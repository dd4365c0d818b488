"""Hard negatives by TopK-PercPos (NV-Retriever, arXiv 2407.15831; section 4.3 of the report).

The report's sentence is inverted ("falling below this threshold are excluded"); its sources drop what scores *above*
the threshold, because that is what may be an unlabelled positive.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from anna_embed.parsing import RecipeError
from anna_embed.schema import TEACHERS


BLOCK = 64  # queries whose candidates are in memory at a time
NO_CANDIDATE = "skipped, without negatives: no candidate but positives"
ALL_TOO_CLOSE = "skipped, without negatives: every candidate too close to the positive"
COUNTED = ("rows", "candidates", "dropped as likely false negatives", "rows with top_k widened",
           "rows with fewer negatives than asked", NO_CANDIDATE, ALL_TOO_CLOSE, "negatives")


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
    if not len(allowed):
        counts[ALL_TOO_CLOSE if len(candidates) else NO_CANDIDATE] += 1
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


class FromScores:
    """Makes triplets of a task's pairs and its scores, which stay on disk.

    Args:
        scored (`Dataset`): `schema.SCORES`, in any order.
        rule (`Rule`): How negatives are chosen.
    """

    def __init__(self, scored: Dataset, rule: Rule):
        self.scored, self.rule = scored, rule
        self.place = {query: n for n, query in enumerate(scored["query_id"])}

    def rows(self, pairs: list[dict]) -> tuple[list[dict], Counter]:
        """Rows of the triplets artifact and the counts of what happened.

        Raises:
            [`RecipeError`]: a query has no scores, or what `mine` refuses.
        """
        rows, counts = [], Counter()
        for first in range(0, len(pairs), BLOCK):
            some = pairs[first: first + BLOCK]
            scored = self._read(some)
            for pair in some:
                row, happened = mine(pair, scored[pair["query_id"]], self.rule)
                rows.append(row)
                counts += happened
        return rows, counts

    def _read(self, pairs):
        """The scores of some queries, by their ids; read at once, because a row alone takes almost as long as many."""
        for pair in pairs:
            if pair["query_id"] not in self.place:
                raise RecipeError(f"scores: there are none of query '{pair['query'][:80]}'; they were made from other "
                                  "pairs: run the score stage again.")
        columns = self.scored[sorted({self.place[pair["query_id"]] for pair in pairs})]
        return {values[0]: dict(zip(columns, values[1:])) for values in zip(columns["query_id"], *columns.values())}


def summary(counts: Counter, queries: int) -> dict[str, float]:
    """What the manifest says of a task that was mined, from the sums of the counts."""
    said = {"queries": queries, **{name: counts[name] for name in COUNTED}}
    return said | {"mean rank of the chosen": round(counts["sum of ranks"] / max(counts["negatives"], 1), 2)}


def keep_own_negatives(pair: dict, siblings: list[str], text_id) -> dict:
    """A triplet with the dataset's own negatives, for the kinds that no teacher scores; a sibling positive is none."""
    negatives = {text_id(n): n for n in pair["negatives"]}
    kept = [i for i in negatives if i not in siblings]
    return pair | {"negative_ids": kept, "negatives": [negatives[i] for i in kept], "sibling_positive_ids": siblings,
                   **{f"teacher_{name}": [] for name in TEACHERS}}


class OwnNegatives:
    """Makes triplets of the pairs of a task that no teacher scores, with the negatives that the dataset gives.

    Args:
        pairs (`Dataset`): All pairs of the task: a sibling positive is no negative.
        text_id (`Callable`): From a text to its id.
    """

    def __init__(self, pairs: Dataset, text_id: Callable[[str], str]):
        self.text_id, self.positives = text_id, defaultdict(set)
        for query, positive in zip(pairs["query_id"], pairs["positive_id"]):
            self.positives[query].add(positive)

    def rows(self, pairs: list[dict]) -> tuple[list[dict], Counter]:
        """Rows of the triplets artifact; there is nothing to count."""
        return [keep_own_negatives(pair, sorted(self.positives[pair["query_id"]] - {pair["positive_id"]}),
                                   self.text_id) for pair in pairs], Counter()
