"""Cards: what is on them comes from the manifest, the Hub understands their front matter, and they open the data."""

import json
import re
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from server import check_card
from small_release import TASK, finish, make

from anna_embed.artifacts import ARTIFACTS, Stage, read_manifest
from anna_embed.hub.cards import ROOT, card, render
from anna_embed.hub.names import Place, hub_id, repo_type
from anna_embed.hub.outgoing import _paths, described
from anna_embed.hub.scores import eval_results, model_index
from anna_embed.origin import licence_of
from anna_embed.parsing import RecipeError
from anna_embed.schema import CORPUS, PAIRS
from anna_embed.tables import write_split

LEAST = {"stage": "some", "key": "k", "content": "c" * 64, "config": {}, "parents": {}, "rows": {}, "dropped": []}
FULL = {**LEAST, "tasks": {"NQ": TASK}, "seconds": 7919.5, "hardware": "2 cores", "code": "d" * 64,
        "packages": {"torch": "2.13.0"}, "rows": {"NQ": {"train": 1223, "test": 1229}},
        "files": {"NQ": {"train": "NQ/train-*.parquet", "test": "NQ/test-*.parquet"}},
        "dropped": [{"task": "NQ", "reason": "empty query", "rows": 1231}], "steps": {"NQ": {"read": 1237}},
        "statistics": {"NQ": {"too close": 1249, "share": 0.12345}}, "metrics": {"loss": 0.4567},
        "training": {"learning_rate": 0.0013, "final": {"loss": 0.8765}}, "checks": {"merged": 1.5e-7},
        "prompts": {"query": "Instruct: find | it\nQuery: ", "document": ""},
        "table": [{"model": "BM25", "task": "NQ", "metric": "nDCG@10", "value": 0.91811, "n": 1259},
                  {"model": "trained model", "task": "NQ", "metric": "nDCG@10", "value": 0.87, "n": 1259}],
        "base_model": {"name": "org/base", "commit": "b" * 40, "licence": "apache-2.0"},
        "parents": {"triplets": {"reference": "a/b/triplets", "digest": "e" * 64, "commit": None,
                                 "published_as": "me/anna-triplets@v1"}}}
SHOWN = {"pairs": ["1,223", "1,231", "1,237"], "scores": ["1,223", "1,231", "1,249", "0.1235"],
         "triplets": ["1,223", "1,231", "1,249"], "results": ["0.9181", "0.8700", "1,259"],
         "reranker": ["0.4567", "0.0013", "apache-2.0"], "adapter": ["0.0013", "0.8765", "bbbbbbbbbbbb", "org/base"],
         "model": ["0.0013", "1.5e-07", r'"query": "Instruct: find | it\nQuery: "', "apache-2.0"]}


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_every_card(artifact):
    """If this fails, a card hides what its manifest knows, or its front matter is refused by the Hub."""
    text = card({**FULL, "artifact": artifact})
    shared = ["me/anna-triplets@v1", TASK["instruction"], "7,920 s", "2 cores", "torch 2.13.0"]
    assert [shown for shown in SHOWN[artifact] + shared if shown not in text] == []
    assert check_card(text) == [] and "Undefined" not in text and "None" not in text
    for is_table, lines in groupby(text.splitlines(), key=lambda line: line.startswith("|")):
        pipes = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert not is_table or len(pipes) == 1  # a pipe in a cell must not open another column


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_a_manifest_that_knows_little(artifact):
    """If this fails, a stage that leaves out an optional key cannot write its card at all."""
    text = card({**LEAST, "artifact": artifact})
    assert check_card(text) == [] and "Undefined" not in text and "None" not in text


def test_no_numbers_are_typed():
    """If this fails, a template states a number about an artifact, which is wrong for the next one."""
    templates = [*ROOT.glob("dataset_cards/*.md"), *ROOT.glob("model_card/*.md")]
    assert len(templates) == len(ARTIFACTS) + 1
    for template in templates:
        prose = re.sub(r"\{[{%#].*?[}%#]\}", "", template.read_text(), flags=re.S)
        assert not re.findall(r"\d", prose.replace("BM25", "")), template


def test_the_card_opens_the_data(finished):
    """If this fails, `load_dataset(folder)` shows the corpus first, mixes configs, or has no types."""
    assert front((finished / "pairs/README.md").read_text())["configs"][0]["config_name"] == "NQ"
    opened = load_dataset(str(finished / "pairs"))
    assert {split: len(rows) for split, rows in opened.items()} == {"train": 6, "test": 3}
    assert opened["train"].features == PAIRS
    assert load_dataset(str(finished / "pairs"), "NQ-corpus")["train"].features == CORPUS


@pytest.mark.parametrize("licences, licence", [
    (["CC BY-SA 3.0", "cc-by-sa-3.0"], "cc-by-sa-3.0"), (["MIT", "Apache-2.0"], "other"),
    (["OANC; parts CC BY 3.0"], "other"), ([], "unknown")])
def test_licences(licences, licence):
    """If this fails, rows of mixed terms are offered under the mildest of them."""
    tasks = {f"task{i}": {**TASK, "licence": named} for i, named in enumerate(licences)}
    text = card({**LEAST, "artifact": "pairs", "tasks": tasks})
    assert front(text)["license"] == licence and all(named in text for named in licences)


def test_the_licence_of_the_adapter_that_training_went_on_from_counts():
    """If this fails, other people's adapter is offered anew under friendlier terms than theirs."""
    data = {**FULL, "artifact": "adapter", "tasks": {"NQ": {**TASK, "licence": "apache-2.0"}}}
    assert front(card(data))["license"] == "apache-2.0"
    text = card({**data, "training": {"goes_on_from": {"steps": None, "rows": {}, "licence": "cc-by-nc-4.0"}}})
    assert front(text)["license"] == "other"
    assert "| the adapter that training went on from | cc-by-nc-4.0 |" in text


def test_the_base_models_licence_counts():
    """If this fails, a fine-tuned model with restricted weights is offered under the licence of its data."""
    data = {**FULL, "artifact": "model", "tasks": {"NQ": {**TASK, "licence": "apache-2.0"}}}
    assert front(card(data))["license"] == "apache-2.0"
    assert front(card({**data, "base_model": {"name": "org/base"}}))["license"] == "other"


@pytest.mark.parametrize("rows, size", [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M")])
def test_size(rows, size):
    """If this fails, people who filter datasets by size do not find these, or find them wrongly."""
    assert front(card({**LEAST, "artifact": "pairs", "rows": {"NQ": {"train": rows}}}))["size_categories"] == size


def test_a_path_is_no_hub_id(tmp_path, monkeypatch):
    """If this fails, a card links to a repository of a stranger that has the name of a local folder."""
    monkeypatch.chdir(tmp_path)
    Path("my/model").mkdir(parents=True)
    named = ["my/model", "artifacts/model", "data/rows.jsonl", "/a/b", "./a", None, "org/name", "org/name@v1"]
    assert [hub_id(name) for name in named] == [None] * 6 + ["org/name", "org/name"]
    assert "base_model" not in front(card({**FULL, "artifact": "model", "base_model": {"name": "my/model"}}))


def test_a_model_shows_its_own_results(tmp_path):
    """If this fails, the card of a new model boasts the scores of the old one."""
    model = {**FULL, "artifact": "model", "content": "1" * 64}
    scored = {"model": {"reference": "model", "digest": "1" * 64, "commit": None}}
    results = {**FULL, "artifact": "results", "parents": scored}
    (tmp_path / "model").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/manifest.json").write_text(json.dumps(results))
    render(tmp_path / "model", model)
    text = (tmp_path / "model/README.md").read_text()
    assert "| NQ | nDCG@10 | 1,259 | 0.9181 | 0.8700 |" in text and check_card(text) == []
    assert [r["metrics"][0]["value"] for r in front(text)["model-index"][0]["results"]] == [0.87]
    render(tmp_path / "model", {**model, "content": "2" * 64})
    assert "the scores above say nothing" in text
    text = (tmp_path / "model/README.md").read_text()
    assert "0.9181" not in text and "scores above" not in text


def test_an_artifact_without_a_template(tmp_path):
    """If this fails, a misnamed output ends in a traceback after hours of work."""
    with pytest.raises(RecipeError, match="there is no card for 'stuff'; name the folder pairs"):
        render(tmp_path, {**LEAST, "artifact": "stuff"})


def test_repository_types():
    """If this fails, data is uploaded as a model, where no viewer opens it."""
    assert [name for name in ARTIFACTS if repo_type(name) == "model"] == ["reranker", "adapter", "model"]


def test_a_folder_made_anew_is_read_anew(tmp_path):
    """If this fails, `load_dataset("pairs")` serves the rows of an older or another run's folder of the same name."""
    for run, query in (("one", "first"), ("two", "second")):
        stage = Stage("mine", f"{tmp_path}/{run}/triplets", {"seed": 1}, {})
        row = {"id": query, "text": query}
        finish(stage, {"NQ": {"train": write_split(stage.begin(), "NQ", "train", [row], CORPUS)}}, [])
        read = load_dataset(stage.output, "NQ", split="train", cache_dir=str(tmp_path / "cache"))
        assert read["text"][:] == [query]


def test_scores_for_the_benchmarks_own_tables():
    """If this fails, scores on other data than everybody's go into public tables, or on a scale of their own."""
    row = {"model": "trained model", "task": "STSBenchmark", "metric": "cosine_spearman", "value": 0.8, "n": 1379}
    table = [row, {**row, "task": "NQ", "value": 0.5, "n": 3}, {**row, "model": "BM25"},
             {**row, "task": "SICK-R", "note": "half of the rows"},
             {**row, "task": "SciFact (train, 200 queries)"}]
    part = {"task": "SciFact (train, 200 queries)", "mteb_task": "SciFact"}
    parents = {"mteb STSBenchmark": {"reference": "mteb/stsbenchmark-sts@abc", "digest": "d", "commit": None},
               "mteb SciFact (train, 200 queries)": {"reference": "mteb/scifact", "digest": "d", "commit": "f" * 40},
               "mteb SICK-R": {"reference": "mteb/sickr-sts", "digest": "d", "commit": "f" * 40},
               "pairs": {"reference": "pairs", "digest": "d", "commit": "a" * 40, "published_as": "me/anna-pairs@v1"}}
    found = eval_results({**FULL, "table": table, "parents": parents, "published_as": "me/anna-results@v1",
                          "mteb": [part, {"task": "STSBenchmark", "mteb_task": "STSBenchmark"}]})
    assert [(entry["dataset"], entry["value"]) for entry in found] == [
        ({"id": "mteb/stsbenchmark-sts", "task_id": "STSBenchmark", "revision": "abc"}, 80.0),
        ({"id": "me/anna-pairs", "task_id": "NQ", "revision": "a" * 40}, 50.0)]


def test_task_types_are_the_hubs():
    """If this fails, the Hub's page says of a score on questions and passages that it is of similar sentences."""
    row = {"model": "trained model", "metric": "m", "value": 0.8, "n": 9}
    table = [{**row, "task": task} for task in ("NQ", "SciFact", "STS12", "Banking77Classification")]
    made = [{"task": "SciFact", "type": "Retrieval"}, {"task": "STS12", "type": "STS"},
            {"task": "Banking77Classification", "type": "Classification"}]
    assert [score.task_type for score in model_index({**FULL, "table": table, "mteb": made})] == [
        "text-retrieval", "text-retrieval", "sentence-similarity", "text-classification"]


@pytest.mark.parametrize("data_files, paths", [
    ("a/*.parquet", ["a/*.parquet"]), (["a", "b"], ["a", "b"]), ({"train": "a", "test": ["b", "c"]}, ["a", "b", "c"]),
    ([{"split": "train", "path": "a"}, {"split": "test", "path": ["b"]}], ["a", "b"]),
    ({"split": "train", "path": "a"}, ["a"])])
def test_every_form_of_data_files(data_files, paths):
    """A card that its owner has edited may have any form that the Hub knows: publishing ended in a traceback."""
    assert _paths(data_files) == paths


def test_what_was_found_in_test_sets_is_on_the_models_card():
    """If this fails, whoever reads the scores cannot see which of them are on texts that were trained on."""
    pairs = {**FULL, "artifact": "pairs", "parents": {
        "NQ": {"reference": "org/nq", "digest": "1" * 64, "commit": "2" * 40},
        "test set 0: mteb/sts12": {"reference": "mteb/sts12", "digest": "3" * 64, "commit": None}},
        "steps": {"NQ": {"pairs that share a text with the test set mteb/sts12": 1277}}}
    model = {**FULL, "artifact": "model"}
    text = card(model, {}, {"pairs": pairs, "model": model})
    assert "| mteb/sts12 | `mteb/sts12` | content `333333333333` |" in text and "| NQ | `org/nq` | commit" in text
    assert "| NQ | pairs that share a text with the test set mteb/sts12 | 1,277 |" in text
    literal = {**pairs, "config": {"decontaminate": False}}
    assert "The recipe switched decontamination off" in card(model, {}, {"pairs": literal, "model": model})


def test_the_licence_of_the_base_model(tmp_path):
    """If this fails, the card says nothing of the terms that come with the base model."""
    named = "---\nlicense: other\nlicense_name: my-terms\n---\n"
    for text, licence in (("---\nlicense: apache-2.0\n---\n", "apache-2.0"), ("no front matter", None),
                          (named, "my-terms"), ("---\n- x\n---\n", None),
                          ("---\nlicense:\n- apache-2.0\n- mit\n---\n", "apache-2.0, mit")):
        (tmp_path / "README.md").write_text(text)
        assert licence_of(tmp_path) == licence
    assert licence_of(tmp_path / "nothing") is None


def test_a_second_steps_card_speaks_of_its_own_rows():
    """If this fails, a model that went on from an adapter of unknown rows claims that all of them were audited."""
    pairs = {**FULL, "artifact": "pairs", "parents": {
        "test set 0: mteb/sts12": {"reference": "mteb/sts12", "digest": "3" * 64, "commit": None}}}
    for artifact in ("model", "adapter"):
        first = {**FULL, "artifact": artifact, "rows": {"NQ": {"train": 3}}, "training": {"steps": 3}}
        second = {**first, "training": {"steps": 3, "goes_on_from": {"steps": 5}}}
        average = {**first, "parents": {"average.0": {"reference": "x", "digest": "5" * 64, "commit": None}}}
        for manifest, said in ((first, False), (second, True), (average, True)):
            text = card(manifest, {}, {"pairs": pairs, artifact: manifest})
            assert ("This is said of the rows of this run." in text) is said
            assert ("Rows that are trained on in this run (the weights saw those of others before):" in text) is said


def test_a_licence_that_was_corrected(tmp_path):
    """If this fails, `licence` is corrected in convert.yaml, no row changes, and the triplets keep the wrong terms."""
    make(tmp_path)
    pairs = json.loads((tmp_path / "pairs/manifest.json").read_text())
    pairs["tasks"]["NQ"] |= {"licence": "CC BY-NC 4.0", "mteb_tasks": []}
    (tmp_path / "pairs/manifest.json").write_text(json.dumps(pairs))
    render(tmp_path / "triplets", read_manifest(tmp_path / "triplets"))
    assert front((tmp_path / "triplets/README.md").read_text())["license"] == "cc-by-nc-4.0"
    place = Place("triplets", "me/triplets", "v1")
    sent = described(tmp_path / "triplets", read_manifest(tmp_path / "triplets"), {"triplets": place})
    assert json.loads(sent["manifest.json"].source)["tasks"]["NQ"] == pairs["tasks"]["NQ"]
