"""`push: true` in a stage: what it has made is published, as `recipes.publish` would."""

import json
import runpy
import sys

import pytest
import yaml
from recipes import publish as recipe

from anna_embed.artifacts import Stage

PAIRS = ("datasets", "tester/anna-pairs")
MADE = {"convert": "pairs", "train_reranker": "reranker", "score": "scores", "mine": "triplets", "train": "adapter",
        "export": "model", "benchmark": "results"}
MODELS = {"train_reranker": ("base_model", "dense_model"), "score": ("dense_model",), "train": ("model_name_or_path",),
          "benchmark": ("base_model", "dense_model")}


@pytest.fixture
def stage(client, tmp_path, monkeypatch, capsys):
    """Runs a stage's command in this process on a source of two questions; its exit code and what it said."""
    rows = [{"q": f"question {n}", "p": f"passage {n}"} for n in range(4)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "mine", "kind": "retrieval", "instruction": "Find it.", "path": str(source), "licence": "CC0-1.0",
            "columns": {"query": "q", "positive": "p"}}

    def stage(name, *more, push=True):
        config = tmp_path / f"{name}.yaml"
        keys = {"artifacts": f"{tmp_path}/run", **({"push": True, "namespace": "tester"} if push else {})}
        keys |= {key: f"{tmp_path}/model" for key in MODELS.get(name, ())}
        keys |= {"tasks": [task]} if name == "convert" else {}
        config.write_text(yaml.safe_dump(keys))
        monkeypatch.setattr(sys, "argv", [name, "--config", str(config), *more])
        try:
            runpy.run_module(f"recipes.{name}", run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return code, out if code == 0 else err.splitlines()[-1]
    return stage


@pytest.mark.parametrize("name", MADE)
def test_every_stage_publishes_what_it_makes(stage, name, monkeypatch, tmp_path):
    """If this fails, `push: true` of a stage is taken for something else in silence, or publishes another artifact."""
    published = []
    inputs = {tmp_path / "run" / made: maker for maker, made in MADE.items()} | {tmp_path / "model": "a stage"}
    for folder, maker in inputs.items():
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({
            "stage": maker, "base_model": {"name": f"{tmp_path}/model"}, "tasks": {"mine": {"kind": "retrieval"}}}))
    monkeypatch.setattr(Stage, "is_current", True)
    monkeypatch.setattr(recipe, "main", published.append)
    assert stage(name, "--tag", "v7", "--prefix", "my", "--private", "false")[0] == 0
    assert [(p.artifacts, p.names, p.namespace, p.tag, p.prefix, p.private) for p in published] == [
        (f"{tmp_path}/run", [MADE[name]], "tester", "v7", "my", False)]
    assert stage(name, "--namespace", "tester", push=False)[0] == 0 and len(published) == 1


def test_a_stage_that_pushes(stage, hub, tmp_path):
    """If this fails, what a stage has pushed is not what it made, or the same command makes or publishes it again."""
    code, out = stage("convert")
    commit = hub.repos[PAIRS].tags["v1"]
    assert code == 0 and f"pairs: tester/anna-pairs commit {commit} tag v1" in out
    assert hub.repos[PAIRS].private and hub.repos[PAIRS].history() == ["Release v1", "initial commit"]
    made = json.loads((tmp_path / "run/pairs/manifest.json").read_text())
    assert json.loads(hub.read(PAIRS, "v1", "manifest.json"))["content"] == made["content"]
    assert [(c["title"], [item["id"] for item in c["items"]]) for c in hub.collections.values()] == [
        ("anna v1", ["tester/anna-pairs"])]
    assert "push" not in made["config"] and "namespace" not in made["config"]
    assert "is up to date" in stage("convert")[1] and len(hub.repos[PAIRS].commits) == 2
    assert "is up to date" in stage("convert", push=False)[1]  # the same artifact, pushed or not


def test_a_card_that_has_grown_since(stage, hub, tmp_path):
    """A model's card shows the results as soon as there are some: `recipes.run` would stop at the model's tag."""
    stage("convert")
    card = tmp_path / "run/pairs/README.md"
    card.write_text(card.read_text() + "\nMore.\n")
    code, out = stage("convert")
    assert code == 0 and "pairs: tester/anna-pairs@v1 is published already" in out
    assert len(hub.repos[PAIRS].commits) == 2


def test_a_hub_that_is_down_costs_no_work(stage, hub, tmp_path):
    """If this fails, hours of work are lost because the Hub had a bad minute, or must be done again to be pushed."""
    hub.faults.add(match="/preupload/", status=503)
    code, said = stage("convert")
    assert code == 2 and said.endswith("run the same command again, it continues.")
    assert (tmp_path / "run/pairs/manifest.json").exists() and hub.repos[PAIRS].tags == {}
    hub.faults.clear()
    code, out = stage("convert")
    assert code == 0 and "is up to date" in out and hub.repos[PAIRS].tags == {"v1": hub.repos[PAIRS].head}


@pytest.mark.parametrize("token, more, sentence", [
    ("", (), "error: HF_TOKEN: there is no token; log in with"),
    ("hf_test_read", (), "error: HF_TOKEN: the token of 'tester' may only read; make one with write access in"),
    ("hf_test_write", ("--namespace", "others"), "error: namespace: 'tester' may not write to 'others'; name one of"),
    ("hf_test_write", ("--mirror", "m"), "error: mirror: ['m'] is not possible; a mirror keeps the stage off the"),
    ("hf_test_write", ("--tag", "main"), "error: tag: 'main' is not possible; write a version, for example v1."),
], ids=["no token", "read-only", "the namespace of another", "mirror", "tag"])
def test_refused_before_the_work(stage, hub, tmp_path, monkeypatch, token, more, sentence):
    """If this fails, the user learns after hours of work that it could never have been pushed."""
    monkeypatch.setenv("HF_TOKEN", token)
    code, said = stage("convert", *more)
    assert code == 2 and said.startswith(sentence)
    assert hub.writes() == [] and not (tmp_path / "run").exists()
