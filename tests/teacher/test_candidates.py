"""The three scorers over one corpus: who proposes, who scores, and that every score stays with its passage."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset
from small import SENTENCES

from anna_embed.parsing import RecipeError
from anna_embed.schema import CORPUS, SCORES
from anna_embed.teacher.bm25 import BM25
from anna_embed.teacher.candidates import Teacher, group_queries, require_memory, with_places
from anna_embed.teacher.corpus import Corpus
from anna_embed.teacher.fusion import rrf
from anna_embed.teacher.lists import training_lists
from anna_embed.teacher.nearest import top_k

IDS = [f"id{n:02d}" for n in range(len(SENTENCES))]
CONFIG = SimpleNamespace(depth=3, token_budget=40, rrf_k=60)


def vector(text):
    """A vector of a text that nobody has to load a model for: its letters, centred."""
    counts = np.array([text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"], np.float32)
    counts -= counts.mean()
    return counts / np.linalg.norm(counts)


class CrossEncoder:
    """The logit is a function of both texts; keeps what it was asked."""

    max_seq_length = 512

    def __init__(self, spoilt=()):
        self.asked, self.spoilt = [], spoilt

    def predict(self, pairs, **kwargs):
        self.asked += pairs
        return np.array([math.nan if p in self.spoilt else self.logit(q, p) for q, p in pairs])

    def preprocess(self, pairs):
        return {"input_ids": np.zeros((1, 5))}

    @staticmethod
    def tokenizer(texts, **kwargs):
        return {"input_ids": [text.split() for text in texts]}

    @staticmethod
    def logit(query, passage):
        return len(set(query.split()) & set(passage.split())) - len(passage) / 100


def teacher(spoilt=(), vectors=None):
    rows = {"id": IDS, "text": SENTENCES}
    passages = np.stack([vector(t) for t in SENTENCES]) if vectors is None else vectors
    return Teacher(Corpus(Dataset.from_dict(rows, features=CORPUS)), BM25(SENTENCES), passages, CrossEncoder(spoilt),
                   CONFIG)


def score(made, queries):
    """Rows for queries as `group_queries` gives them."""
    vectors = np.stack([vector(q["query"]) for q in queries])
    nearest = top_k(vectors, made.passages, CONFIG.depth)[0]
    return made.score(with_places(queries, made.corpus), vectors, nearest)[0].to_pylist()


ASKED = {"which birds keep their eggs warm": 4, "when does the ice in the harbour break": 0, "zzz": 20}
QUERIES = [{"query_id": f"q{n}", "query": q, "positive_ids": [IDS[p]]} for n, (q, p) in enumerate(ASKED.items())]


def test_every_score_stays_with_its_passage():
    """A shuffled column would be learnt as if it were right."""
    made, rows = teacher(), score(teacher(), QUERIES)
    for query, row in zip(QUERIES, rows):
        assert set(row) == set(SCORES) and row["query_id"] == query["query_id"]
        for n, (name, text) in enumerate(zip(row["candidate_ids"], row["candidates"])):
            place = IDS.index(name)
            assert text == SENTENCES[place] and row["is_positive"][n] == (name in query["positive_ids"])
            assert row["bm25"][n] == pytest.approx(made.bm25.scores(query["query"])[place])
            assert row["dense"][n] == pytest.approx(float(vector(query["query"]) @ vector(text)), abs=1e-6)
            assert row["reranker"][n] == pytest.approx(CrossEncoder.logit(query["query"], text), abs=1e-6)
        fused = rrf([row["bm25"], row["dense"], row["reranker"]], row["candidate_ids"])
        assert row["rrf"] == pytest.approx(fused.tolist()) and row["rrf"] == sorted(row["rrf"], reverse=True)


def test_the_union_is_scored_and_the_positive_is_in_it():
    """BM25 and dense propose, nobody adds fillers; a positive that neither finds is there nevertheless."""
    made = teacher()
    for query, row in zip(QUERIES, score(made, QUERIES)):
        similar = np.argsort([-float(vector(query["query"]) @ vector(t)) for t in SENTENCES], kind="stable")[:3]
        lexical = made.bm25.top_k([query["query"]], 3)[0]
        expected = {IDS[p] for p in (*similar, *lexical)} | set(query["positive_ids"])
        assert set(row["candidate_ids"]) == expected and sum(row["is_positive"]) == 1
    assert len(made.cross_encoder.asked) == sum(len(row["candidates"]) for row in score(made, QUERIES))


def test_who_found_the_positives():
    """If this fails, the card praises one retriever for what the other found, or hides that neither found nothing."""
    made = teacher()
    vectors = np.stack([vector(query["query"]) for query in QUERIES])
    nearest = top_k(vectors, made.passages, CONFIG.depth)[0]
    counts = made.score(with_places(QUERIES, made.corpus), vectors, nearest)[1]
    found = []
    for query, near in zip(QUERIES, nearest):
        place = IDS.index(query["positive_ids"][0])
        found.append((place in made.bm25.top_k([query["query"]], CONFIG.depth)[0], place in near))
    assert counts["positives"] == len(QUERIES) and counts["positives found by BM25"] == sum(a for a, _ in found)
    assert counts["positives found by dense retrieval"] == sum(b for _, b in found)
    assert counts["positives found by neither"] == sum(not a and not b for a, b in found)
    made = made.score(with_places(QUERIES[:1], made.corpus), vectors[:1], nearest[:1])[1]
    assert made["positives found by BM25"] == 1 and made.get("positives found by neither") == 0


def test_shards_do_not_matter():
    """A run that was killed and went on, with other shards, has the same rows."""
    assert score(teacher(), QUERIES) == [row for query in QUERIES for row in score(teacher(), [query])]


def test_scores_that_are_no_numbers():
    """A half-broken checkpoint gives NaN for some texts only; the sentence names the pair."""
    with pytest.raises(RecipeError, match="the reranker score of query 'zzz' and passage id20 is nan"):
        score(teacher(spoilt={SENTENCES[20]}), QUERIES)


def test_a_positive_that_is_in_no_corpus():
    """Pairs and corpus of different artifacts."""
    with pytest.raises(RecipeError, match="pairs: the positive lost of query 'why' is the id of no passage"):
        score(teacher(), [{"query_id": "q", "query": "why", "positive_ids": ["lost"]}])


def test_queries_with_all_their_positives():
    """Mining must know every positive of a query, or it takes one for a negative."""
    rows = [{"query_id": q, "query": q.upper(), "positive_id": p} for q, p in ("b2", "a1", "b1", "b2")]
    assert group_queries(rows) == [{"query_id": "a", "query": "A", "positive_ids": ["1"]},
                                   {"query_id": "b", "query": "B", "positive_ids": ["1", "2"]}]


def test_lists_for_the_reranker():
    """The positive stands first with its bonus, no other positive of the query is among the negatives."""
    pairs = [{"query_id": q["query_id"], "query": q["query"], "positive_id": p}
             for q in QUERIES for p in (q["positive_ids"][0], "id09")]
    queries = np.stack([vector(p["query"]) for p in pairs])
    passages = np.stack([vector(t) for t in SENTENCES])
    config = SimpleNamespace(list_size=6, hard_from=10, target_temperature=0.5, lexical_weight=0.0,
                             gold_bonus=2.0, seed=1)
    lists = training_lists(pairs, IDS, SENTENCES, queries, passages, config)
    for pair, made, query in zip(pairs, lists, queries):
        assert made["query"] == pair["query"] and made["docs"][0] == SENTENCES[IDS.index(pair["positive_id"])]
        right = {p["positive_id"] for p in pairs if p["query_id"] == pair["query_id"]}
        assert len(made["docs"]) == 6 == len(set(made["docs"]))
        assert not {SENTENCES[IDS.index(i)] for i in right} & set(made["docs"][1:])
        cosines = [float(query @ vector(text)) / 0.5 for text in made["docs"]]
        assert made["labels"] == pytest.approx([cosines[0] + 2.0, *cosines[1:]], abs=1e-5)
    backwards = training_lists(pairs[::-1], IDS, SENTENCES, queries[::-1], passages, config)
    assert backwards[::-1] == lists  # the draw belongs to the row


def test_lists_with_bm25_in_them():
    """What BM25 alone finds reaches the reranker: left to the dense model's best, it never meets a shared name."""
    pairs = [{"query_id": q["query_id"], "query": q["query"], "positive_id": q["positive_ids"][0]} for q in QUERIES]
    queries = np.stack([vector(pair["query"]) for pair in pairs])
    passages = np.stack([vector(text) for text in SENTENCES])
    config = SimpleNamespace(list_size=4, hard_from=3, target_temperature=0.5, lexical_weight=3.0, gold_bonus=2.0,
                             seed=1)
    lists = training_lists(pairs, IDS, SENTENCES, queries, passages, config)
    bm25, new = BM25(SENTENCES), 0
    for pair, made, query in zip(pairs, lists, queries, strict=True):
        lexical, cosines = bm25.scores(pair["query"]), passages @ query
        proposed = sorted({*np.argsort(-cosines, kind="stable")[:4].tolist(),
                           *[n for n in np.argsort(-lexical, kind="stable")[:4].tolist() if lexical[n] > 0]})
        fused = rrf([lexical[proposed], cosines[proposed]], proposed)
        order = [proposed[n] for n in np.argsort(-fused, kind="stable")]
        right = IDS.index(pair["positive_id"])
        docs = [SENTENCES.index(text) for text in made["docs"]]
        assert docs[0] == right and sorted(docs[1:]) == sorted([n for n in order if n != right][:3])
        new += len({*docs[1:]} - {*np.argsort(-cosines, kind="stable")[:4].tolist()})
        logits = [float(cosines[n]) / 0.5 + 3.0 * float(lexical[n]) / max(float(lexical.max()), 1e-9) for n in docs]
        assert made["labels"] == pytest.approx([logits[0] + 2.0, *logits[1:]], abs=1e-4)
    assert new > 0


@pytest.mark.parametrize("depth", [3, 500])
def test_the_size_that_is_proposed_is_taken(depth):
    """If this fails, a run stops again at what the message told it to write, or at hour three in Arrow."""
    corpus = Corpus(Dataset.from_list([{"id": name, "text": "x" * 1000} for name in IDS], features=CORPUS))
    config = SimpleNamespace(depth=depth, memory_gb=1e3, shard_size=10 ** 7)
    candidates = min(2 * depth, len(IDS))
    with pytest.raises(RecipeError, match=f"with {candidates} candidates each .*a shard holds") as refused:
        require_memory(config, corpus)
    config.shard_size = int(re.search(r"write shard_size: (\d+) or less", str(refused.value))[1])
    require_memory(config, corpus)
    config.shard_size += 1
    with pytest.raises(RecipeError):
        require_memory(config, corpus)


def test_a_query_with_too_much_text(monkeypatch):
    """If this fails, a smaller shard is proposed where only fewer candidates would help."""
    monkeypatch.setattr("anna_embed.teacher.candidates.MOST_TEXT", 10)
    corpus = Corpus(Dataset.from_list([{"id": name, "text": "x" * 1000} for name in IDS], features=CORPUS))
    with pytest.raises(RecipeError, match="write less than depth: 3"):
        require_memory(SimpleNamespace(depth=3, memory_gb=1e3, shard_size=1), corpus)
