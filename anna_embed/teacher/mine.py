"""Hard negatives by TopK-PercPos (NV-Retriever, arXiv 2407.15831; section 4.3 of the report).

The report's sentence is inverted ("falling below this threshold are excluded"); its sources drop what scores *above*
the threshold, because that is what may be an unlabelled positive.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from anna_embed.parsing import RecipeError
from anna_embed.schema import TEACHERS, TRIPLETS
from anna_embed.teacher.flat import Candidates, candidates_of, check_lengths, lists, values


BLOCK = 256  # pairs whose candidates are in memory at a time
NO_CANDIDATE = "without negatives: no candidate but positives"
ALL_TOO_CLOSE = "without negatives: every candidate too close to the positive"
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


def choose(scores: np.ndarray, candidates: Candidates, rule: Rule,
           names: list[str]) -> tuple[np.ndarray, np.ndarray, Counter]:
    """Chooses negatives for each (query, positive).

    Args:
        scores (`np.ndarray`): (n,) of the rule's score source.
        candidates (`Candidates`): What they are the scores of.
        rule (`Rule`): The rule.
        names (`list[str]`): Names of the pairs; each seeds its draw together with `rule.seed`, so that the order of
            rows does not matter.

    Returns:
        `tuple[np.ndarray, np.ndarray, Counter]`: indices of the negatives, each pair's hardest first; how many each
        pair has (perhaps fewer than asked: never filled up with random passages); and counts of what happened.
    """
    pairs, positive = len(names), candidates.is_positive
    known = np.minimum.reduceat(np.where(positive, scores, np.inf), candidates.starts)
    highest = threshold(known if rule.threshold_from == "min" else scores[candidates.own], rule.margin)
    allowed = np.flatnonzero(~positive & (scores <= highest[candidates.pair]))
    left, all_of = (np.bincount(candidates.pair[some], minlength=pairs) for some in (allowed, ~positive))
    widened = (left > rule.top_k) & (rule.top_k < rule.num_negatives)
    pool = np.minimum(left, max(rule.top_k, rule.num_negatives))
    sizes = np.minimum(pool, rule.num_negatives)
    draws = (sorted(random.Random(f"{rule.seed}:{name}").sample(range(n), rule.num_negatives))
             if n > rule.num_negatives else range(n) for name, n in zip(names, pool.tolist()))  # else all are taken
    ranks = np.fromiter(chain.from_iterable(draws), np.int64, int(sizes.sum()))
    chosen = candidates.best_first(scores, allowed)[np.repeat(left.cumsum() - left, sizes) + ranks]
    counts = {"rows": pairs, "candidates": all_of.sum(), "dropped as likely false negatives": (all_of - left).sum(),
              "rows with top_k widened": widened.sum(), "negatives": sizes.sum(),
              "rows with fewer negatives than asked": (sizes < rule.num_negatives).sum(),
              NO_CANDIDATE: (all_of == 0).sum(), ALL_TOO_CLOSE: ((left == 0) & (all_of > 0)).sum(),
              "sum of ranks": (ranks + 1).sum()}
    return chosen, sizes, Counter({name: int(number) for name, number in counts.items() if number})


def mine(pair: dict, scored: dict, rule: Rule) -> tuple[dict, Counter]:
    """One row of the triplets artifact from a pair and its query's scores, as `mine_all` makes many."""
    columns, counts = mine_all([pair], pa.Table.from_pylist([scored]), np.zeros(1, np.int64), rule)
    return pa.table(columns).to_pylist()[0], counts


def mine_all(pairs: list[dict], scored: pa.Table, rows: np.ndarray, rule: Rule) -> tuple[dict, Counter]:
    """The columns of the triplets artifact from pairs and the scores of their queries, and counts of what happened.

    Args:
        pairs (`list[dict]`): `schema.PAIRS`.
        scored (`pa.Table`): `schema.SCORES`, in one chunk.
        rows (`np.ndarray`): (pairs,), where the scores of each pair's query are.
        rule (`Rule`): How negatives are chosen.

    Raises:
        [`RecipeError`]: a score is NaN or infinite (compared with a threshold it would drop in silence), a query has
        more candidates than scores or fewer, or the scores do not hold a pair's positive.
    """
    check_lengths(scored)
    scores = {name: values(scored, name).to_numpy() for name in TEACHERS}
    for name, found in scores.items():
        bad = np.flatnonzero(~np.isfinite(found))
        if len(bad):
            row = pc.list_parent_indices(scored[name].chunk(0))[bad[0]].as_py()
            raise RecipeError(f"scores: the {name} score of query '{scored['query'][row].as_py()[:80]}' and passage "
                              f"{values(scored, 'candidate_ids')[bad[0]]} is {found[bad[0]]}; delete that artifact "
                              "and run the score stage again.")
    candidates = candidates_of([pair["positive_id"] for pair in pairs], scored, rows)
    # A positive that is no candidate is at -1; or what was a candidate is a positive now.
    told = np.append(candidates.is_positive, False)[candidates.own]
    for lost in np.flatnonzero(~told)[:1]:
        raise RecipeError(f"scores: query '{pairs[lost]['query'][:80]}' has no score for its positive "
                          f"{pairs[lost]['positive_id']}; they were made from other pairs: run the score stage again.")
    names = [f"{pair['query_id']}:{pair['positive_id']}" for pair in pairs]
    source = scores[rule.score_source][candidates.place].astype(np.float64)
    chosen, sizes, counts = choose(source, candidates, rule, names)
    negatives = candidates.place[chosen]
    with_own = np.insert(negatives, np.cumsum(sizes) - sizes, candidates.place[candidates.own])
    siblings = candidates.is_positive.copy()
    siblings[candidates.own] = False
    columns = {key: [pair[key] for pair in pairs]
               for key in ("query_id", "query", "positive_id", "positive", "label", "label_score", "task")}
    columns |= {f"teacher_{name}": lists(pa.array(scores[name][with_own]), sizes + 1) for name in TEACHERS}
    columns |= {column: lists(values(scored, source).take(pa.array(negatives)), sizes)
                for column, source in (("negative_ids", "candidate_ids"), ("negatives", "candidates"))}
    siblings_of = np.bincount(candidates.pair[siblings], minlength=len(pairs))
    return columns | {"sibling_positive_ids": lists(candidates.ids.filter(pa.array(siblings)), siblings_of)}, counts


class FromScores:
    """Makes triplets of a task's pairs and its scores, which stay on disk.

    Args:
        scored (`Dataset`): `schema.SCORES`, in any order.
        rule (`Rule`): How negatives are chosen.
    """

    def __init__(self, scored: Dataset, rule: Rule):
        self.scored, self.rule = scored.with_format("arrow"), rule
        self.place = {query: n for n, query in enumerate(scored["query_id"][:])}

    def rows(self, pairs: list[dict]) -> tuple[pa.Table, Counter]:
        """Rows of the triplets artifact and the counts of what happened.

        Raises:
            [`RecipeError`]: a query has no scores, or what `mine_all` refuses.
        """
        tables, counts = [], Counter()
        for first in range(0, len(pairs), BLOCK):
            some = pairs[first: first + BLOCK]
            places, rows = np.unique([self._place(pair) for pair in some], return_inverse=True)
            columns, happened = mine_all(some, self.scored[places].combine_chunks(), rows, self.rule)
            tables.append(pa.table(columns, TRIPLETS.arrow_schema))
            counts += happened
        return pa.concat_tables(tables), counts

    def _place(self, pair):
        if pair["query_id"] not in self.place:
            raise RecipeError(f"scores: there are none of query '{pair['query'][:80]}'; they were made from other "
                              "pairs: run the score stage again.")
        return self.place[pair["query_id"]]


def summary(counts: Counter, queries: int) -> dict[str, float]:
    """What the manifest says of a task that was mined, from the sums of the counts."""
    said = {"queries": queries, **{name: counts[name] for name in COUNTED}}
    return said | {"mean rank of the chosen": round(counts["sum of ranks"] / max(counts["negatives"], 1), 2)}


def keep_own_negatives(pair: dict, siblings: list[str], text_id) -> dict:
    """A triplet with the dataset's own negatives, less sibling positives, for the kinds that no teacher scores."""
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
