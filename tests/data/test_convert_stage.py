"""The convert stage on small files: what it writes, when it runs again, what it refuses without breaking anything."""

import errno

import pytest
from dataset_folders import write_dataset
from datasets import get_dataset_config_names

from anna_embed import tables
from anna_embed.artifacts import digest
from anna_embed.schema import CORPUS, PAIRS

QUESTIONS = [{"q": f"question {i}", "p": f"passage number {i}", "n": [f"wrong passage {i}"]} for i in range(12)]
GRADED = [{"a": f"sentence {i}", "b": f"other sentence {i}", "s": i % 6} for i in range(12)]
INTENTS = [{"text": f"utterance {i}", "label": ["play music", "set alarm", "send mail"][i % 3]} for i in range(12)]
JUDGED = [{"premise": f"premise {i // 3}", "hypothesis": f"hypothesis {i}", "label": i % 3} for i in range(12)]
NLI_LABELS = {0: "entailment", 1: "neutral", 2: "contradiction"}


def tasks(stage, **questions):
    """One task of each kind; `questions` changes the retrieval task."""
    data = stage.data
    return [
        {"name": "my questions", "kind": "retrieval", "instruction": "Find it.", "path": data("q.jsonl", QUESTIONS),
         "columns": {"query": "q", "positive": "p", "negatives": "n"}, "licence": "CC0-1.0", **questions},
        {"name": "sts", "kind": "sts", "path": data("s.jsonl", GRADED),
         "columns": {"sentence1": "a", "sentence2": "b", "score": "s"}},
        {"name": "intents", "kind": "classification", "path": data("i.jsonl", INTENTS),
         "columns": {"text": "text", "label": "label"}},
        {"name": "topics", "kind": "clustering", "path": data("t.jsonl", INTENTS),
         "columns": {"text": "text", "label": "label"}},
        {"name": "nli", "kind": "nli", "path": data("n.jsonl", JUDGED), "labels": NLI_LABELS,
         "columns": {"premise": "premise", "hypothesis": "hypothesis", "label": "label"}}]


def test_artifact_opens_with_load_dataset(stage):
    """People browse it on the Hub, where only what `load_dataset` reads is seen."""
    stage.run(tasks(stage))
    sizes = {"my questions": 12, "sts": 12, "intents": 12, "topics": 12, "nli": 4}
    assert set(get_dataset_config_names(str(stage.pairs))) == {*sizes, "my questions-corpus"}
    for name, size in sizes.items():
        rows = stage.rows(name)
        assert rows.features == PAIRS and len(rows) == size and set(rows["task"]) == {name}
        assert stage.manifest()["rows"][name] == {"train": size}
    corpus = stage.rows("my questions-corpus")
    assert corpus.features == CORPUS and len(corpus) == 24
    card = (stage.pairs / "README.md").read_text()
    assert "my questions" in card and "neutral" in card


def test_every_row_is_accounted_for(stage):
    """Rows, pairs and drops in the manifest have to add up, or nobody can tell what a model was trained on."""
    held = stage.data("held.jsonl", [*QUESTIONS[:3], {"q": "new", "p": "new", "n": []}])
    stage.run(tasks(stage, limit=7, test_path=held))
    manifest = stage.manifest()
    for task, steps in manifest["steps"].items():
        name, _, split = task.partition(" (test)")
        written = manifest["rows"][name]["test" if _ else "train"]
        dropped = sum(d["rows"] for d in manifest["dropped"] if d["task"] == task)
        assert steps["rows"] == written + dropped + steps.get("contradictions kept as hard negatives", 0), task
    reasons = {(d["task"], d["reason"]): d["rows"] for d in manifest["dropped"]}
    assert reasons["my questions", "text occurs in the test set my questions"] == 3
    assert reasons["my questions", "over limit"] == 2
    assert reasons["my questions (test)", "positive equals query"] == 1
    assert reasons["nli", "neutral"] == 4


def test_second_run_does_nothing(stage):
    """A rerun that worked for hours to make the same files would make people skip it."""
    stage.run(tasks(stage))
    before = digest(stage.pairs), (stage.pairs / "manifest.json").stat().st_mtime_ns
    assert "is up to date" in stage.run(tasks(stage))
    assert before == (digest(stage.pairs), (stage.pairs / "manifest.json").stat().st_mtime_ns)


@pytest.mark.parametrize("change", ["key", "data", "deleted file"])
def test_a_change_makes_it_again(stage, change, monkeypatch):
    """An artifact that does not belong to its recipe trains the wrong model under the right name."""
    stage.run(tasks(stage))
    key = stage.manifest()["key"]
    if change == "data":
        monkeypatch.setitem(QUESTIONS[0], "q", "another question")
    if change == "deleted file":
        next(stage.pairs.glob("sts/*.parquet")).unlink()
    out = stage.run(tasks(stage, **({"limit": 5} if change == "key" else {})))
    assert "made" in out and (stage.manifest()["key"] == key) == (change == "deleted file")
    assert len(stage.rows("sts")) == 12


def test_held_out_rows_are_not_trained_on(stage):
    """Scores on rows that were trained on say nothing about the model."""
    copies = [{"q": " QUESTION  3", "p": "unseen passage", "n": []}, {"q": "unseen", "p": "passage number 4", "n": []}]
    stage.run(tasks(stage, test_path=stage.data("held.jsonl", copies)))
    train = stage.rows("my questions")
    test = stage.rows("my questions", "test")
    assert len(test) == 2 and len(train) == 10
    assert not {"question 3", "question 4"} & set(train["query"])
    assert "passage number 4" not in stage.rows("my questions-corpus")["text"]


def test_test_sets_are_audited(stage):
    """With the literal mixture the rows stay, but the card counts what stayed."""
    test_set = write_dataset(stage.folder / "sts-test", {("default", "test"): [
        {"sentence1": "Sentence 5", "sentence2": "never seen", "score": 1.0}]})
    stage.run(tasks(stage), test_sets=[{"path": test_set}])
    assert stage.manifest()["rows"]["sts"] == {"train": 11}
    drop = {"task": "sts", "reason": f"text occurs in the test set {test_set}", "rows": 1}
    assert drop in stage.manifest()["dropped"]
    stage.run(tasks(stage), test_sets=[{"path": test_set}], decontaminate=False)
    assert stage.manifest()["rows"]["sts"] == {"train": 12}
    assert stage.manifest()["steps"]["sts"][f"kept although the text occurs in the test set {test_set}"] == 1


def test_rows_are_left_out_by_a_column(stage):
    """Rows whose origin is a test set not at hand can be told by a column only; in the test split they stay."""
    rows = [{**row, "year": [2012, 2015, 2016][i % 3]} for i, row in enumerate(GRADED)]
    columns = {"sentence1": "a", "sentence2": "b", "score": "s"}
    held = [{**row, "a": f"held {row['a']}", "b": f"held {row['b']}"} for row in rows]
    task = {"name": "sts", "kind": "sts", "columns": columns, "path": stage.data("y.jsonl", rows),
            "test_path": stage.data("h.jsonl", held), "leave_out": {"year": ["2015", "2016"]}}
    stage.run([task])
    manifest = stage.manifest()
    assert manifest["rows"]["sts"] == {"test": 12, "train": 4}
    assert manifest["steps"]["sts"] == {"rows": 12, "pairs": 4}
    assert manifest["dropped"] == [{"task": "sts", "reason": f"year is {year}", "rows": 4} for year in (2015, 2016)]
    assert {row["query"] for row in stage.rows("sts")} == {row["a"] for row in rows if row["year"] == 2012}
    assert stage.error([{**task, "leave_out": {"year": ["2015", "2017"]}}]).endswith(
        "/y.jsonl' has '2017'; name values that it has: 2012, 2015, 2016.")
    assert "has no column 'yaer'; name one that it has" in stage.error([{**task, "leave_out": {"yaer": ["2015"]}}])


def test_a_test_set_without_texts_is_refused(stage):
    """It would protect nothing, and the card would say that it was audited against."""
    at = write_dataset(stage.folder / "ids", {("default", "test"): [{"id": "a1", "score": 1.0}]})
    assert stage.error(tasks(stage), test_sets=[{"path": at}]).endswith(
        "holds no text, only id, score; name a config and split that hold texts.")


def test_mirror_is_read_instead_of_the_hub(stage):
    """Machines without a Hub have nothing else."""
    rows = [{"question": f"q{i}", "passage": f"p{i}"} for i in range(4)]
    held = [{"question": "held", "passage": "out"}]
    write_dataset(stage.folder / "mirror/datasets/google/boolq", {("default", "train"): rows,
                                                                  ("default", "validation"): held})
    (stage.folder / "empty").mkdir()
    stage.run([{"name": "BoolQ"}], "--mirror", str(stage.folder / "empty"), "--mirror", str(stage.folder / "mirror"))
    assert stage.manifest()["rows"] == {"BoolQ": {"test": 1, "train": 4}, "BoolQ-corpus": {"test": 1, "train": 4}}
    assert stage.manifest()["tasks"]["BoolQ"]["path"] == "google/boolq"


# ---- bad input -------------------------------------------------------------------------------------------------


def broken(stage, name="my questions", **changes):
    return [{**task, **(changes if task["name"] == name else {})} for task in tasks(stage)]


def corpus_without(stage):
    """A dataset whose judgements name a passage that its corpus does not have."""
    return write_dataset(stage.folder / "beir", {
        ("default", "train"): [{"q": "question", "corpus-id": "d7"}],
        ("corpus", "corpus"): [{"_id": "d1", "text": "t"}]})


NAN = '{"a": "x", "b": "y", "s": 1}\n{"a": "x", "b": "z", "s": NaN}\n'
EMPTY = [{"q": "", "p": "x", "n": []}, {"q": "x", "p": "", "n": []}]
PAIRS_OF = {"query": "q", "positive": "q"}
BY_ID = {"columns": {"query": "q", "positive_id": "corpus-id"},
         "corpus": {"config": "corpus", "split": "corpus", "id": "_id", "text": "text"}}
BAD = {  # what is wrong: the recipe, and what has to be said ({} stands for the folder)
    "unknown task": (lambda s: [{"name": "BoolQQ"}],
                     "tasks: 'BoolQQ' is not in the sources table (did you mean 'BoolQ'?); take a name that `python"),
    "missing file": (lambda s: broken(s, path="nowhere.jsonl"),
                     "tasks: my questions: path: there is no file 'nowhere.jsonl'; give the path of a JSONL, CS"),
    "no data file": (lambda s: broken(s, path=s.data("q.txt", "x")),
                     "tasks: my questions: path: '{}/q.txt' is no data file by its name; the endings are"),
    "missing column": (lambda s: broken(s, columns={"query": "question", "positive": "p"}),
                       "tasks: my questions: columns: '{}/q.jsonl' has no column 'question'; name one that it has:"),
    "empty texts": (lambda s: broken(s, path=s.data("e.jsonl", EMPTY)),
                    "no pair is left of the 2 rows of '{}/e.jsonl', split 'train' (dropped: {{'empty query': 1, 'em"),
    "only positive empty": (lambda s: broken(s, path=s.data("e.jsonl", [{"q": "x", "p": [" "], "n": ["n"]}])),
                            "no pair is left of the 1 rows of '{}/e.jsonl', split 'train' (dropped: {{'empty positi"),
    "empty file": (lambda s: broken(s, path=s.data("e.jsonl", "")),
                   "tasks: my questions: cannot read '{}/e.jsonl': it holds no rows; mend "),
    "header alone": (lambda s: broken(s, path=s.data("h.csv", "q,p,n\n")),
                     "tasks: my questions: cannot read '{}/h.csv': it holds no rows; mend the file."),
    "broken JSONL": (lambda s: broken(s, path=s.data("b.jsonl", '{"q": "a", "p": "b"}\n{"q": "a", "p"\n')),
                     "tasks: my questions: cannot read '{}/b.jsonl': line 2 is no valid JSON, from column 15 on"),
    "NaN score": (lambda s: broken(s, "sts", path=s.data("e.jsonl", NAN)),
                  "tasks: sts: columns: score: nan in row 1 is no number within score_range [0.0, 5.0]; mend t"),
    "label outside": (lambda s: broken(s, "nli", labels={0: "entailment", 1: "neutral"}),
                      "tasks: nli: columns: label: 2 is none of entailment, neutral, contradiction; map it, fo"),
    "unknown id": (lambda s: broken(s, path=corpus_without(s), **BY_ID),
                   "tasks: my questions: columns: corpus-id: 'd7' in '{}/beir' is the id of nothing in its co"),
    "unknown split": (lambda s: broken(s, path=corpus_without(s), split="trian", columns=PAIRS_OF),
                      "tasks: my questions: cannot read config None, split 'trian' of '{}/beir': Unknown split"),
    "unknown config": (lambda s: broken(s, path=corpus_without(s), config="dfault", columns=PAIRS_OF),
                       "cannot read config 'dfault', split 'train' of '{}/beir': BuilderConfig 'dfault' not found"),
    "one label": (lambda s: broken(s, "intents", path=s.data("e.jsonl", [{"text": "a", "label": "x"}])),
                  "tasks: intents: columns: label: all rows have the label 'x'; a classification task needs tw"),
    "not on this mirror": (lambda s: [{"name": "SQuAD"}],
                           "tasks: SQuAD: path: no mirror holds the dataset 'rajpurkar/squad'"),
    "no gzip": (lambda s: broken(s, path=s.data("q.jsonl.gz", "x")),
                "tasks: my questions: cannot read '{}/q.jsonl.gz': "),
    "relevance in words": (lambda s: broken(s, path=s.data("r.jsonl", [{"q": "a", "p": "b", "r": "yes"}]),
                                            columns={"query": "q", "positive": "p", "relevance": "r"}),
                           "tasks: my questions: columns: relevance: 'yes' is no number; mend the row, or leave"),
    "one file for both": (lambda s: broken(s, test_path=s.data("q.jsonl", QUESTIONS)),
                          "tasks: my questions: test_path: '{}/q.jsonl' is not possible; the same rows cannot be"),
    "all contaminated": (lambda s: broken(s, test_path=s.data("same.jsonl", QUESTIONS)),
                         "tasks: my questions: all 12 training pairs occur in a test set ({{'text occurs in"),
}


def test_what_frees_training_rows(stage):
    """If this fails, who follows the sentence sets `decontaminate: false` for held-out rows, and is refused again."""
    same = stage.data("same.jsonl", QUESTIONS)
    held_out, test_set = tasks(stage, test_path=same), [{"path": same}]
    assert stage.error(held_out).endswith("; leave the task out, or train on another split.")
    assert "Held-out rows" not in stage.capsys.readouterr().err
    assert stage.error(tasks(stage), test_sets=test_set).endswith("split, or set decontaminate: false.")
    stage.run(tasks(stage), test_sets=test_set, decontaminate=False)


def test_a_refused_first_run_leaves_nothing(stage):
    """If this fails, an empty folder is left of a run that was refused."""
    task = tasks(stage, path=stage.data("e.jsonl", EMPTY))[0]
    assert "no pair is left" in stage.error([task]) and not stage.pairs.parent.exists()


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence_and_breaks_nothing(stage, what):
    """A traceback tells the user nothing, and a half-written artifact would be taken for a whole one."""
    good = tasks(stage)
    stage.run(good)
    before = digest(stage.pairs)
    make, message = BAD[what]
    (stage.folder / "empty").mkdir(exist_ok=True)
    said = stage.error(make(stage), *(["--mirror", str(stage.folder / "empty")] if "mirror" in what else []))
    assert message.format(stage.folder) in said and said.endswith(".") and "\n" not in said
    assert digest(stage.pairs) == before and not list(stage.folder.glob("artifacts/*.partial"))
    assert "is up to date" in stage.run(good)


def test_missing_ids_may_be_dropped(stage):
    """Of a large dataset a part of the corpus may be all that fits; the rows that it lacks are counted."""
    path = write_dataset(stage.folder / "beir", {
        ("default", "train"): [{"q": "question", "corpus-id": "d7"}, {"q": "question", "corpus-id": "d1"}],
        ("corpus", "corpus"): [{"_id": "d1", "text": "t"}]})
    stage.run([{"name": "mine", "kind": "retrieval", "path": path, **BY_ID, "on_missing_id": "drop"}])
    assert stage.manifest()["rows"]["mine"] == {"train": 1}
    assert stage.manifest()["dropped"] == [{"task": "mine", "reason": "id without a text", "rows": 1}]


def test_full_disk_is_said(stage, monkeypatch):
    """A full disk looks like a bug of ours unless it is named; and the old artifact must outlive it."""
    stage.run(tasks(stage))
    before = digest(stage.pairs)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "pairs.parquet")

    monkeypatch.setattr(tables.Dataset, "to_parquet", full)
    said = stage.error(tasks(stage, limit=5))
    assert said == ("error: the disk is full while writing 'pairs.parquet'; free some space and run the same command "
                    "again: it continues where it stopped.")
    assert digest(stage.pairs) == before


def test_large_splits_are_written_in_shards(stage, monkeypatch):
    """A single file of many gigabytes cannot be viewed on the Hub, nor uploaded again after a fault halfway."""
    monkeypatch.setattr(tables, "SHARD_BYTES", 1000)
    stage.run(tasks(stage))
    files = sorted(f.name for f in (stage.pairs / "my questions").iterdir())
    assert len(files) > 1 and files[0] == f"train-00000-of-{len(files):05d}.parquet"
    rows = stage.rows("my questions")
    assert rows["query"][:] == tables.read_split("pairs", str(stage.pairs), "my questions", "train", PAIRS)["query"][:]
    assert sorted(rows["query"]) == sorted(row["q"] for row in QUESTIONS)


def test_folders_of_one_name_are_not_mixed_up(stage):
    """`datasets` caches local folders by their last name: another mirror's rows, or last week's, would be read."""
    for number, parent in enumerate(("one", "two", "one"), 1):
        path = write_dataset(stage.folder / parent / "pairs", {("default", "train"): [
            {"q": f"question {number}{i}", "p": "passage"} for i in range(number)]})
        stage.run([{"name": "mine", "kind": "retrieval", "path": path, "columns": {"query": "q", "positive": "p"}}])
        assert stage.rows("mine")["query"][:] == [f"question {number}{i}" for i in range(number)]
