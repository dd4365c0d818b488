"""Reciprocal rank fusion against a table worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anna_embed.teacher.fusion import ranks, rrf

IDS = ["c", "a", "b", "d"]
BM25 = [3.0, 3.0, 0.0, 9.0]  # ranks c 3, a 2 (ties by id), b 4, d 1
DENSE = [0.1, 0.9, 0.5, -0.2]  # ranks c 3, a 1, b 2, d 4


def test_by_hand():
    """Ranks count from 1, so that the best of a list adds 1/61: the report's k is 60, not 59 or 61."""
    assert ranks(BM25, IDS).tolist() == [3, 2, 4, 1] and ranks(DENSE, IDS).tolist() == [3, 1, 2, 4]
    expected = [1 / 63 + 1 / 63, 1 / 62 + 1 / 61, 1 / 64 + 1 / 62, 1 / 61 + 1 / 64]
    assert rrf([BM25, DENSE], IDS).tolist() == pytest.approx(expected)
    assert rrf([BM25, DENSE], IDS, k=1)[1] == pytest.approx(1 / 3 + 1 / 2)


@given(st.permutations(range(12)), st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0]), min_size=24, max_size=24))
def test_order_does_not_matter(order, values):
    """Candidates come in any order (of shards, of processes); equal scores must not be settled by it."""
    ids, lists = [f"id{n}" for n in range(12)], [np.array(values[:12]), np.array(values[12:])]
    straight = rrf(lists, ids)
    shuffled = rrf([scores[list(order)] for scores in lists], [ids[n] for n in order])
    assert shuffled.tolist() == straight[list(order)].tolist()


def test_many_lists_at_once():
    """If this fails, the candidates of a query are ranked among those of another."""
    lists, ids = np.array([3, 3, 5, 5, 5, 9]), list("baczaa")
    scores = np.array([0.5, 0.5, 1.0, 2.0, 1.0, 0.1])
    assert ranks(scores, ids, lists).tolist() == [2, 1, 3, 1, 2, 1]
    cuts = (slice(0, 2), slice(2, 5), slice(5, 6))
    alone = [rrf([scores[cut], -scores[cut]], ids[cut]) for cut in cuts]
    assert rrf([scores, -scores], ids, lists=lists).tolist() == np.concatenate(alone).tolist()


def test_only_ranks_count():
    """Logits of one scorer must not outweigh the cosines of another."""
    assert rrf([np.array(DENSE) * 1000 - 7], IDS).tolist() == rrf([np.array(DENSE)], IDS).tolist()
