"""What the convert stage takes literally, and what it leaves alone."""

import os

import pytest
from recipes import mine, train_reranker

from anna_embed import tables
from anna_embed.artifacts import Stage, read_manifest
from anna_embed.config import MineConfig, RerankerConfig
from anna_embed.located import Located
from anna_embed.parsing import RecipeError
from anna_embed.schema import CORPUS

INTENTS = {"name": "intents", "kind": "classification", "columns": {"text": "text", "label": "label"}}
QUESTIONS = {"name": "questions", "kind": "retrieval", "instruction": "Find",
             "columns": {"query": "q", "positive": "p"}}


@pytest.mark.parametrize("name, sep", [("i.csv", ","), ("i.tsv", "\t")])
def test_words_that_mean_nothing_to_pandas(stage, name, sep):
    """If this fails, every row labelled "None" is gone, and the model never hears of that label."""
    lines = [("text", "label"), ("abc d", "None"), ("def g", "refund"), ("ghi k", "None"), ("null", "refund"),
             ("lm", "NA"), ("op", "")]
    stage.run([INTENTS | {"path": stage.data(name, "".join(f"{sep.join(line)}\n" for line in lines))}])
    rows = stage.rows("intents")
    assert sorted(zip(rows["query"], rows["label"])) == [
        ("abc d", "None"), ("def g", "refund"), ("ghi k", "None"), ("lm", "NA"), ("null", "refund")]
    assert stage.manifest()["dropped"] == [{"task": "intents", "reason": "empty text or label", "rows": 1}]


def test_words_in_a_folder_of_csv_files(stage):
    """If this fails, the same rows lose their label "None" as soon as they lie in a dataset's folder."""
    stage.data("folder/train.csv", "text,label\nabc d,None\ndef g,refund\nnull,refund\nop,\n")
    stage.run([INTENTS | {"path": str(stage.folder / "folder")}])
    rows = stage.rows("intents")
    assert sorted(zip(rows["query"], rows["label"])) == [("abc d", "None"), ("def g", "refund"), ("null", "refund")]


def test_a_long_column_of_numbers_with_gaps(stage):
    """If this fails, a folder of CSV files is refused for an "NA" in a column of numbers that no recipe reads."""
    rows = [f"text {n},{'ab'[n % 2]},{n if n % 500 else 'NA'}" for n in range(1, 10_600)]  # read 10,000 at a time
    stage.data("folder/train.csv", "\n".join(["text,label,size", *rows]) + "\n")
    stage.run([INTENTS | {"path": str(stage.folder / "folder"), "limit": 20}])
    assert set(stage.rows("intents")["label"]) == {"a", "b"}


def test_no_number_is_no_label(stage):
    """If this fails, rows without a label in a frame that pandas wrote are a class called "nan", which is trained."""
    rows = '{"text": "a", "label": 1.0}\n{"text": "b", "label": NaN}\n{"text": "c", "label": 2.0}\n'
    stage.run([INTENTS | {"path": stage.data("i.jsonl", rows)}])
    assert sorted(stage.rows("intents")["label"]) == ["1", "2"]


def test_whole_numbers_with_a_gap(stage):
    """If this fails, an empty field makes the label 1 to "1.0", which is what the model is trained to say."""
    stage.run([INTENTS | {"path": stage.data("i.csv", "text,label\na,1\nb,2\nc,\nd,1\n")}])
    assert sorted(stage.rows("intents")["label"]) == ["1", "1", "2"]


def test_a_slice_for_training_leaves_the_held_out_file_whole(stage):
    """If this fails, a held-out file of its own is cut by the slice, or comes out empty."""
    rows = [{"q": f"question {n}", "p": f"passage {n}"} for n in range(6)]
    held = [{"q": f"held {n}", "p": f"other {n}"} for n in range(5)]
    stage.run([QUESTIONS | {"path": stage.data("q.jsonl", rows), "split": "train[2:4]",
                            "test_path": stage.data("held.jsonl", held)}])
    assert stage.manifest()["rows"]["questions"] == {"test": 5, "train": 2}


@pytest.mark.parametrize("keys", [{"test_split": "test"}, {"split": "validation"}])
def test_a_file_has_one_split(stage, keys):
    """Whatever it is called, the whole file would be read: the model would be judged on the rows it was trained on."""
    rows = [{"q": f"question {n}", "p": f"passage {n}"} for n in range(6)]
    said = stage.error([QUESTIONS | {"path": stage.data("q.jsonl", rows), **keys}])
    assert f"questions: {next(iter(keys))}: '" in said and "read as one split, train; write a part of it" in said
    stage.run([QUESTIONS | {"path": stage.data("q.jsonl", rows), "split": "train[:4]", "test_split": "train[4:]"}])
    assert stage.manifest()["rows"]["questions"] == {"test": 2, "train": 4}


def test_which_file_is_which_split_is_part_of_the_key(stage):
    """A card that had them the wrong way round is mended, and the model goes on training on the test file."""
    folder = stage.folder / "mine"
    for name in "ab":
        stage.data(f"mine/{name}.jsonl", [
            {"q": f"question {n} of {name}", "p": f"passage {n} of {name}"} for n in range(3)])
    for train, test in ("ab", "ba"):
        (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files:\n"
                                          f"  - {{split: train, path: {train}.jsonl}}\n"
                                          f"  - {{split: test, path: {test}.jsonl}}\n---\n# Mine\n")
        stage.run([QUESTIONS | {"path": str(folder), "test_split": "test"}])
        assert {query[-1] for query in stage.rows("questions")["query"]} == {train}
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    assert "begins with what is no valid YAML" in stage.error([QUESTIONS | {"path": str(folder)}])


def test_held_out_rows_are_never_trained_on(stage):
    """If this fails, a literal recipe is scored on rows that it was trained on: the two splits overlap here."""
    rows = [{"q": f"question {n}", "p": f"passage {n}"} for n in range(10)]
    stage.run([QUESTIONS | {"path": stage.data("q.jsonl", rows), "split": "train", "test_split": "train[8:]"}],
              decontaminate=False)
    assert stage.manifest()["rows"]["questions"] == {"test": 2, "train": 8}
    assert not set(stage.rows("questions")["query"]) & set(stage.rows("questions", "test")["query"])
    assert not set(stage.rows("questions-corpus")["text"]) & set(stage.rows("questions", "test")["positive"])


def test_overlaps_of_a_literal_recipe_are_those_of_its_sample(stage):
    """Counted before the limit, the card would say that more rows are contaminated than there are."""
    rows = [{"q": f"question {n}", "p": f"passage {n}"} for n in range(30)]
    stage.data("test.jsonl", rows[:20])
    stage.run([QUESTIONS | {"path": stage.data("q.jsonl", rows), "limit": 3}], decontaminate=False,
              test_sets=[{"path": str(stage.folder / "test.jsonl")}])
    kept = set(stage.rows("questions")["query"]) & {row["q"] for row in rows[:20]}
    counts = [n for what, n in stage.manifest()["steps"]["questions"].items() if "test set" in what]
    assert 0 < len(kept) <= 3 and counts == [len(kept)] * 2


def test_a_folder_of_the_users_is_not_replaced(stage):
    """If this fails, `artifacts: project` deletes the user's own project/pairs without a word."""
    rows = [{"q": f"question {n}", "p": f"passage {n}"} for n in range(3)]
    own = stage.pairs / "my_only_copy.txt"
    own.parent.mkdir(parents=True)
    own.write_text("dear")
    said = stage.error([QUESTIONS | {"path": stage.data("q.jsonl", rows)}])
    assert f"artifacts: '{stage.pairs}' is there and no stage made it; move it" in said and own.read_text() == "dear"
    assert not stage.pairs.with_name("pairs.partial").exists()


def test_the_work_of_another_process_is_left_alone(stage, monkeypatch):
    """If this fails, the second of two runs started at once deletes what the first has written."""
    def refuse(_):
        raise RecipeError("convert: process 1 is writing it; wait.")

    rows = [{"q": f"question {n}", "p": f"passage {n}"} for n in range(3)]
    work = stage.pairs.with_name("pairs.partial")
    work.mkdir(parents=True)
    (work / "rows").write_text("of the other process")
    monkeypatch.setattr(Stage, "begin", refuse)
    stage.error([QUESTIONS | {"path": stage.data("q.jsonl", rows)}])
    assert (work / "rows").read_text() == "of the other process"


def test_a_recipe_without_retrieval(stage, monkeypatch):
    """If this fails, who trains on graded pairs alone must run two teachers over nothing, or gets a traceback."""
    graded = [{"a": f"sentence {n}", "b": f"other {n}", "s": n % 6} for n in range(12)]
    stage.run([{"name": "sts", "kind": "sts", "path": stage.data("s.jsonl", graded),
                "columns": {"sentence1": "a", "sentence2": "b", "score": "s"}}])
    config = MineConfig(artifacts=str(stage.pairs.parent))
    mine.main(config, {"artifacts": config.artifacts})
    assert read_manifest(stage.pairs.with_name("triplets"))["rows"] == {"sts": {"train": 12}}
    located = Located("model", str(stage.folder), "digest")
    monkeypatch.setattr(train_reranker, "locate", lambda key, *_: Located(str(stage.pairs), str(stage.pairs), "digest")
                        if key == "pairs" else located)
    keys = {"artifacts": config.artifacts, "base_model": "model", "dense_model": "model"}
    with pytest.raises(RecipeError, match="pairs: '.*pairs' has no retrieval or reranking task, so nothing to rerank"):
        train_reranker.main(RerankerConfig(**keys), keys)


@pytest.mark.parametrize("key", ["max_queries", "hard_from", "batch_size", "epochs", "max_length", "list_size",
                                 "reranker_learning_rate"])
def test_a_reranker_of_nothing(key):
    """If this fails, a zero ends in a traceback of torch, or after the passages were embedded."""
    with pytest.raises(RecipeError, match=f"{key}: 0 is not possible"):
        RerankerConfig(artifacts="a", base_model="m", dense_model="m", **{key: 0})


def test_a_file_of_the_same_name_and_time(stage):
    """If this fails, what came out of another archive is read as the file that was there before, under its new key."""
    for name in ("first", "other"):
        path = stage.data("q.jsonl", [{"q": f"{name} question {n}", "p": f"passage {n}"} for n in range(3)])
        os.utime(path, (0, 0))
        stage.run([QUESTIONS | {"path": path}])
        assert all(query.startswith(name) for query in stage.rows("questions")["query"])


def test_a_name_is_no_pattern(stage):
    """If this fails, `data[1].jsonl` is read from `data1.jsonl`, in silence."""
    stage.data("q1.jsonl", [{"q": f"wrong question {n}", "p": f"passage {n}"} for n in range(3)])
    path = stage.data("q[1].jsonl", [{"q": f"question {n}", "p": f"passage {n}"} for n in range(3)])
    stage.run([QUESTIONS | {"path": path}])
    assert all(query.startswith("question") for query in stage.rows("questions")["query"])


def test_a_lone_quotation_mark_in_a_tsv(stage):
    """If this fails, all rows up to the next quotation mark become one, and none is counted as dropped."""
    rows = 'q\tp\nq one\t"Hamlet\nq two\tplain\nq three\tMacbeth"\nq four\tother\n'
    said = stage.error([QUESTIONS | {"path": stage.data("q.tsv", rows)}])
    assert "has a tab within a value of 'p' ('Hamlet" in said


def test_labels_that_are_called_otherwise(stage):
    """If this fails, `labels: {yes: relevant}` changes nothing, as YAML makes true of yes, and nobody is told."""
    rows = stage.data("i.jsonl", [{"text": f"text {n}", "label": ("yes", "no")[n % 2]} for n in range(6)])
    said = stage.error([INTENTS | {"path": rows, "labels": {True: "relevant", False: "irrelevant"}}])
    assert "labels: none of False, True is a label in '" in said and "which has 'no', 'yes'; write them" in said
    stage.run([INTENTS | {"path": rows, "labels": {"yes": "relevant"}}])
    assert set(stage.rows("intents")["label"]) == {"relevant", "no"}


def test_a_label_that_no_row_has(stage):
    """If this fails, a slip in a label leaves the class its raw name, which is what the model is trained to say."""
    rows = stage.data("i.jsonl", [{"text": f"text {n}", "label": f"lab{n % 2}"} for n in range(6)])
    held = stage.data("h.jsonl", [{"text": "held", "label": "lab0"}, {"text": "held too", "label": "lab2"}])
    task = INTENTS | {"path": rows, "labels": {"lab0": "zero", "lab9": "nine"}}
    assert "labels: none of 'lab9' is a label in '" in stage.error([task])
    stage.run([task | {"labels": {"lab0": "zero", "lab1": "one", "lab9": "nine"}}])  # of more data than this file
    stage.run([task | {"labels": {"lab1": "one"}, "test_path": held}])
    assert set(stage.rows("intents")["label"]) == {"lab0", "one"}


def test_held_out_contradictions(stage):
    """If this fails, the texts that the score tells apart were positives in training."""
    def rows(name, premise, others):
        return stage.data(name, [{"p": premise, "h": h, "l": label} for h, label in others.items()])

    task = {"name": "nli", "kind": "nli", "columns": {"premise": "p", "hypothesis": "h", "label": "l"}}
    train = rows("train.jsonl", "a man walks",
                 {"he lies": "entailment", "he moves": "entailment", "he rests": "contradiction"})
    test = rows("test.jsonl", "a man stands", {"he is still": "entailment", "he lies": "contradiction"})
    stage.run([task | {"path": train, "test_path": test}])
    assert stage.rows("nli")["positive"][:] == ["he moves"]


def test_two_columns_of_negatives(stage):
    """If this fails, two columns of negatives are one negative."""
    rows = stage.data("q.jsonl", [{"q": "a", "p": "b", "m": "c", "n": "d"}])
    said = stage.error([QUESTIONS | {"path": rows, "columns": QUESTIONS["columns"] | {"negatives": ["m", "n"]}}])
    assert "name one column that holds a list" in said


def test_columns_are_made_in_pieces(monkeypatch):
    """If this fails, the 8.8 million passages of MS MARCO end in an overflow, after all of them have been read."""
    rows = [{"id": str(n), "text": f"text {n}"} for n in range(7)]
    monkeypatch.setattr(tables, "PIECE", 3)
    made = tables.from_rows(rows, CORPUS)
    assert made.to_list() == rows and made.features == CORPUS and made.data.column("text").num_chunks == 3
    assert tables.from_rows([], CORPUS).num_rows == 0
