"""The audit finds copies of test texts however they are written, and nothing else."""

import unicodedata

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.data.audit import Protected, all_texts, drop_protected, normalise, overlaps, texts_of_test_set
from anna_embed.data.convert import convert
from anna_embed.data.source import Source
from anna_embed.located import Located
from dataset_folders import write_dataset

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
patiently = settings(deadline=None, derandomize=True, max_examples=300)


def pairs_of(*rows, kind="retrieval"):
    columns = {"query": "query", "positive": "positive", "negatives": "negatives"}
    rows = [dict(zip(columns, row)) for row in rows]
    return convert(Source("t", kind, "p", columns), rows, 0).pairs


@given(TEXT, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]), st.sampled_from([" ", "\t\n", "\u00a0", "\u2009 "]))
@patiently
def test_another_form_is_the_same_text(text, form, space):
    """A test sentence that was copied through another editor would slip into training."""
    copy = f"{space}{space.join(unicodedata.normalize(form, text).split(' '))}{space}"
    assert normalise(copy) == normalise(text)
    assert normalise(text.casefold()) == normalise(text)
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize("copy", ["the CAFÉ is open.", "  The café\n is   open. ", "The cafe\u0301 is open.",
                                  "The ｃafé is open.", "The café is\u200b open.", "\ufeffThe café is open."])
def test_planted_copies_are_found(copy):
    """Each of these is the same sentence to a reader, and to the model nearly so."""
    protected = Protected()
    protected.add("STS", ["The café is open."])
    pairs = pairs_of(("q1", "kept", []), (copy, "a", []), ("q2", copy, []), ("q3", "b", [copy, "fine"]))
    kept, dropped, gone = drop_protected(pairs, "retrieval", protected)
    assert [(p["query"], p["negatives"]) for p in kept] == [("q1", []), ("q3", ["fine"])]
    assert dropped == {"text occurs in the test set STS": 2} and gone == 1


def test_other_texts_are_kept():
    """Too eager an audit would empty the training set."""
    protected = Protected()
    protected.add("STS", ["The café is open.", "a b"])
    pairs = pairs_of(("The café is open", "The cafés are open.", ["The café is open. Come in."]), ("ab", "a  c", []))
    assert drop_protected(pairs, "retrieval", protected)[0] == pairs


def test_labels_of_a_classification_task_are_not_matched():
    """All training and test rows share the labels: matched, they would drop every row."""
    protected = Protected()
    protected.add("intents", ["play music", "wake me up"])
    pairs = pairs_of(("put on a song", "play music", ["set alarm", "wake me up"]), ("Wake me up", "set alarm", []),
                     kind="classification")
    kept, dropped, gone = drop_protected(pairs, "classification", protected)
    assert [(p["query"], p["negatives"]) for p in kept] == [("put on a song", ["set alarm", "wake me up"])]
    assert dropped.total() == 1 and gone == 0


def test_all_texts_of_any_shape_are_protected():
    """A test set whose texts are nested would otherwise protect nothing, and say so to nobody."""
    rows = Dataset.from_list([{
        "id": f"id{i}", "split": "test set", "label_text": "two words", "n": i, "s": f"sentence number {i}",
        "list": [f"first of {i}", f"second of {i}"], "dict": {"text": [f"deep in {i}"]}} for i in range(40)])
    texts = set(all_texts(rows))
    assert len(texts) == 4 * 40 and {"sentence number 3", "second of 7", "deep in 39"} <= texts
    assert not {"two words", "test set"} & texts


def test_single_words_among_texts_are_protected():
    """"quiet" and "snooze" are utterances of MASSIVE: left out as if they were ids, they would be trained on."""
    words = ["quiet", "snooze", "", " "]
    rows = Dataset.from_list([{"id": f"id{i}", "lang": "en", "label": ["alarm_set", "play music"][i % 2],
                               "text": words[i] if i < 4 else f"utterance number {i}"} for i in range(60)])
    assert set(all_texts(rows)) == {"quiet", "snooze", *(f"utterance number {i}" for i in range(4, 60))}


def test_repeated_sentences_are_not_taken_for_labels():
    """NLI test sets state each premise three times, reading sets each passage often; they are texts all the same."""
    rows = Dataset.from_list([{"premise": f"premise number {i // 10}", "hypothesis": f"hypothesis number {i}"}
                              for i in range(90)])
    assert len(set(all_texts(rows))) == 99


def test_judgements_that_repeat_their_queries_are_protected():
    """A row for each (query, document) repeats each query 50 times: taken for labels, no query would be protected."""
    rows = Dataset.from_list([{"query": f"what is the question number {q}", "passage": f"passage {p} of {q}",
                               "relevance": "not relevant"} for q in range(9) for p in range(50)])
    assert set(all_texts(rows)) == {*(f"what is the question number {q}" for q in range(9)),
                                    *(f"passage {p} of {q}" for q in range(9) for p in range(50))}


@pytest.mark.parametrize("texts", [["我喜欢在公园里跑步", "今天天气很好"], ["犬が公園で走っている", "猫が寝ている"],
                                   ["สุนัขกำลังวิ่งในสวน", "แมวกำลังนอนหลับ"]])
def test_texts_without_spaces_are_protected(texts):
    """Every sentence is one "word" there, as an id is: none would be protected, and nothing said."""
    rows = Dataset.from_list([{"id": f"id{n}", "lang": "zh", "text": text} for n, text in enumerate(texts)])
    assert list(all_texts(rows)) == texts


def test_a_text_of_several_test_sets_counts_for_each():
    """STSBenchmark is put together from STS12 to STS17: counted once, the card would clear all sets but the first."""
    protected = Protected()
    protected.add("STS12", ["a man runs", "a dog"])
    protected.add("STS14", ["A man  runs", "a cat"])
    pairs = pairs_of(("a man runs", "a cat", []), ("a dog", "other", []), ("fine", "clean", ["a dog"]))
    found = overlaps(pairs, "sts", protected)
    assert found == {"pairs that share a text with the test set STS12": 2,
                     "pairs that share a text with the test set STS14": 1}
    assert drop_protected(pairs, "sts", protected)[1] == {"text occurs in the test set STS12": 2}
    assert overlaps(pairs_of(("x", "a dog", []), kind="classification"), "classification", protected) == {}


def test_judged_queries_are_protected_in_beir_shape(tmp_path):
    """BEIR's splits are ids, and its query table mixes training with test queries: all of it protects too much."""
    tables = {("default", "test"): [{"query-id": "q1", "corpus-id": "d1", "score": 1}],
              ("queries", "queries"): [{"_id": "q1", "text": "a test question"}, {"_id": "q2", "text": "another one"}],
              ("corpus", "corpus"): [{"_id": "d1", "title": "", "text": "a passage for both"}]}
    at = Located("org/beir", write_dataset(tmp_path, tables), "digest")
    assert texts_of_test_set(at, {"path": "org/beir"}) == ["a test question"]
