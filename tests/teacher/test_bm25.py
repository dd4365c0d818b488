"""BM25 against a textbook implementation of the report's formula."""

import math

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SENTENCES

from anna_embed.config.data import STEMMERS, STOP_WORDS
from anna_embed.parsing import RecipeError
from anna_embed.teacher import postings
from anna_embed.teacher.bm25 import BM25, best_matching


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


# ---- the index on disk ----------------------------------------------------------------------------------------------

WORDS = st.lists(st.lists(st.sampled_from(["ice", "ship", "tea", "oven", "rye", "map"]), max_size=9), min_size=1,
                 max_size=25).filter(any)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 20))
def test_the_library_s_own_index(tmp_path_factory, documents, block):
    """Built in blocks on disk: the same postings, to the last bit, as bm25s makes in memory."""
    folder = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "BLOCK", block)
        size, tokens = postings.write_postings(folder, iter(documents), 1.2, 0.6)
    theirs = bm25s.BM25(method="atire", k1=1.2, b=0.6)
    theirs.index(documents, show_progress=False)
    ours = bm25s.BM25(method="atire", k1=1.2, b=0.6)
    ours.load_scores(folder, num_docs=size, mmap=True)
    ours.nonoccurrence_array = None
    vocabulary = postings.json.loads((folder / postings.META).read_text())["vocabulary"]
    assert size == len(documents) and tokens == sum(map(len, documents))
    assert set(vocabulary) == set(theirs.vocab_dict) - {""}
    for word, number in vocabulary.items():
        assert ours.get_scores_from_ids([number]).tolist() == theirs.get_scores([word]).tolist()
    assert not (folder / "tokens.tmp").exists()


def test_an_index_is_built_once_and_mapped(tmp_path):
    """If this fails, every process and every run holds the index of 8.8 M passages in its memory, or builds it."""
    folder, asked = tmp_path / "index", []

    def texts():
        asked.append(True)
        yield from SENTENCES

    built, opened = BM25(texts(), folder=folder), BM25(texts(), folder=folder)
    assert len(asked) == 1 and isinstance(opened.index.scores["data"], np.memmap)
    assert not isinstance(BM25(SENTENCES).index.scores["data"], np.memmap)
    for query in ("ships in the harbour", "eggs that penguins keep warm", "quarks"):
        assert built.scores(query).tolist() == opened.scores(query).tolist() == BM25(SENTENCES).scores(query).tolist()


def test_a_killed_build_is_no_index(tmp_path):
    """If this fails, half an index is searched from then on."""
    def texts():
        yield from SENTENCES[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BM25(texts(), folder=tmp_path / "index")
    assert BM25(SENTENCES, folder=tmp_path / "index").size == len(SENTENCES)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("stemmer", STEMMERS)
@pytest.mark.parametrize("stop_words", ["none", "english"])
def test_stemmers(stemmer, stop_words):
    """Each language that the recipe may name is there."""
    bm25 = BM25(["the ships wait", "a ship of tea", "rye"], stemmer=stemmer, stop_words=stop_words)
    assert bm25.scores("tea").tolist()[0] == 0 < bm25.scores("tea").tolist()[1]
    assert (bm25.scores("the").tolist()[0] > 0) == (stop_words == "none")
    if stemmer in ("none", "english"):
        assert (bm25.scores("ships").tolist()[1] == 0) == (stemmer == "none")


@pytest.mark.parametrize("stop_words", STOP_WORDS)
def test_stop_words(stop_words):
    """Each list that the recipe may name is there."""
    assert BM25(SENTENCES, stop_words=stop_words).size == len(SENTENCES)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0]), max_size=40), st.integers(1, 50))
def test_best_of_many(scores, k):
    """A partial sort must not lose the order of equal scores."""
    scores = np.array(scores, np.float32)
    order = np.argsort(-scores, kind="stable")[:k]
    assert best_matching(scores, k).tolist() == order[scores[order] > 0].tolist()
