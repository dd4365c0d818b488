"""The audit of near-duplicates finds planted copies of evaluation texts however they were changed, and little else."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SENTENCES

from anna_embed.__main__ import main
from anna_embed.data import near_duplicates, shingles
from anna_embed.data.near_duplicates import EvaluationTexts, jaccard, overlaps, show
from anna_embed.data.training_texts import evaluation_texts, training_texts
from anna_embed.located import Located
from anna_embed.schema import CORPUS, PAIRS
from anna_embed.tables import write_split
from dataset_folders import write_dataset

REAL = Path(__file__).parents[3] / "shared" / "mirror" / "datasets"
SURROUND = "Somebody once told me this: {}. I have thought of it ever since, and so should you."
COPIES = {  # how a copy comes to differ, and what it is then called
    "case": (str.upper, "exact"),
    "punctuation": (lambda text: re.sub(r"\W+", " ; ", text), "exact"),
    "white space": (lambda text: f"\n{text.replace(' ', '  ')}\t", "exact"),
    "truncated": (lambda text: " ".join(text.split()[: round(0.7 * len(text.split()))]), "contained"),
    "concatenated": (SURROUND.format, "contained"),
    "hyphens": (lambda text: text.replace(" a ", " a-").replace(" the ", " the-"), "exact"),
    "tokenised": (lambda text: re.sub(r"(\w)(\w)\b", r"\1 \2", text), "near"),
}
PARAPHRASES = {  # negative control: the same said in other words
    "The harbour freezes in January and ships wait outside until the ice breaks.":
        "When the port is frozen in winter, vessels have to stay at sea until it thaws.",
    "Copper turns green when it meets rain and air for many years.":
        "After years out in the weather, copper takes on a green colour.",
    "The goalkeeper saved a penalty in the last minute of the match.":
        "In the game's final minute the keeper stopped a spot kick.",
    "Rice is planted in fields that are flooded on purpose.":
        "Farmers flood their paddies deliberately before they plant rice there.",
    "Nobody had opened the letter, yet everybody knew what it said.":
        "Everyone was aware of what the letter contained, although it had stayed sealed.",
    "Whales breathe air and must come up to the surface.":
        "Since they have lungs, whales need to surface to breathe.",
    "The library lends books for three weeks and films for one.":
        "From the library one may borrow a film for one week, a book for three.",
}


def kinds(evaluation, texts):
    """For each text the closest kind of match with the evaluation text at the same place."""
    return [found.get(place) for place, found in enumerate(evaluation.matches(texts))]


@pytest.mark.parametrize("change, kind", COPIES.values(), ids=COPIES)
def test_planted_copies_are_found(change, kind):
    """If this fails, a test sentence gets into training in another guise, and the score it gives is believed."""
    evaluation = EvaluationTexts({"sts": SENTENCES})
    found = kinds(evaluation, [change(text) for text in SENTENCES])
    assert all(found), [text for text, k in zip(SENTENCES, found) if not k]
    assert found.count(kind) >= 0.9 * len(found)


def test_paraphrases_are_not():
    """If this fails, the audit accuses texts that merely say the same, and nobody believes its table."""
    assert set(PARAPHRASES) <= set(SENTENCES)
    evaluation = EvaluationTexts({"sts": PARAPHRASES})
    assert evaluation.matches([*PARAPHRASES.values()]) == [{}] * len(PARAPHRASES)
    assert EvaluationTexts({"sts": SENTENCES[:12]}).matches(SENTENCES[12:]) == [{}] * (len(SENTENCES) - 12)


def test_half_a_sentence_and_short_texts():
    """If this fails, every question that begins alike counts as a copy, or a two-word text escapes."""
    evaluation = EvaluationTexts({"q": ["play some music", "what is the capital of France and of Spain",
                                        "tell me the time in Perth please"]})
    asked = ["Play some music!", "please play some music for me", "what is the capital of Norway and of Sweden",
             "what is the capital of France and of Sweden", "could you tell me the time in Perth please", "", "?!"]
    assert evaluation.matches(asked) == [{0: "exact"}, {}, {}, {}, {2: "contained"}, {}, {}]


def test_both_kinds_of_shingle_have_their_oracle():
    """If this fails, texts are counted as copies by shingles that they do not have."""
    draw = random.Random(1)
    texts = [[draw.choice("ab cd ef gh".split()) for _ in range(draw.randrange(0, 12))] for _ in range(60)]
    found = shingles.word_grams(texts)
    sets = [{tuple(t[n: n + shingles.WORDS]) for n in range(len(t) - shingles.WORDS + 1)} for t in texts]
    assert found.counts(len(texts)).tolist() == [len(s) for s in sets]
    left, right, shared = shingles.Index(found).shared(found, len(texts))
    expected = {(a, b): len(sets[a] & sets[b]) for a in range(60) for b in range(60) if sets[a] & sets[b]}
    assert dict(zip(zip(left.tolist(), right.tolist()), shared.tolist())) == expected
    joined = shingles.Keys.joined(shingles.word_grams, texts, 7)
    assert joined.texts.tolist() == found.texts.tolist() and set(joined.keys) == set(found.keys)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("abcdef é", max_size=40), st.text("abcdef é", max_size=40))
def test_jaccard_by_hand(left, right):
    """If this fails, the check of what MinHash proposes is itself wrong."""
    sets = [{text[n: n + 5] for n in range(len(text) - 4)} for text in (left, right)]
    union = sets[0] | sets[1]
    assert jaccard(left, right) == (len(sets[0] & sets[1]) / len(union) if union else 0)


def test_minhash_misses_little():
    """If this fails, near copies are lost before anything checks them."""
    draw, letters = random.Random(0), "abcdefghijklmnopqrstuvwxyz"
    pairs = []
    for _ in range(3000):
        text = "".join(draw.choice(letters) for _ in range(120))
        changed = list(text)
        for place in draw.sample(range(120), draw.randrange(0, 4)):
            changed[place] = draw.choice(letters)
        pairs.append((text, "".join(changed)))
    near = [(a, b) for a, b in pairs if jaccard(a, b) >= near_duplicates.NEAR]
    index = shingles.Index(shingles.minhash_bands([a for a, _ in near]))
    left, right, _ = index.shared(shingles.minhash_bands([b for _, b in near]), len(near))
    assert len(near) > 2000 and np.sum(left == right) >= 0.99 * len(near)
    assert len(left) < 1.01 * len(near), "texts that share nothing share bands"


def test_counts_of_a_source(monkeypatch):
    """If this fails, the table counts a text twice, or as many evaluation texts as there are matches."""
    monkeypatch.setattr(near_duplicates, "BATCH", 3)
    evaluation = EvaluationTexts({"one": SENTENCES[:6], "two": [*SENTENCES[4:8], SENTENCES[4].upper()], "three": []})
    texts = [SENTENCES[0], SENTENCES[0], SENTENCES[4], SURROUND.format(SENTENCES[4]), "something else", SENTENCES[20]]
    table, read = overlaps("mine", iter(texts), evaluation)
    rows = [overlap.as_row() for overlap in table]
    assert read == 5
    assert [(row["evaluation"], row["exact"], row["contained"], row["near"], row["evaluation_texts_found"],
             row["evaluation_texts"]) for row in rows] == [("one", 2, 1, 0, 2, 6), ("two", 1, 1, 0, 1, 4)]
    assert rows[1]["examples"]["contained"] == (SURROUND.format(SENTENCES[4]), SENTENCES[4])
    lines = show(rows).splitlines()
    assert lines[1].split() == ["mine", "one", "2", "1", "0", "2", "of", "6"] and len(lines) == 3
    assert show([]) == "No training text repeats an evaluation text."


def pair(query, positive, negatives=()):
    return {"query_id": query, "query": query, "positive_id": positive, "positive": positive, "label": None,
            "negatives": list(negatives), "label_score": None, "task": "t"}


def test_what_is_read_of_pairs_and_of_datasets(tmp_path):
    """If this fails, negatives and corpora go unaudited, or labels that train and test share fill the table."""
    pairs = tmp_path / "pairs"
    tasks = {"qa": {"kind": "retrieval"}, "intents": {"kind": "classification"}}
    write_split(pairs, "qa", "train", [pair("a question", "its passage", ["a wrong one"])], PAIRS)
    write_split(pairs, "qa-corpus", "train", [{"id": "1", "text": "its passage"}], CORPUS)
    write_split(pairs, "intents", "train", [pair("an utterance", "play music", ["set alarm"])], PAIRS)
    rows = {"qa": {"train": 1, "test": 1}, "qa-corpus": {"train": 1}, "intents": {"train": 1}, "gone": {"test": 1}}
    manifest = {"stage": "convert", "tasks": tasks, "rows": rows}
    (pairs / "manifest.json").write_text(json.dumps(manifest))
    read = {name: list(texts) for name, texts in training_texts(Located("pairs", str(pairs), "d")).items()}
    assert read == {"qa": ["a question", "its passage", "a wrong one"], "qa-corpus": ["its passage"],
                    "intents": ["an utterance"]}
    beir = {("default", "test"): [{"query-id": "q1", "corpus-id": "d1", "score": 1}],
            ("queries", "queries"): [{"_id": "q1", "text": "a test question"}],
            ("corpus", "corpus"): [{"_id": "d1", "title": "A title", "text": "and a text"}]}
    at = Located("org/beir", write_dataset(tmp_path / "beir", beir), "digest")
    assert evaluation_texts("B", at, {"path": "org/beir", "split": "test"}, True) == {
        "B": ["a test question"], "B documents": ["A title and a text"]}
    assert list(evaluation_texts("B", at, {"path": "org/beir", "split": "test"}, False)) == ["B"]


def test_a_file_of_rows_is_read(tmp_path):
    """If this fails, one's own JSONL cannot be audited before it is trained on."""
    (tmp_path / "mine.jsonl").write_text('{"q": "a question"}\n{"q": "and another"}\n', encoding="utf-8")
    (read,) = training_texts(Located("mine.jsonl", str(tmp_path / "mine.jsonl"), "d")).values()
    assert list(read) == ["a question", "and another"]


def test_the_command(tmp_path, capsys):
    """If this fails, the table in a card and the JSON beside it come from nowhere."""
    mirror = tmp_path / "mirror" / "datasets"
    tested = [{"sentence1": text, "sentence2": text[::-1], "score": 1.0} for text in SENTENCES[:8]]
    write_dataset(mirror / "mteb" / "stsbenchmark-sts", {("default", "test"): tested})
    rows = [{"text": text} for text in [SENTENCES[0].upper(), SENTENCES[3], *SENTENCES[10:14]]]
    write_dataset(mirror / "org" / "mine", {("default", "train"): rows})
    main(["near_duplicates", "org/mine", "mteb/stsbenchmark-sts", "--tasks", "STSBenchmark", "--mirror",
          str(tmp_path / "mirror"), "--output", str(tmp_path / "table.json")])
    (row,) = json.loads((tmp_path / "table.json").read_text())
    assert (row["source"], row["exact"], row["evaluation_texts_found"], row["evaluation_texts"], row["training_texts"]
            ) == ("org/mine default/train", 2, 2, 16, 6)
    assert "org/mine default/train  STSBenchmark        2" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "mteb" / "stsbenchmark-sts").is_dir(), reason="needs a mirror with STSBenchmark")
def test_recall_and_precision_on_real_texts(tmp_path):
    """If this fails, the planted copies above are found because they are few and long; real texts are neither.

    Copies of STSBenchmark's test sentences are planted among SQuAD's questions and contexts, which have none of them.
    """
    rows = load_dataset(str(REAL / "mteb" / "stsbenchmark-sts"), split="test", cache_dir=str(tmp_path))
    texts = sorted({*rows["sentence1"], *rows["sentence2"]})
    evaluation, long = EvaluationTexts({"sts": texts}), [text for text in texts if len(text.split()) >= 10]
    recall = {}
    for name, (change, _) in COPIES.items():
        planted = long if name in ("truncated", "concatenated") else texts
        places = [min(of) for of in evaluation.matches(planted)]
        found = evaluation.matches([change(text) for text in planted])
        recall[name] = sum(place in match for place, match in zip(places, found)) / len(planted)
    squad = load_dataset(str(REAL / "rajpurkar" / "squad"), split="train", cache_dir=str(tmp_path))
    clean = sorted({*squad["question"], *squad["context"]})
    wrong = sum(map(bool, evaluation.matches(clean)))
    print(recall, f"false alarms: {wrong} of {len(clean)}")
    assert min(recall.values()) >= 0.95 and wrong <= 0.001 * len(clean)
