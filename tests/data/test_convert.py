"""Rows to pairs, by the properties that training relies on: nothing invented, nothing lost without a reason."""

import math
import random
import time
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.data.convert import AS_NEGATIVES, convert
from anna_embed.data.pairs import sample, sample_corpus
from anna_embed.data.source import COLUMNS, Source
from anna_embed.data.texts import clean, text_id
from anna_embed.parsing import RecipeError

# Few words, so that repeats and contradictions come up all the time; and every oddity of real files.
ODD = ["", " \n", " a", "a ", "é", "e\u0301", "ﬁ", "中文", "👩‍👩‍👧", "\u200b", "x" * 9000]
TEXT = st.one_of(st.sampled_from(["a", "b", "c", "d e", *ODD]), st.none(),
                 st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
TEXTS = st.one_of(TEXT, st.lists(TEXT, max_size=3))
ROWS = {
    "retrieval": st.fixed_dictionaries({"query": TEXT, "positive": TEXTS, "negatives": TEXTS}),
    "nli": st.fixed_dictionaries({"premise": TEXT, "hypothesis": TEXT, "label": st.sampled_from([0, 1, 2, -1, None])}),
    "sts": st.fixed_dictionaries({"sentence1": TEXT, "sentence2": TEXT, "score": st.sampled_from([0, 1.5, "5", 5.0])}),
    "classification": st.fixed_dictionaries({"text": TEXT, "label": st.sampled_from(["x", "y", "z", 3, "", None])}),
    "clustering": st.fixed_dictionaries({"text": TEXT, "label": st.sampled_from(["x", "y", "z", 3, "", None])}),
}
TABLES = st.one_of(*(st.tuples(st.just(kind), st.lists(rows, max_size=24)) for kind, rows in ROWS.items()))
patiently = settings(deadline=None, derandomize=True, max_examples=60)


def source(kind, **more):
    columns = {name: name for name in (*COLUMNS[kind], *(["negatives"] if kind == "retrieval" else []))}
    labels = {0: "entailment", 1: "neutral", 2: "contradiction"} if kind == "nli" else {}
    return Source("t", kind, "p", columns, **{"labels": labels} | more)


def converted(kind, rows, seed=7, **more):
    """What `convert` makes of the rows; None where one label alone makes the task impossible, as it says."""
    try:
        return convert(source(kind, **more), rows, seed)
    except RecipeError as error:
        assert "needs two" in str(error)
        return None


def texts_of(value):
    return [clean(v) for v in value] if isinstance(value, list) else [clean(value)]


@given(TABLES)
@patiently
def test_nothing_is_invented(table):
    """A text that no row has would teach the model what nobody wrote."""
    kind, rows = table
    made = converted(kind, rows)
    known = {text for row in rows for value in row.values() for text in texts_of(value)}
    for pair in made.pairs if made else []:
        texts = [pair["query"], pair["positive"], *pair["negatives"]]
        assert set(texts) <= known and all(text == text.strip() != "" for text in texts)
        assert pair["query"] != pair["positive"] or kind in ("sts", "classification")
        assert pair["query_id"] == text_id(pair["query"]) and pair["positive_id"] == text_id(pair["positive"])


@given(TABLES)
@patiently
def test_nothing_is_lost_without_a_reason(table):
    """If the counts did not add up, the card would hide what the conversion left out."""
    kind, rows = table
    made = converted(kind, rows)
    if made is None:
        return
    items = sum(len(texts_of(row["positive"])) or 1 for row in rows) if kind == "retrieval" else len(rows)
    assert made.steps["rows"] == items == len(made.pairs) + made.dropped.total() + made.steps[AS_NEGATIVES]
    assert made.steps["pairs"] == len(made.pairs)
    assert all(count > 0 for count in [*made.dropped.values(), *made.steps.values()])


@given(TABLES)
@patiently
def test_pairs_are_distinct_and_their_negatives_are_no_positives(table):
    """A repeated pair is counted twice by the loss; a positive among the negatives is pushed away."""
    kind, rows = table
    made = converted(kind, rows)
    positives = defaultdict(set)
    for pair in made.pairs if made else []:
        assert pair["positive"] not in positives[pair["query"]]
        positives[pair["query"]].add(pair["positive"])
    for pair in made.pairs if made else []:
        assert not positives[pair["query"]] & set(pair["negatives"])
        assert len(set(pair["negatives"])) == len(pair["negatives"])
        assert pair["query"] not in pair["negatives"] or kind == "classification"


@given(TABLES, st.randoms(use_true_random=False))
@patiently
def test_order_of_the_rows_does_not_matter(table, shuffler):
    """If ids, negatives or samples hung on the order of a file, a re-uploaded dataset would train another model."""
    kind, rows = table
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    first, second = converted(kind, rows), converted(kind, shuffled)
    assert (first is None) == (second is None)
    if first is None:
        return

    def seen(pairs):
        return {(p["query_id"], p["positive_id"], frozenset(p["negatives"]), p["label"], p["label_score"])
                for p in pairs}

    assert seen(first.pairs) == seen(second.pairs)
    assert first.dropped == second.dropped and first.steps == second.steps
    for limit in (1, 3):
        assert seen(sample(first.pairs, limit, 1)[0]) == seen(sample(second.pairs, limit, 1)[0])


@given(TABLES)
@patiently
def test_converting_again_changes_nothing(table):
    """Pairs that are converted a second time (published, then read as a source) stay what they are."""
    kind, rows = table
    made = converted(kind, rows)
    if not made or kind == "sts":
        return
    ready = Source("t", kind, "p", {name: name for name in ("query", "positive", "negatives", "label")})
    again = convert(ready, made.pairs, 7)
    different = [p for p in made.pairs if p["query"] != p["positive"]]  # a text that is its own label's name
    assert [{**p, "label_score": None} for p in different] == again.pairs


# ---- each kind by hand ----------------------------------------------------------------------------------------


def test_nli_by_hand():
    """The report's Figure 1: were one arrow wrong, contradictions would be taught as similar."""
    rows = [dict(zip(("premise", "hypothesis", "label"), row)) for row in (
        ("p", "e1", 0), ("p", "e2", 0), ("p", "n", 1), ("p", "c", 2),  # two entailments, one contradiction
        ("p", "e1", 0), ("p", "both", 0), ("p", "both", 2), ("p", "p", 0), ("p", "u", -1),
        ("q", "e", 0), ("r", "c", 2), ("", "e", 0), ("s", None, 2))]
    made = convert(source("nli"), rows, 0)
    assert [(p["query"], p["positive"], p["negatives"], p["label_score"]) for p in made.pairs] == [
        ("p", "e1", ["c"], 1.0), ("p", "e2", ["c"], 1.0)]
    assert made.dropped == {
        "neutral": 1, "not labelled": 1, "repeated row": 1, "labelled both ways": 2, "hypothesis equals premise": 1,
        "premise without a contradiction": 1, "premise without an entailment": 1, "empty premise or hypothesis": 2}
    assert made.steps == {"rows": 13, "labelled entailment": 7, "labelled neutral": 1, "labelled contradiction": 4,
                          "not labelled": 1, "premises kept": 1, AS_NEGATIVES: 1, "pairs": 2}


@pytest.mark.parametrize("label", [3, "entails", "Neutral"])
def test_nli_refuses_a_label_outside_its_set(label):
    """Taken in silence, a fourth label would be dropped as if it were neutral."""
    with pytest.raises(RecipeError, match=f"tasks: t: columns: label: {label!r} is none of entailment, neut"):
        convert(source("nli"), [{"premise": "p", "hypothesis": "h", "label": label}], 0)


@pytest.mark.parametrize("label, labels, sentence", [
    ("Entailment", {}, r"map it, for example labels: {'Entailment': entailment}\."),
    ("entailment", {"entailment": "contradicton"}, "labels: 'entailment' becomes 'contradicton', which is none of en"),
])
def test_what_mends_a_label_of_nli(label, labels, sentence):
    """If this fails, whoever copies the example drops all entailments, or mends data that is right."""
    with pytest.raises(RecipeError, match=sentence):
        convert(source("nli", labels=labels), [{"premise": "p", "hypothesis": "h", "label": label}], 0)


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \u2060", "\u00ad\u200f", "\u3000"])
def test_a_text_that_nobody_sees_is_empty(text):
    """If this fails, a byte order mark in an empty field is a query that the model is trained on."""
    assert clean(text) == "" and clean(f"a{text}b") == f"a{text}b"


def test_retrieval_by_hand():
    """Several positives become rows; a positive from another row of the same query is never a negative."""
    rows = [{"query": "q", "positive": ["a", "b", "", "q"], "negatives": ["n", "n", "", "c", "b", None]},
            {"query": "q", "positive": "c", "negatives": "m"}, {"query": "q", "positive": "c", "negatives": None},
            {"query": " ", "positive": ["a", "b"], "negatives": []}, {"query": "r", "positive": [], "negatives": "n"},
            {"query": "r", "positive": None, "negatives": ["n"]}]
    made = convert(source("retrieval"), rows, 0)
    assert [(p["query"], p["positive"], p["negatives"]) for p in made.pairs] == [
        ("q", "a", ["n"]), ("q", "b", ["n"]), ("q", "c", ["m"])]
    assert made.dropped == {"empty positive": 3, "positive equals query": 1, "empty query": 2,
                            "repeated (query, positive)": 1}
    assert made.steps["rows"] == 10


def test_judgements_of_zero_are_no_positives():
    """TREC-style judgements list passages that are not relevant; trained on, they would teach the opposite."""
    columns = {"query": "q", "positive": "p", "relevance": "score"}
    rows = [{"query": "q", "positive": f"p{score}", "relevance": score} for score in (1, 0, 2.0, -1, None)]
    made = convert(Source("t", "retrieval", "p", columns), rows, 0)
    assert [p["positive"] for p in made.pairs] == ["p1", "p2.0"]
    assert made.dropped == {"judged not relevant": 3}


def test_sts_by_hand():
    """Scores are mapped to 0..1; a pair that two annotations grade differently has no grade."""
    rows = [dict(zip(("sentence1", "sentence2", "score"), row)) for row in (
        ("a", "b", 5), ("a", "b", "5.0"), ("b", "a", 0), ("c", "d", 1), ("c", "d", 2), ("", "d", 1), ("e", "e", 2.5))]
    made = convert(source("sts"), rows, 0)
    assert [(p["query"], p["positive"], p["label_score"]) for p in made.pairs] == [
        ("a", "b", 1.0), ("b", "a", 0.0), ("e", "e", 0.5)]
    assert made.dropped == {"repeated (query, positive)": 1, "pair with several scores": 2, "empty sentence": 1}


@pytest.mark.parametrize("score", [math.nan, math.inf, None, "high", 5.1, -0.1])
def test_sts_refuses_a_score_out_of_range(score):
    """A NaN would reach the loss and turn every weight into NaN."""
    with pytest.raises(RecipeError, match=r"tasks: t: columns: score: .* in row 0 is no number within score_range"):
        convert(source("sts"), [{"sentence1": "a", "sentence2": "b", "score": score}], 0)


def test_sts_refuses_scores_of_another_scale():
    """Scores from 0 to 1 read as 0 to 5 would teach that the best pairs are nearly unlike, without a word."""
    rows = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "score": n / 20} for n in range(21)]
    with pytest.raises(RecipeError, match=r"no score of 21 pairs is above 1, .*write score_range: \[0, 1\]"):
        convert(source("sts"), rows, 0)
    assert convert(source("sts", score_range=[0, 1]), rows, 0).pairs[-1]["label_score"] == 1.0


def test_classification_by_hand():
    """The label's text is the positive and other labels are negatives; a text with two labels has none."""
    rows = [{"text": t, "label": n} for t, n in (("t1", 0), ("t2", 1), ("t1", 0), ("t3", 0), ("t3", 2), ("", 0))]
    made = convert(source("classification"), rows, 0)
    assert [(p["query"], p["positive"], p["label"], p["negatives"]) for p in made.pairs] == [
        ("t1", "0", "0", ["1"]), ("t2", "1", "1", ["0"])]
    assert made.dropped == {"repeated row": 1, "text with several labels": 2, "empty text or label": 1}


@pytest.mark.parametrize("value", [1, "1", 1.0, " 1 "])
@pytest.mark.parametrize("key", [1, "1"])
def test_labels_are_named_whatever_they_are_written_as(key, value):
    """If this fails, `labels: {1: refund}` does nothing for a file that has "1", and "1" is what the model learns."""
    rows = [{"text": "t1", "label": value}, {"text": "t2", "label": "other"}]
    made = convert(source("classification", labels={key: "refund"}), rows, 0)
    assert [p["label"] for p in made.pairs] == ["refund", "other"]


def test_a_label_that_is_a_fraction():
    """If this fails, the classes 1.1 and 1.10 of a CSV file, which are one number to pandas, become one class."""
    rows = [{"text": "t1", "label": 1.1}, {"text": "t2", "label": 2.0}]
    with pytest.raises(RecipeError, match="labels: the label 1.1 is a number and may stand for several"):
        convert(source("classification"), rows, 0)
    named = convert(source("classification", labels={"1.1": "low"}), rows, 0)
    assert [p["label"] for p in named.pairs] == ["low", "2"]


def test_clustering_by_hand():
    """The positive is of the same category and every negative of another one, or the task would teach noise."""
    sizes = {"x": 40, "y": 9, "z": 2, "lonely": 1}
    names = {f"{label}{i}": label for label, size in sizes.items() for i in range(size)}
    rows = [{"text": text, "label": label} for text, label in names.items()]
    made = convert(source("clustering"), rows, 0)
    assert len(made.pairs) == 51 and made.dropped == {"category with a single text": 1}
    for pair in made.pairs:
        assert names[pair["query"]] == names[pair["positive"]] == pair["label"]
        assert {names[n] for n in pair["negatives"]}.isdisjoint({pair["label"]}) and 1 <= len(pair["negatives"]) <= 7
    assert {p["positive"] for p in made.pairs} == {p["query"] for p in made.pairs}  # each is a positive once
    assert {n for p in made.pairs for n in p["negatives"]} > {"lonely0"}


def test_texts_of_rare_categories_are_not_everybodys_negative():
    """Drawn category first, arXiv's one paper in a rare field was a negative of every fifth row."""
    names = {f"{label}{i}": label for label, size in {"x": 200, "y": 200, "rare": 1}.items() for i in range(size)}
    made = convert(source("clustering"), [{"text": text, "label": label} for text, label in names.items()], 0)
    uses = Counter(negative for pair in made.pairs for negative in pair["negatives"])
    assert uses["rare0"] < 40 and uses.total() > 6.5 * 400  # 14 to be expected; category first, 397
    assert len(uses) > 390


def test_seed_draws_other_negatives():
    """A seed without effect would make repeated runs look like independent ones."""
    rows = [{"text": f"t{i}", "label": i % 30} for i in range(60)]
    drawn = [[p["negatives"] for p in convert(source("classification"), rows, seed).pairs] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_label_pattern_keeps_the_part_that_counts():
    """arXiv lists all categories in one string: taken whole, papers of one field would be each other's negatives."""
    labels = ["cs.CL cs.AI", "cs.CL", "math.CO", " ", "math.CO cs.DM"]
    rows = [{"text": f"t{i}", "label": label} for i, label in enumerate(labels)]
    made = convert(source("clustering", label_pattern=r"^\S+"), rows, 0)
    assert {p["label"] for p in made.pairs} == {"cs.CL", "math.CO"} and made.dropped == {"empty text or label": 1}
    made = convert(source("clustering", label_pattern="^zzz"), rows, 0)
    assert made.dropped == {"no match of label_pattern": 4, "empty text or label": 1}  # which key is to be mended


@pytest.mark.parametrize("kind", ["classification", "clustering"])
def test_a_single_label_is_refused(kind):
    """With one label there is nothing to tell apart, and the loss would be zero from the first step."""
    with pytest.raises(RecipeError, match=f"columns: label: all rows have the label 'x'; a {kind} task needs two"):
        convert(source(kind), [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], 0)


def test_time_grows_with_the_rows_not_their_square():
    """Work that grows with the square of the rows would make real sources take days."""
    draw = random.Random(0)
    rows = [{"text": f"text {i}", "label": draw.randrange(3000)} for i in range(30_000)]
    start = time.process_time()
    made = convert(source("clustering"), rows, 0)
    assert time.process_time() - start < 15  # 1.5 s when written; sorting in the inner loop took minutes
    assert made.steps["rows"] == 30_000 == len(made.pairs) + made.dropped.total()


def test_corpus_sample_keeps_what_the_pairs_need():
    """A positive that is missing from the corpus would have no teacher scores."""
    pairs = convert(source("retrieval"), [{"query": "q", "positive": "a", "negatives": ["n"]}], 0).pairs
    corpus = {text_id(t): t for t in ("a", "n", *map(str, range(50)))}
    for limit, size in ((1, 2), (2, 2), (10, 10), (None, 52)):
        passages = sample_corpus(corpus, pairs, limit, 3)
        assert len(passages) == size and {"a", "n"} <= {p["text"] for p in passages}
        assert all(p["id"] == text_id(p["text"]) for p in passages)
    assert sample_corpus(dict(reversed(corpus.items())), pairs, 10, 3) == sample_corpus(corpus, pairs, 10, 3)
