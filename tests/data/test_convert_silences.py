"""Data that libraries read without a word as something else than what stands in the file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from anna_embed import tables
from anna_embed.config import MineConfig
from anna_embed.parsing import RecipeError
from anna_embed.schema import PAIRS
from recipes import mine

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


@pytest.mark.parametrize("labels, expected", [
    ({}, ["joy", "sadness"]), ({"joy": "happiness"}, ["happiness", "sadness"]),
    ({0: "happiness"}, ["happiness", "sadness"]), ({0: "a", 1: "b"}, ["a", "b"]),
])
def test_classes_are_called_by_their_names(stage, labels, expected):
    """If this fails, whoever renames one of the labels that the dataset viewer shows trains a model to answer "1"."""
    (stage.folder / "moods").mkdir()
    Dataset.from_dict({"text": ["so glad", "so sad"], "label": [0, 1]}, features=Features(
        {"text": Value("string"), "label": ClassLabel(names=["joy", "sadness"])})).to_parquet(
        stage.folder / "moods" / "train.parquet")
    stage.run([INTENTS | {"path": str(stage.folder / "moods"), "labels": labels}])
    rows = stage.rows("intents")
    assert [label for _, label in sorted(zip(rows["query"], rows["positive"]))] == expected
    stage.run([QUESTIONS | {"path": str(stage.folder / "moods"), "columns": {"query": "text", "positive": "label"}}])
    assert sorted(stage.rows("questions")["positive"]) == ["joy", "sadness"]


# ---- rows and columns that move ---------------------------------------------------------------------------------


def test_a_lone_quotation_mark_in_a_folder(stage):
    """If this fails, three rows of a TSV file in a dataset's folder become one, and no count says so."""
    stage.data("tsv/train.tsv", 'query\tpositive\nq one\tp one\nq two\t"Hamlet\nq three\tp three\nq four\tMacbeth"\n')
    assert "has a tab within a value of 'positive'" in stage.error([QUESTIONS | {"path": f"{stage.folder}/tsv"}])


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
    assert f"cannot read '{path}': " in said and "Invalid UTF8" in said


# ---- ids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows, corpus, sentence", [
    ([{"q": "one", "pid": "d1"}], [{"_id": "d1", "text": "right"}, {"_id": "d1", "text": "other"}],
     "has two texts of the id 'd1' ('right' and 'other')"),
    ([{"q": "one", "pid": "d1"}, {"q": "two", "pid": None}],
     [{"_id": "d1", "text": "right"}, {"_id": None, "text": "nobody's"}], "'None' in"),
])
def test_an_id_names_one_text(stage, rows, corpus, sentence):
    """If this fails, queries are trained with the passage that came last of those with their positive's id."""
    stage.data("ids/README.md", CARD)
    stage.data("ids/train.jsonl", rows)
    stage.data("ids/corpus.jsonl", corpus)
    assert sentence in stage.error([BY_ID | {"path": f"{stage.folder}/ids"}])


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


def test_a_task_is_not_called_like_a_key(stage):
    """If this fails, a recipe whose task is called `tasks` says that it is up to date, whatever is changed in it."""
    for name in ("tasks", "seed"):
        said = stage.error([QUESTIONS | {"name": name, "path": "q.jsonl"}])
        assert f"tasks: {name}: name: it is a key of the recipe; call the task otherwise" in said
