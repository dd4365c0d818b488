"""Batches of pairs: under the budget, sorted by length over all queries, each score at its pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import SENTENCES
from tiny_teacher import save_encoder
from transformers import BertForSequenceClassification

from anna_embed.teacher import batches, reranker

PAIRS = [(" ".join(a.split()[:n]), b) for n, a in enumerate(SENTENCES[:6], 1) for b in SENTENCES[6:12]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reranker")
    save_encoder(folder, BertForSequenceClassification)
    return reranker.load(str(folder), 20)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_the_budget(lengths, budget):
    """Padding included; a pair that is above it alone is not lost."""
    lengths = np.sort(lengths)[::-1]
    parts = [lengths[part] for part in batches.under_budget(lengths, budget)]
    assert np.concatenate(parts).tolist() == lengths.tolist()
    assert all(len(part) * part[0] <= budget or len(part) == 1 for part in parts)
    assert all((len(part) + 1) * part[0] > budget for part in parts[:-1])  # none is smaller than it need be


def test_lengths_are_those_of_the_model(model):
    """Else the budget is one of guesses: what fits by it runs out of memory."""
    real = [model.preprocess([pair])["input_ids"].shape[1] for pair in PAIRS]
    assert batches.pair_lengths(model, PAIRS).tolist() == real and max(real) == 20 > min(real)
    assert batches.pair_lengths(model, []).tolist() == []


@pytest.mark.parametrize("budget", [1, 90, 100000])
def test_scores_stay_with_their_pairs(model, budget, monkeypatch):
    """Whatever the budget; and no batch is above it."""
    sizes, score = [], reranker.score

    def counted(model, pairs, batch_size):
        sizes.append(batch_size * max(batches.pair_lengths(model, pairs)))
        return score(model, pairs, batch_size)

    expected = np.array([score(model, [pair])[0] for pair in PAIRS])
    monkeypatch.setattr(reranker, "score", counted)
    scores = batches.score_in_batches(model, PAIRS, budget)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert scores.dtype == np.float32 and len(sizes) == {1: 36, 100000: 1}.get(budget, len(sizes))
    assert budget < 20 or max(sizes) <= budget
