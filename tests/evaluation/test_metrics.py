"""The numbers in the results table are what their names say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from anna_embed.evaluation.metrics import best, label_accuracy, ndcg_at_10, spearman, triplet_accuracy, v_measure


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_ndcg_is_sklearns(data):
    """If this fails, our nDCG@10 cannot be compared with anybody's: several right passages, fewer than ten, none in
    the first ten."""
    passages, queries = data.draw(st.integers(2, 25)), data.draw(st.integers(1, 5))
    scores = np.random.default_rng(data.draw(st.integers(0, 99))).permuted(
        np.tile(np.arange(passages, dtype=float), (queries, 1)), axis=1)
    relevant = [data.draw(st.sets(st.integers(0, passages - 1), min_size=1)) for _ in range(queries)]
    gold = np.asarray([[float(p in right) for p in range(passages)] for right in relevant])
    assert ndcg_at_10(best(scores), relevant) == pytest.approx(ndcg_score(gold, scores, k=10))


@pytest.mark.parametrize("row, right, value", [
    ([3, 1, 2], {3}, 1.0),
    ([3, 1, 2], {1}, 1 / np.log2(3)),
    ([3, 1, 2], {9}, 0.0),
    ([3, 1, 2], {3, 2}, 1.5 / (1 + 1 / np.log2(3))),
    ([*range(10), 99], {99}, 0.0),  # the eleventh does not count
])
def test_ndcg_by_hand(row, right, value):
    """If this fails, a rank is discounted wrongly."""
    assert ndcg_at_10(np.asarray([row]), [right]) == pytest.approx(value)


def test_best_breaks_ties_by_order():
    """If this fails, a model that gives the same vector for everything gets another score each time."""
    assert best(np.asarray([[1.0, 2.0, 1.0, 2.0]]), 3).tolist() == [[1, 3, 0]]


def test_spearman_is_of_ranks():
    """If this fails, the scale of the cosines changes the score, or its sign is lost."""
    left = np.eye(2)[[0, 0, 0]]
    right = np.asarray([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    assert spearman(left, right, np.asarray([5.0, 4.9, 0.0])) == pytest.approx(1)
    assert spearman(left, right, np.asarray([0.0, 1.0, 5.0])) == pytest.approx(-1)


def test_accuracies_count_what_is_nearest():
    """If this fails, classification or NLI scores count the wrong column."""
    axes = np.eye(3)
    assert label_accuracy(axes[[0, 1, 2, 2]], axes, np.asarray([0, 1, 2, 0])) == 0.75
    assert triplet_accuracy(axes[[0, 0]], axes[[0, 1]], axes[[1, 0]]) == 0.5
    assert triplet_accuracy(axes[[0]], axes[[1]], axes[[1]]) == 0  # as near is not nearer


def test_v_measure_does_not_mind_the_names_of_clusters():
    """If this fails, clustering is scored by the numbers that k-means happens to give."""
    vectors = np.repeat(np.eye(3), 4, axis=0)
    assert v_measure(vectors, np.repeat([2, 0, 1], 4)) == pytest.approx(1)
    assert v_measure(vectors, np.tile([0, 1, 2, 3], 3)) == pytest.approx(0, abs=1e-9)
