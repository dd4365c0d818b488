"""Known positives that are hidden, and how many of them a rule takes for hard negatives."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NUM_NEGATIVES, TOP_K = 7, 50  # of a row; drawn from the hardest so many that a rule leaves


@dataclass(frozen=True)
class Found:
    """
    What dense retrieval finds for one query.

    Attributes:
        candidates (`np.ndarray`): places of the nearest passages, best first.
        scores (`np.ndarray`): their cosines.
        positives (`dict[int, float]`): the cosine of each passage that is labelled positive, found or not.
    """

    candidates: np.ndarray
    scores: np.ndarray
    positives: dict[int, float]


@dataclass(frozen=True)
class Rule:
    """
    What may be a negative: a candidate that scores no more than a threshold.

    Attributes:
        threshold (`Callable[[float], float]`): from a positive's score to the highest that a negative may have.
        of (`str`): the positive: the row's `own`, or the `min` of those known.
    """

    threshold: Callable[[float], float]
    of: str = "min"


def naive() -> Rule:
    """Top-k: every candidate that is not labelled positive."""
    return Rule(lambda positive: np.inf)


def absolute(margin: float, of: str = "min") -> Rule:
    """TopK-MarginPos (NV-Retriever, arXiv 2407.15831): the positive's score less a margin."""
    return Rule(lambda positive: positive - margin, of)


def percentage(share: float, of: str = "min") -> Rule:
    """TopK-PercPos of the same paper: a share of the positive's score."""
    from anna_embed.teacher.mine import threshold

    return Rule(lambda positive: threshold(positive, share), of)


def split(positives: list[int], keep: int, seed: str) -> tuple[list[int], set[int]]:
    """The positives that stay known, drawn at random, and those that are hidden."""
    known = random.Random(seed).sample(sorted(positives), keep)
    return known, set(positives) - set(known)


def rows_of(found: Found, known: list[int], hidden: set[int], rule: Rule) -> list[dict[str, float]]:
    """
    Mines for each known positive of a query.

    Args:
        found ([`Found`]): of the query.
        known (`list[int]`): positives that the miner knows: a row of each, and a negative of none.
        hidden (`set[int]`): positives that it does not.
        rule ([`Rule`]): the rule.

    Returns:
        `list[dict]`: of each row: `hidden`, how many there are; `hardest`, how many are among the hardest seven;
        `drawn`, how many are to be expected among seven drawn at random from the hardest fifty; `negatives`; and
        `score`, the mean cosine of the hardest seven (NaN where there is none).
    """
    candidate = ~np.isin(found.candidates, known)
    places, scores, rows = found.candidates[candidate], found.scores[candidate], []
    lowest = min(found.positives[place] for place in known)
    for own in known:
        allowed = scores <= rule.threshold(found.positives[own] if rule.of == "own" else lowest)
        is_hidden = np.isin(places[allowed], list(hidden))
        pool, hardest = is_hidden[:TOP_K], scores[allowed][:NUM_NEGATIVES]
        rows.append({"hidden": len(hidden), "hardest": int(is_hidden[:NUM_NEGATIVES].sum()),
                     "drawn": pool.sum() * min(NUM_NEGATIVES, len(pool)) / max(len(pool), 1),
                     "negatives": len(hardest), "score": hardest.mean() if len(hardest) else np.nan})
    return rows


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Shares over all rows: of the hidden that were taken, and of the negatives that were asked for and found."""
    hidden = sum(row["hidden"] for row in rows)
    said = {"hidden_among_the_hardest": sum(row["hardest"] for row in rows) / hidden,
            "hidden_among_the_drawn": sum(row["drawn"] for row in rows) / hidden,
            "negatives_found": sum(row["negatives"] for row in rows) / (NUM_NEGATIVES * len(rows)),
            "mean_score_of_the_hardest": float(np.nanmean([row["score"] for row in rows]))}
    return {"rows": len(rows), "hidden": hidden, **{name: round(float(value), 4) for name, value in said.items()}}
