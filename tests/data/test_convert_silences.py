"""Data that libraries read without a word as something else than what stands in the file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from anna_embed import tables
from anna_embed.config import MineConfig
from anna_embed.parsing import RecipeError
from anna_embed.schema import PAIRS, TRIPLETS
from recipes import mine
from small import triplet

INTENTS = {"name": "intents", "kind": "classification", "columns": {"text": "text", "label": "label"}}
QUESTIONS = {"name": "questions", "kind": "retrieval", "instruction": "Find",
             "columns": {"query": "query", "positive": "positive"}}
CARD = """---
configs:
- {config_name: default, data_files: [{split: train, path: train.jsonl}]}
- {config_name: corpus, data_files: [{split: corpus, path: corpus.jsonl}]}
---
"""
BY_ID = QUESTIONS | {"columns": {"query": "q", "positive_id": "pid"},
                     "corpus": {"config": "corpus", "split": "corpus", "id": "_id", "text": "text"}}


# ---- names of classes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names, labels, expected", [
    (["joy", "sadness"], {}, ["joy", "sadness"]),
    (["joy", "sadness"], {"joy": "happiness"}, ["happiness", "sadness"]),
    (["joy", "sadness"], {0: "happiness"}, ["happiness", "sadness"]),
    (["joy", "sadness"], {0: "a", 1: "b"}, ["a", "b"]),
    (["1", "2"], {1: "one star", 2: "two stars"}, ["one star", "two stars"]),
    (["1", "2"], {0: "one star", 1: "two stars"}, ["one star", "two stars"]),
])
def test_classes_are_called_by_their_names(stage, names, labels, expected):
    """If this fails, whoever renames labels that the dataset viewer shows trains a model to answer "1", or two classes
    become one."""
    (stage.folder / "moods").mkdir()
    Dataset.from_dict({"text": ["so glad", "so sad"], "label": [0, 1]}, features=Features(
        {"text": Value("string"), "label": ClassLabel(names=names)})).to_parquet(
        stage.folder / "moods" / "train.parquet")
    stage.run([INTENTS | {"path": str(stage.folder / "moods"), "labels": labels}])
    rows = stage.rows("intents")
    assert [label for _, label in sorted(zip(rows["query"], rows["positive"]))] == expected
    stage.run([QUESTIONS | {"path": str(stage.folder / "moods"), "columns": {"query": "text", "positive": "label"}}])
    assert sorted(stage.rows("questions")["positive"]) == names


def test_yes_and_no_are_no_numbers(stage):
    """If this fails, YAML's `yes:` renames class 1, which may be called no."""
    (stage.folder / "votes").mkdir()
    Dataset.from_dict({"text": ["a b", "c d"], "label": [0, 1]}, features=Features(
        {"text": Value("string"), "label": ClassLabel(names=["yes", "no"])})).to_parquet(
        stage.folder / "votes" / "train.parquet")
    said = stage.error([INTENTS | {"path": f"{stage.folder}/votes", "labels": {True: "approved", False: "rejected"}}])
    assert "labels: none of False, True is a label" in said


# ---- rows and columns that move ---------------------------------------------------------------------------------


def test_a_lone_quotation_mark_in_a_folder(stage):
    """If this fails, three rows of a TSV file in a dataset's folder become one, and no count says so."""
    stage.data("tsv/train.tsv", 'query\tpositive\nq one\tp one\nq two\t"Hamlet\nq three\tp three\nq four\tMacbeth"\n')
    assert "has a tab within a value of 'positive'" in stage.error([QUESTIONS | {"path": f"{stage.folder}/tsv"}])


def test_a_tab_that_is_meant(stage):
    """If this fails, a folder's TSV with a properly quoted tab is refused."""
    stage.data("tsv/train.tsv", 'query\tpositive\n"q\tone"\tp one\nq two\tp two\n')
    stage.run([QUESTIONS | {"path": f"{stage.folder}/tsv"}])
    assert sorted(stage.rows("questions")["positive"]) == ["p one", "p two"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_comma_at_the_end_of_each_row(stage, folder):
    """If this fails, pandas takes the first column for names of rows: the positive is trained as the query."""
    file = stage.data("csv/train.csv", "query,positive,note\nq one,p one,n,\nq two,p two,n,\n")
    said = stage.error([QUESTIONS | {"path": f"{stage.folder}/csv" if folder else file}])
    assert "have more fields than its first line has names; mend" in said


# ---- text that is none ------------------------------------------------------------------------------------------


def test_bytes_are_no_text(stage):
    """If this fails, a model is trained on queries like `b'what is x'`."""
    pq.write_table(pa.table({"query": [b"what is x"], "positive": ["x is a letter"]}), stage.folder / "b.parquet")
    assert "columns: query: 'query' holds the bytes b'what is x', no text" in stage.error(
        [QUESTIONS | {"path": f"{stage.folder}/b.parquet"}])


def test_text_that_is_not_utf_8(stage):
    """If this fails, a file in Latin-1 ends in a traceback."""
    path = stage.folder / "latin.jsonl"
    path.write_bytes('{"query": "caf\xe9", "positive": "ol\xe9"}\n'.encode("latin-1"))
    said = stage.error([QUESTIONS | {"path": str(path)}])
    assert f"of '{path}' is no text in UTF-8 (" in said and said.endswith("store it so.")


def test_bytes_in_a_column_that_nobody_reads(stage):
    """If this fails, a dataset is refused for what the recipe does not use."""
    raw = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xe9")])
    pq.write_table(pa.table({"query": ["what is x"], "positive": ["x is y"], "raw": raw}), stage.folder / "b.parquet")
    stage.run([QUESTIONS | {"path": f"{stage.folder}/b.parquet"}])
    assert stage.rows("questions")["query"][:] == ["what is x"]


# ---- ids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows, corpus, sentence", [
    ([{"q": "one", "pid": "d1"}], [{"_id": "d1", "text": "right"}, {"_id": "d1", "text": "other"}],
     "is the id of several texts in its corpus table; mend the data, or set on_missing_id: drop"),
    ([{"q": "one", "pid": "d1"}, {"q": "two", "pid": None}],
     [{"_id": "d1", "text": "right"}, {"_id": None, "text": "nobody's"}], "'None' in"),
])
def test_an_id_names_one_text(stage, rows, corpus, sentence):
    """If this fails, queries are trained with the passage that came last of those with their positive's id."""
    stage.data("ids/README.md", CARD)
    stage.data("ids/train.jsonl", rows)
    stage.data("ids/corpus.jsonl", corpus)
    assert sentence in stage.error([BY_ID | {"path": f"{stage.folder}/ids"}])


def test_an_id_that_no_row_names(stage):
    """If this fails, a corpus is refused for a fault in what nobody asks of it."""
    stage.data("ids/README.md", CARD)
    stage.data("ids/train.jsonl", [{"q": "one", "pid": "d1"}])
    stage.data("ids/corpus.jsonl", [{"_id": "d1", "text": "right"}, *({"_id": "d7", "text": t} for t in "xyx")])
    stage.run([BY_ID | {"path": f"{stage.folder}/ids"}])
    assert stage.rows("questions")["positive"][:] == ["right"]


@pytest.mark.parametrize("part", ["id", "text"])
def test_a_column_is_named_by_a_string(stage, part):
    """If this fails, `id: 0` is a traceback."""
    table = BY_ID["corpus"] | {part: 0}
    assert f"tasks: questions: corpus: {part}: 0 " in stage.error([BY_ID | {"path": "x", "corpus": table}])


# ---- what is not all there --------------------------------------------------------------------------------------


def test_a_dataset_in_part(stage):
    """If this fails, a mirror that holds the training file of a dataset and its card ends in a traceback."""
    stage.data("part/train.jsonl", [{"query": "a", "positive": "b c"}])
    stage.data("part/README.md", "---\ndataset_info:\n  features: [{name: query, dtype: string}, {name: positive, "
               "dtype: string}]\n  splits: [{name: train, num_bytes: 9, num_examples: 1}, {name: test, num_bytes: 9, "
               "num_examples: 1}]\n---\n")
    said = stage.error([QUESTIONS | {"path": f"{stage.folder}/part"}])
    assert "has other splits or numbers of rows than its card says under dataset_info ({'test'})" in said


def test_an_artifact_in_part(stage, monkeypatch):
    """If this fails, half of the rows are mined and trained after a copy that was interrupted, in silence."""
    monkeypatch.setattr(tables, "SHARD_BYTES", 20_000)
    stage.run([INTENTS | {"path": stage.data("i.jsonl", [{"text": f"text {n}", "label": f"l{n % 3}"}
                                                         for n in range(300)])}])
    first, second = sorted((stage.pairs / "intents").glob("train-*"))
    config = MineConfig(artifacts=str(stage.pairs.parent))
    whole = second.read_bytes()
    second.unlink()
    with pytest.raises(RecipeError, match="has 1 file.s., and by their names there are 2; fetch them all"):
        mine.main(config, {})
    second.write_bytes(whole[:3000])
    with pytest.raises(RecipeError, match=r"cannot read 'intents', split 'train', of .* \(.*\); fetch it again"):
        mine.main(config, {})
    second.write_bytes(whole)
    for file in (first, second):
        rows = pq.read_table(file)
        place = rows.schema.get_field_index("query")
        pq.write_table(rows.set_column(place, "query", pa.array([["no text"]] * len(rows))), file)
    with pytest.raises(RecipeError, match="a column of 'intents' in .* is of another type"):
        tables.read_split("pairs", str(stage.pairs), "intents", "train", PAIRS)


@pytest.mark.parametrize("column, value", [
    ("query", None), ("query", ""), ("positive", ""), ("negatives", None), ("negatives", ["n", None]),
    ("negatives", ["n", ""]), ("negative_ids", [None]), ("sibling_positive_ids", None), ("teacher_rrf", [1.0, None])])
def test_a_text_that_is_not_there(tmp_path, column, value):
    """If this fails, a null in somebody else's triplets is a traceback in the middle of training, and an empty query
    is trained without a word."""
    rows = [triplet("q", "p", ["n", "m"], scores=[3, 2, 1]), triplet("q", "p")]
    tables.write_split(tmp_path, "good", "train", rows, TRIPLETS)
    assert tables.read_split("triplets", str(tmp_path), "good", "train", TRIPLETS).to_list() == rows
    tables.write_split(tmp_path, "mine", "train", [*rows, rows[0] | {column: value}], TRIPLETS)
    with pytest.raises(RecipeError, match=f"triplets: row 2 of 'mine', split 'train', in '{tmp_path}' has a null or "
                                          f"an empty text in the column '{column}'; leave such rows out"):
        tables.read_split("triplets", str(tmp_path), "mine", "train", TRIPLETS)


def test_a_task_is_not_called_like_a_key(stage):
    """If this fails, a recipe whose task is called `tasks` says that it is up to date, whatever is changed in it."""
    for name in ("tasks", "seed"):
        said = stage.error([QUESTIONS | {"name": name, "path": "q.jsonl"}])
        assert f"tasks: {name}: name: it is a key of the recipe; call the task otherwise" in said
