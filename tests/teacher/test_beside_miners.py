"""Hard negatives beside sentence-transformers' miner: the same where the semantics coincide, and where they do not."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives
from test_mine import pair

from anna_embed.schema import TEACHERS
from anna_embed.teacher import dense
from anna_embed.teacher.mine import Rule, mine
from anna_embed.teacher.nearest import similarity, top_k


class Vectors:
    """As much of a SentenceTransformer as `mine_hard_negatives` asks for: vectors that are given, not computed."""

    device, prompts, model_card_data = "cpu", {}, SimpleNamespace(base_model="given")

    def __init__(self, queries, passages):
        self.queries, self.passages = queries, passages

    def encode_query(self, texts, **kwargs):
        return np.stack([self.queries[t] for t in texts])

    def encode_document(self, texts, **kwargs):
        return np.stack([self.passages[t] for t in texts])

    def similarity(self, a, b):
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a, b):
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(1)


def world(seed, queries=6, passages=40, positives=1):
    """Queries near their positives in eight dimensions; all scores of all passages, as the score stage would give."""
    draw = np.random.default_rng(seed)
    p = draw.normal(size=(passages, 8)).astype(np.float32)
    q = p[:queries] + 0.9 * draw.normal(size=(queries, 8)).astype(np.float32)
    q, p = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, p))
    right = {f"q{n}": [f"d{n + k * queries}" for k in range(positives)] for n in range(queries)}
    model = Vectors({f"q{n}": v for n, v in enumerate(q)}, {f"d{n}": v for n, v in enumerate(p)})
    ids = [f"d{n}" for n in range(passages)]
    rows = {name: {"query_id": name, "query": name, "candidate_ids": ids, "candidates": ids,
                   "is_positive": [i in right[name] for i in ids],
                   **{t: (p @ q[int(name[1:])]).tolist() for t in TEACHERS}} for name in right}
    return model, right, rows, ids


def theirs(model, right, ids, wanted, **keys):
    pairs = [(q, p) for q, positives in right.items() for p in positives]
    rows = Dataset.from_dict({"query": [q for q, _ in pairs], "answer": [p for _, p in pairs]})
    mined = mine_hard_negatives(rows, model, corpus=ids, relative_margin=0.05, num_negatives=wanted, verbose=False,
                                **{"range_max": len(ids), **keys})
    found = {}
    for row in mined:
        found.setdefault((row["query"], row["answer"]), []).append(row["negative"])
    return found


def ours(right, rows, wanted, **keys):
    rule = Rule(num_negatives=wanted, top_k=wanted, **keys)
    return {(q, p): mine({**pair(p, q), "positive": p}, rows[q], rule)[0]["negatives"]
            for q, positives in right.items() for p in positives}


@pytest.mark.parametrize("positives", [1, 2])
def test_equals_sentence_transformers(positives):
    """The hardest n below the margin of the query's weakest positive, siblings left out: the same in all rows."""
    for seed in range(4):
        model, right, rows, ids = world(seed, positives=positives)
        expected = theirs(model, right, ids, 5)
        assert ours(right, rows, 5) == expected and len(expected) == 6 * positives


def test_own_positive_is_not_what_they_do():
    """`threshold_from: own` drops less for the stronger positive of two."""
    model, right, rows, ids = world(0, positives=2)
    assert ours(right, rows, 30, threshold_from="own") != theirs(model, right, ids, 30)


def test_their_sampling_needs_a_global_seed():
    """Two calls of theirs differ; a row of ours does not depend on what was drawn before it."""
    model, right, rows, ids = world(1)
    random.seed(0)
    one, two = (theirs(model, right, ids, 3, sampling_strategy="random") for _ in range(2))
    assert one != two
    rule = Rule(num_negatives=3, top_k=20)
    forward = [mine(pair(right[q][0], q), rows[q], rule)[0] for q in right]
    backward = [mine(pair(right[q][0], q), rows[q], rule)[0] for q in reversed(right)]
    assert forward == backward[::-1]


def found(vectors, right, ids, depth):
    """Rows as the score stage makes them: the nearest by blocks, and the positives."""
    q, p = (np.stack(list(v.values())) for v in (vectors.queries, vectors.passages))
    rows = {}
    for n, (query, near) in enumerate(zip(right, top_k(q, p, depth)[0])):
        places = sorted({*near.tolist(), *map(ids.index, right[query])})
        scores = similarity(q[n], p[places]).tolist()
        rows[query] = {"query_id": query, "query": query, "candidate_ids": [ids[n] for n in places],
                       "candidates": [ids[n] for n in places], "is_positive": [ids[n] in right[query] for n in places],
                       **{name: scores for name in TEACHERS}}
    return rows


def test_search_and_rule_equal_theirs():
    """From vectors to negatives, where passages are many more than candidates."""
    model, right, _, ids = world(7, 60, 500)
    depth = 10 * 5 + 2  # their range_max, and room for the positive
    expected = {key: n for key, n in theirs(model, right, ids, 5, range_max=10 * 5 + 1).items() if n}
    made = {key: n for key, n in ours(right, found(model, right, ids, depth), 5).items() if n}
    assert made == expected and len(expected) > 40


class Logits:
    """A cross-encoder whose logits are all negative."""

    device = "cpu"

    def __init__(self, vectors):
        self.vectors = vectors

    def logit(self, query, passage):
        return float(similarity(self.vectors.queries[query], self.vectors.passages[passage])) * 3 - 4

    def predict(self, pairs, **keys):
        return torch.tensor([self.logit(q, p) for q, p in pairs])


def test_negative_scores():
    """The release tested here subtracts as we do; up to 5.1 theirs is the plain product, which drops nothing."""
    model, right, rows, ids = world(3)
    logits = Logits(model)
    expected = theirs(model, right, ids, 5, cross_encoder=logits)
    for query, row in rows.items():
        row["reranker"] = [logits.logit(query, passage) for passage in row["candidates"]]
    assert ours(right, rows, 5, score_source="reranker") == expected
    assert len(expected) > 0 and all(logits.logit(*pair) < 0 for pair in expected)


def test_they_leave_out_what_they_cannot_mine():
    """A query whose first candidates are all too close is no row of theirs; ours has what lies deeper, if any."""
    model, right, _, ids = world(0)
    for name in ids[6:]:  # everything is as near to q0 as its positive
        model.passages[name] = model.passages["d0"]
    expected = theirs(model, right, ids, 5, range_max=20)
    made = ours(right, found(model, right, ids, 40), 5)
    assert ("q0", "d0") not in expected and set(made) == {(q, right[q][0]) for q in right}
    assert set(made["q0", "d0"]) <= set(ids[1:6])


def test_siblings_share_their_draw():
    """Two positives of a query get the same random negatives of theirs; ours are drawn for each."""
    model, right, rows, ids = world(0, passages=200, positives=2)
    expected = theirs(model, right, ids, 3, sampling_strategy="random")
    assert all(expected[q, one] == expected[q, two] for q, (one, two) in right.items())
    rule = Rule(num_negatives=3, top_k=50)
    drawn = {(q, p): mine(pair(p, q), rows[q], rule)[0]["negative_ids"] for q in right for p in right[q]}
    assert any(drawn[q, one] != drawn[q, two] for q, (one, two) in right.items())


class Counted(Vectors):
    """Made in another training run, from the same base model."""

    dtype, asked = "float32", 0

    def encode(self, texts, **keys):
        self.asked += 1
        return np.stack([self.queries[t] for t in texts])

    encode_query = encode


def test_their_cache_is_stale(tmp_path):
    """It is keyed by the name of the base model: of two fine-tunes the second is given the first one's vectors."""
    (one, right, _, ids), (two, _, _, _) = world(1), world(2)
    fresh = theirs(two, right, ids, 5)
    kept = [theirs(model, right, ids, 5, cache_folder=str(tmp_path / "theirs")) for model in (one, two)]
    assert kept[0] == kept[1] != fresh
    models = [Counted(m.queries, m.passages) for m in (one, two)]
    vectors = [dense.encode_cached(tmp_path / "ours", digest, model, list(right), "", 8)
               for digest, model in zip(("digest 1", "digest 2", "digest 1"), (*models, models[0]))]
    assert [m.asked for m in models] == [1, 1] and vectors[0].tolist() == vectors[2].tolist() != vectors[1].tolist()
