"""BM25 against a textbook implementation of the report's formula."""

import math

import numpy as np
import pytest
from small import SENTENCES

from anna_embed.parsing import RecipeError
from anna_embed.teacher.bm25 import BM25


def textbook(query, passages, k1, b):
    """The report's formula, `sum idf f (k1 + 1) / (f + k1 (1 - b + b |d| / mean))`, with ATIRE's idf `ln(N / df)`."""
    mean = sum(map(len, passages)) / len(passages)
    scores = []
    for passage in passages:
        score = 0.0
        for term in query:
            df, f = sum(term in p for p in passages), passage.count(term)
            if df:
                score += math.log(len(passages) / df) * f * (k1 + 1) / (f + k1 * (1 - b + b * len(passage) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("k1, b", [(1.5, 0.75), (0.9, 0.4), (1.2, 0.0)])
def test_equals_the_textbook(k1, b):
    """The library knows five variants; another one, or parameters that do not arrive, would change every score."""
    passages = [*SENTENCES, SENTENCES[0] + " " + SENTENCES[4] + " ships ships"]
    bm25 = BM25(passages, k1, b)
    tokens = bm25._tokens(passages)
    for query in ("ships in the harbour", "ships ships and ice", "eggs that penguins keep warm", "quarks"):
        expected = textbook(bm25._tokens([query])[0], tokens, k1, b)
        np.testing.assert_allclose(bm25.scores(query), expected, rtol=1e-5, atol=1e-6)
        assert bm25.scores(query).dtype == np.float32
    assert max(bm25.scores("ships in the harbour")) > 0 == max(bm25.scores("quarks"))


def test_words_are_stemmed_and_case_does_not_matter():
    """"Ships waited" finds "ship waits"; stop words find nothing."""
    bm25 = BM25(SENTENCES)
    assert (bm25.scores("WAITING SHIP") == bm25.scores("ships wait")).all() and bm25.scores("ship")[0] > 0
    assert not bm25.scores("the and of").any() and not bm25.scores("").any()


def test_only_passages_that_share_a_term_are_proposed():
    """Else every query gets the first passages of the corpus as "lexical" candidates."""
    bm25 = BM25(SENTENCES)
    found = bm25.top_k(["freezes penguins violin", "quarks", ""], 10)
    assert sorted(found[0].tolist()) == [0, 4, 9] and len(found[1]) == len(found[2]) == 0
    scores = bm25.scores("freezes penguins violin")[found[0]]
    assert (np.diff(scores) <= 0).all()
    assert bm25.top_k(["freezes penguins violin"], 2)[0].tolist() == found[0][:2].tolist()


def test_equal_scores_in_the_order_of_the_corpus():
    """The candidates of a task must not change from run to run."""
    assert BM25(["red car", "red bus", "blue van", "red cat"]).top_k(["red"], 2)[0].tolist() == [0, 1]


def test_a_corpus_without_words():
    """The library fails with `max() arg is an empty sequence`; the user learns which corpus it was."""
    with pytest.raises(RecipeError, match="pairs: none of the 2 passages, for example 'of the', holds a word"):
        BM25(["of the", "a"])
