"""Hard negatives: the published rule, what is refused, and what is counted."""

import math
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.parsing import RecipeError
from anna_embed.schema import TEACHERS, TRIPLETS
from anna_embed.schema import SCORES as COLUMNS
from anna_embed.teacher import mine as module
from anna_embed.teacher.flat import Candidates
from anna_embed.teacher.mine import (ALL_TOO_CLOSE, NO_CANDIDATE, FromScores, OwnNegatives, Rule, choose,
                                     keep_own_negatives, mine, summary, threshold)

SCORES = st.lists(st.floats(-8, 8, width=16), min_size=3, max_size=20)


def scored(scores, positives=("p0",), query="q"):
    """A row of the scores artifact: positives p0, p1 ... first, then negatives n0, n1 ...; all teachers agree."""
    ids = [*positives, *(f"n{n}" for n in range(len(scores) - len(positives)))]
    return {"query_id": query, "query": query, "candidate_ids": ids, "candidates": [f"text of {i}" for i in ids],
            "is_positive": [i in positives for i in ids], **{name: list(map(float, scores)) for name in TEACHERS}}


def pair(positive="p0", query="q"):
    return {"query_id": query, "query": query, "positive_id": positive, "positive": f"text of {positive}",
            "negatives": [], "label": None, "label_score": None, "task": "t"}


@given(st.floats(-20, 20))
def test_threshold_is_sign_safe(score):
    """With raw logits, 0.95 times a negative score lies above it: no false negative would be dropped."""
    highest = threshold(score, 0.95)
    assert highest <= score and highest == pytest.approx(score * 0.95 if score >= 0 else score * 1.05)
    assert threshold(score, 1.0) == score


@settings(max_examples=80)
@given(SCORES, st.integers(1, 2), st.sampled_from(["min", "own"]), st.integers(0, 9), st.integers(1, 12),
       st.integers(0, 5))
def test_the_published_rule(scores, positives, threshold_from, wanted, top_k, seed):
    """TopK-PercPos: not a positive, not above the threshold, among the top_k left, never filled up."""
    rule = Rule(num_negatives=wanted, threshold_from=threshold_from, top_k=top_k, seed=seed)
    row = scored(scores, [f"p{n}" for n in range(positives)])
    made, counts = mine(pair(), row, rule)
    limit = threshold(min(scores[:positives]) if threshold_from == "min" else scores[0], 0.95)
    left = sorted((s for s in scores[positives:] if s <= limit), reverse=True)
    pool = left[: max(top_k, wanted)] if len(left[:top_k]) < wanted else left[:top_k]
    chosen = made["teacher_dense"][1:]
    assert len(chosen) == len(set(made["negative_ids"])) == min(wanted, len(pool))  # ragged where too few are left
    assert not set(made["negative_ids"]) & {"p0", "p1"} and chosen == sorted(chosen, reverse=True)
    assert not Counter(chosen) - Counter(pool)
    assert counts["dropped as likely false negatives"] == len(scores) - positives - len(left)
    assert counts["rows with fewer negatives than asked"] == (len(chosen) < wanted)
    assert made["negatives"] == [f"text of {i}" for i in made["negative_ids"]]
    assert made["teacher_dense"][0] == scores[0] and len(made["teacher_rrf"]) == 1 + len(chosen)


@settings(max_examples=40)
@given(st.permutations(range(12)), st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=12, max_size=12))
def test_order_does_not_matter(order, scores):
    """Candidates come from shards and processes; the same negatives are drawn, ties settled by their ids."""
    straight = scored([1.0, *scores])
    shuffled = {name: [value[0], *(value[1 + n] for n in order)] if isinstance(value, list) else value
                for name, value in straight.items()}
    assert mine(pair(), straight, Rule())[0] == mine(pair(), shuffled, Rule())[0]


def test_the_draw_is_seeded_by_row():
    """The same row draws the same negatives in any run and any order; another seed or query draws others."""
    scores = [1.0, *np.linspace(0.1, 0.9, 40)]
    state = random.getstate()
    rows = {(q, s): mine(pair(query=q), scored(scores, query=q), Rule(seed=s))[0]["negative_ids"]
            for q in ("q", "r") for s in (1, 2)}
    assert random.getstate() == state  # the library's sampling uses and moves the global state
    assert rows["q", 1] == mine(pair(), scored(scores), Rule(seed=1))[0]["negative_ids"]
    assert len({tuple(ids) for ids in rows.values()}) == 4


def test_draws_reach_all_of_top_k():
    """Sampling from the top 50 is what the report does; always the hardest ones would be another method."""
    scores, seen = [1.0, *np.linspace(0.9, 0.1, 60)], set()
    for seed in range(60):
        seen |= set(mine(pair(), scored(scores), Rule(seed=seed))[0]["negative_ids"])
    assert seen == {f"n{n}" for n in range(50)}


def test_a_candidate_that_is_a_positive_by_now():
    """Scores of older pairs do not know it: it would become a negative of itself, and of its siblings."""
    with pytest.raises(RecipeError, match="has no score for its positive n0; they were made from other pairs"):
        mine(pair("n0"), scored([0.9, 0.8, 0.3]), Rule())


def test_min_and_own_positive():
    """A candidate better than the query's weaker positive is doubtful for its stronger one as well."""
    row = scored([0.9, 0.5, 0.8, 0.3], ["p0", "p1"])
    assert mine(pair("p0"), row, Rule())[0]["negative_ids"] == ["n1"]
    assert mine(pair("p0"), row, Rule(threshold_from="own"))[0]["negative_ids"] == ["n0", "n1"]
    assert mine(pair("p0"), row, Rule())[0]["sibling_positive_ids"] == ["p1"]


def test_which_scores_the_margin_goes_by():
    """The source is a key of the recipe; the scores of all four stay beside the negatives."""
    row = scored([0.9, 0.8, 0.89]) | {"reranker": [5.0, 4.9, 1.0]}
    by_dense, by_reranker = (mine(pair(), row, Rule(score_source=s))[0] for s in ("dense", "reranker"))
    assert (by_dense["negative_ids"], by_reranker["negative_ids"]) == (["n0"], ["n1"])
    assert by_reranker["teacher_reranker"] == [5.0, 1.0] and by_reranker["teacher_dense"] == [0.9, 0.89]


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_no_numbers(name, score):
    """Every comparison with NaN is false: the row would lose its negatives, or the margin its meaning, in silence."""
    row = scored([0.9, 0.5, 0.4])
    row[name][1] = score
    with pytest.raises(RecipeError, match=f"scores: the {name} score of query 'q' and passage n0 is {score}; .*again"):
        mine(pair(), row, Rule())


@pytest.mark.parametrize("name", ["candidates", "is_positive", *TEACHERS])
def test_lists_of_several_lengths(name):
    """If this fails, a query that lacks one score gives the scores of all behind it to other passages, in silence."""
    row = scored([0.9, 0.5, 0.4])
    row[name].pop()
    with pytest.raises(RecipeError, match=f"scores: query 'q' has 3 candidate_ids and 2 values of {name}; delete"):
        mine(pair(), row, Rule())


def test_scores_of_other_pairs():
    """A pairs artifact made anew, with scores of the old one."""
    with pytest.raises(RecipeError, match="query 'q' has no score for its positive p7; .*run the score stage again"):
        mine(pair("p7"), scored([0.9, 0.5]), Rule())
    with pytest.raises(RecipeError, match="query 'q' has no score for its positive p0"):
        FromScores(Dataset.from_list([scored([], ())], features=COLUMNS), Rule()).rows([pair()])  # no candidate at all


def test_own_negatives_are_kept_but_for_siblings():
    """A dataset may call one text right in one row and wrong in another; it is not trained on as wrong."""
    made = keep_own_negatives(pair() | {"negatives": ["x", "y", "x", "z"]}, ["id of y"], lambda text: f"id of {text}")
    assert made["negatives"] == ["x", "z"] and made["negative_ids"] == ["id of x", "id of z"]
    assert made["sibling_positive_ids"] == ["id of y"] and made["teacher_dense"] == []


def test_plain_product_drops_nothing_for_negative_scores():
    """What NeMo does: with a positive of -1 the limit is -0.95, above the positive itself."""
    scores = np.array([-1.0, -0.97, -1.02, -1.5])
    one = Candidates(np.zeros(4, int), pa.array(list("abcd")), np.arange(4) == 0, np.zeros(1, int), np.arange(4))
    chosen, sizes, _ = choose(scores, one, Rule(), ["row"])
    assert chosen.tolist() == [3] and sizes.tolist() == [1]
    assert [n for n in (1, 2, 3) if scores[n] <= -1.0 * 0.95] == [1, 2, 3]


def test_rows_without_negatives_say_why():
    """If this fails, a margin that leaves nothing looks like a corpus that has nothing."""
    _, close = mine(pair(), scored([0.9, 0.89, 0.88]), Rule())
    _, alone = mine(pair(), scored([0.9, 0.5], ["p0", "p1"]), Rule())
    _, some = mine(pair(), scored([0.9, 0.89, 0.1]), Rule())
    assert (close[ALL_TOO_CLOSE], close[NO_CANDIDATE]) == (1, 0) and close["dropped as likely false negatives"] == 2
    assert (alone[ALL_TOO_CLOSE], alone[NO_CANDIDATE]) == (0, 1)
    assert (some[ALL_TOO_CLOSE], some[NO_CANDIDATE]) == (0, 0)
    said = summary(close + alone + some, queries=3)
    assert said["queries"] == said["rows"] == 3 and said[ALL_TOO_CLOSE] == said[NO_CANDIDATE] == 1
    assert said["negatives"] == 1 and said["mean rank of the chosen"] == 1 and said["rows with top_k widened"] == 0
    assert summary(close, queries=1)["mean rank of the chosen"] == 0


def test_rows_from_scores_on_disk():
    """Each pair meets its own query's scores, whatever the order of either."""
    rows = [scored([0.9, 0.5, 0.1 * n], query=f"q{n}") for n in range(4)]
    miner = FromScores(Dataset.from_list(rows, features=COLUMNS), Rule())
    pairs = [pair(query=f"q{n}") for n in (3, 0, 2)]
    made, counts = miner.rows(pairs)
    assert [row["teacher_dense"] for row in made.to_pylist()] == [pytest.approx(row) for row in (
        [0.9, 0.5, 0.3], [0.9, 0.5, 0.0], [0.9, 0.5, 0.2])]
    assert counts["rows"] == 3 and counts["negatives"] == 6
    with pytest.raises(RecipeError, match="scores: there are none of query 'q9'; .*run the score stage again"):
        miner.rows([pair(query="q9")])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0]), min_size=3, max_size=12),
                          st.integers(1, 3)), min_size=1, max_size=7),
       st.sampled_from(["min", "own"]), st.integers(0, 4), st.integers(1, 6), st.integers(1, 4))
def test_many_rows_are_mined_as_each_alone(queries, threshold_from, wanted, top_k, block):
    """If this fails, a row's negatives depend on the rows beside it: by a tie, a block's edge, others' positives."""
    rule = Rule(num_negatives=wanted, top_k=top_k, threshold_from=threshold_from, margin=0.8)
    rows = {f"q{n}": scored(scores, [f"p{p}" for p in range(positives)], f"q{n}")
            for n, (scores, positives) in enumerate(queries)}
    pairs = [pair(f"p{p}", query) for query, row in reversed(rows.items()) for p in range(sum(row["is_positive"]))]
    alone = [mine(each, rows[each["query_id"]], rule) for each in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        made, counts = FromScores(Dataset.from_list(list(rows.values()), features=COLUMNS), rule).rows(pairs)
    assert made.to_pylist() == [row for row, _ in alone] and made.schema == TRIPLETS.arrow_schema
    assert counts == sum((happened for _, happened in alone), Counter())


def test_own_negatives_of_a_whole_task():
    """A positive of one row is no negative in another row of its query."""
    rows = [pair("a") | {"negatives": ["a", "b", "c"]}, pair("b"), pair("c", "other")]
    made, counts = OwnNegatives(Dataset.from_list(rows), lambda text: text).rows(rows)
    assert [row["negatives"] for row in made] == [["a", "c"], [], []] and counts == {}
    assert [row["sibling_positive_ids"] for row in made] == [["b"], ["a"], []]
