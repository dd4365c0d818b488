"""The recipe for real public data on a few of its real rows (`mirror/`), against plain readings of the files."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml
from convert_here import Stage

from anna_embed.data.tasks import read_tasks

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
DATASETS = HERE / "mirror" / "datasets"
RECIPE = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "convert.yaml").read_text(encoding="utf-8"))


def there(path):
    return (DATASETS / path).is_dir()


TASKS = [task for task, source in zip(RECIPE["tasks"], read_tasks(RECIPE["tasks"])) if there(source.path)]
TEST_SETS = [test_set for test_set in RECIPE["test_sets"] if there(test_set["path"])]


def lines(file):
    return [json.loads(line) for line in (DATASETS / f"{file}.jsonl").open(encoding="utf-8")]


def plain(text):
    return " ".join(text.lower().split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The recipe's artifact, made once."""
    stage = Stage(tmp_path_factory.mktemp("excerpts"))
    stage.make(TASKS, "--mirror", str(HERE / "mirror"), test_sets=TEST_SETS)
    return stage


def pairs(made, name):
    return {(row["query"], row["positive"]) for row in made.rows(name)}


def drops(made, task):
    return {d["reason"]: d["rows"] for d in made.manifest()["dropped"] if d["task"] == task}


def test_there_are_excerpts_of_every_kind():
    """If this fails, the tests below look at fewer real rows than they say."""
    assert {source.kind for source in read_tasks(TASKS)} == {"retrieval", "nli", "sts", "classification", "clustering"}
    assert len(TASKS) >= 13 and len(TEST_SETS) >= 3


def test_every_row_is_accounted_for(made):
    """Rows that vanish without a reason make the card's table a guess."""
    manifest = made.manifest()
    for task, steps in manifest["steps"].items():
        name, _, split = task.partition(" (test)")
        written = manifest["rows"][name]["test" if _ else "train"]
        kept = steps.get("contradictions kept as hard negatives", 0)
        assert steps["rows"] == written + sum(drops(made, task).values()) + kept, task


def test_question_and_passage(made):
    """Were columns mixed up, the model would learn to find questions by answers."""
    assert pairs(made, "TyDiQA") == {(r["question"].strip(), r["context"].strip())
                                     for r in lines("google-research-datasets/tydiqa/secondary_task/train")}
    assert pairs(made, "Natural Question") == {(r["query"], r["answer"].strip()) for r in
                                               lines("sentence-transformers/natural-questions/pair/train")}
    assert pairs(made, "StackExchangeDuplicates") == {(r["title1"].strip(), r["title2"].strip()) for r in lines(
        "sentence-transformers/stackexchange-duplicates/title-title-pair/train")}
    papers = lines("mteb/raw_arxiv/data/train")
    assert pairs(made, "ArxivTitleAbstract") == {(paper["title"], paper["abstract"]) for paper in papers}


def test_a_passage_of_a_held_out_question_is_not_trained_on(made):
    """Several questions are asked of one passage: in BoolQ across the splits, in SQuAD across the cut of 90 %."""
    squad = lines("rajpurkar/squad/plain_text/train")
    cases = (("BoolQ", "passage", lines("google/boolq/data/train"), lines("google/boolq/data/validation"), 1),
             ("SQuAD", "context", squad[:18], squad[18:], 2))
    for name, passage, rows, tested, shared in cases:
        held = {r[passage] for r in tested}
        kept = [r for r in rows if r[passage] not in held]
        assert pairs(made, name) == {(r["question"].strip(), r[passage]) for r in kept}
        assert drops(made, name) == {f"text occurs in the test set {name}": len(rows) - len(kept)}
        assert len(rows) - len(kept) == shared and not held & set(made.rows(f"{name}-corpus")["text"])
        assert {(r["query"], r["positive"]) for r in made.rows(name, "test")} == {
            (r["question"].strip(), r[passage]) for r in tested}


def test_judgements_by_id(made):
    """HotpotQA's rows are ids: looked up in the wrong table, a question gets another one's passages."""
    docs = {d["_id"]: f"{d['title']} {d['text']}" for d in lines("mteb/hotpotqa/corpus/corpus")}
    asked = {q["_id"]: q["text"] for q in lines("mteb/hotpotqa/queries/queries")}
    judged = [(asked[r["query-id"]], docs[r["corpus-id"]]) for r in lines("mteb/hotpotqa/data/train")]
    assert pairs(made, "HotpotQA") == set(judged) and Counter(q for q, _ in judged).most_common()[-1][1] == 2
    assert set(made.rows("HotpotQA-corpus")["text"]) == set(docs.values())
    tested = {asked[r["query-id"]] for r in lines("mteb/hotpotqa/data/test")}
    assert tested and not tested & {query for query, _ in pairs(made, "HotpotQA")}


@pytest.mark.parametrize(("name", "files"), [
    ("SNLI", ["stanfordnlp/snli/plain_text/validation"]),
    ("MultiNLI", ["nyu-mll/multi_nli/data/validation_matched", "nyu-mll/multi_nli/data/validation_mismatched"])])
def test_nli_to_sts(made, name, files):
    """The report's Figure 1 on real premises: entailments are positives, contradictions negatives, neutral goes."""
    groups, tested = defaultdict(lambda: ([], [], [])), set()
    for file in files:
        for row in lines(file):
            groups[row["premise"]][row["label"]].append(row["hypothesis"])
    for row in lines("mteb/stsbenchmark-sts/data/test"):
        tested |= {plain(row["sentence1"]), plain(row["sentence2"])}
    expected, hit = {}, 0
    for premise, (entailed, _, contradicted) in groups.items():
        for hypothesis in entailed if contradicted else ():
            shared = {plain(premise), plain(hypothesis)} & tested
            hit += bool(shared)
            if not shared:
                expected[premise, hypothesis] = {c for c in contradicted if plain(c) not in tested}
    rows = list(made.rows(name))
    assert {(r["query"], r["positive"]): set(r["negatives"]) for r in rows} == expected
    assert {r["label_score"] for r in rows} == {1.0}
    assert drops(made, name)["neutral"] == sum(len(neutral) for _, neutral, _ in groups.values())
    assert drops(made, name).get("text occurs in the test set mteb/stsbenchmark-sts", 0) == hit == (name == "SNLI")


def test_graded_pairs(made):
    """Pairs of STS15 and STS16 are in STSBenchmark's training rows; their year is all that tells them apart here."""
    tested = {plain(r[c]) for r in lines("mteb/stsbenchmark-sts/data/test") for c in ("sentence1", "sentence2")}
    rows = [r for r in lines("mteb/stsbenchmark-sts/data/train") if r["year"] not in ("2015", "2016")]
    kept = [r for r in rows if not {plain(r["sentence1"]), plain(r["sentence2"])} & tested]
    scores = {(r["query"], r["positive"]): r["label_score"] for r in made.rows("STSBenchmark")}
    assert scores == {(r["sentence1"], r["sentence2"]): pytest.approx(r["score"] / 5) for r in kept}
    assert drops(made, "STSBenchmark") == {
        "year is 2015": 2, "year is 2016": 2, "text occurs in the test set mteb/stsbenchmark-sts": 3}
    assert len(rows) - len(kept) == 3
    assert len(made.rows("STSBenchmark", "test")) == len(lines("mteb/stsbenchmark-sts/data/test"))


def test_utterances_of_a_held_out_set_come_in_with_no_other(made):
    """MTOP shares utterances with MASSIVE, which is held out whole; some are a single word."""
    massive = {plain(r["text"]) for split in ("train", "validation", "test")
               for r in lines(f"mteb/amazon_massive_intent/en/{split}")}
    rows = lines("mteb/mtop_intent/en/train")
    assert pairs(made, "MTOPIntentClassification") == {(r["text"], r["label_text"]) for r in rows
                                                       if plain(r["text"]) not in massive}
    assert drops(made, "MTOPIntentClassification") == {"text occurs in the test set mteb/amazon_massive_intent": 3}
    assert "snooze" in massive
    steps = made.manifest()["steps"]["MTOPIntentClassification"]
    assert steps["pairs that share a text with the test set mteb/amazon_massive_intent"] == 3


def test_intents_and_their_labels(made):
    """The label's text is what the query is to be near to; a number would teach nothing."""
    labels = {r["text"].strip(): r["label_text"] for r in lines("mteb/banking77/data/train")}
    rows = list(made.rows("Banking77Classification"))
    assert len(rows) == len(labels) - 1  # one is in the test split, but for a line break in front of it
    for row in rows:
        assert labels[row["query"]] == row["positive"] == row["label"]
        assert len(row["negatives"]) == 7 and set(row["negatives"]) <= set(labels.values()) - {row["positive"]}


@pytest.mark.parametrize(("name", "text"), [
    ("ArxivClusteringS2S", lambda paper: paper["title"]),
    ("ArxivClusteringP2P", lambda paper: f"{paper['title']} {paper['abstract']}")])
def test_papers_by_their_first_category(made, name, text):
    """By the whole list of categories, papers of one field would be each other's negatives."""
    field = {text(paper): paper["categories"].split()[0] for paper in lines("mteb/raw_arxiv/data/train")}
    sizes = Counter(field.values())
    rows = list(made.rows(name))
    assert {r["query"] for r in rows} == {paper for paper in field if sizes[field[paper]] > 1}
    for row in rows:
        assert field[row["query"]] == field[row["positive"]] == row["label"] and row["query"] != row["positive"]
        assert row["label"] not in {field[negative] for negative in row["negatives"]}
