"""A small real release to publish: pairs and the triplets made from them, through the stages' own code."""

import json

from recipes import publish as recipe

from anna_embed.artifacts import Stage, digest
from anna_embed.config import PublishConfig
from anna_embed.hub.cards import render
from anna_embed.located import locate
from anna_embed.schema import CORPUS, PAIRS, TEACHERS, TRIPLETS
from anna_embed.tables import data_files, write_split

TASK = {"kind": "retrieval", "instruction": "Find the passage that answers", "path": "org/questions", "split": "train",
        "licence": "CC BY-SA 3.0", "mteb_tasks": ["NQ"]}


def make(artifacts):
    """Pairs with two configs, one of them with a test split, and triplets."""
    pairs = [{"query_id": f"q{i}", "query": f"what is {i}", "positive_id": f"p{i}", "positive": f"{i} is a number",
              "negatives": [], "label": None, "label_score": None, "task": "NQ"} for i in range(9)]
    stage = Stage("convert", f"{artifacts}/pairs", {"seed": 1}, {})
    rows = {"NQ": {split: write_split(stage.begin(), "NQ", split, part, PAIRS)
                   for split, part in (("train", pairs[:6]), ("test", pairs[6:]))}}
    passages = [{"id": f"p{i}", "text": f"{i} is a number"} for i in range(6)]
    rows["NQ-corpus"] = {"train": write_split(stage.work, "NQ-corpus", "train", passages, CORPUS)}
    finish(stage, rows, [{"task": "NQ", "reason": "empty query", "rows": 3}])

    parents = {"pairs": locate("pairs", f"{artifacts}/pairs", "dataset", [])}
    stage = Stage("mine", f"{artifacts}/triplets", {"margin": 0.95}, parents)
    scores = {f"teacher_{name}": [1.0, 0.5] for name in TEACHERS}
    triplets = [{**{key: pair.get(key) for key in TRIPLETS}, "negative_ids": ["p1"], "negatives": ["no"],
                 "sibling_positive_ids": [], **scores} for pair in pairs[:6]]
    finish(stage, {"NQ": {"train": write_split(stage.begin(), "NQ", "train", triplets, TRIPLETS)}}, [])


def publish(artifacts, *names, tag="v1", **options):
    """The publish stage itself, in this process."""
    recipe.main(PublishConfig(artifacts=str(artifacts), namespace="tester", tag=tag, names=list(names), **options))


def change(artifacts):
    """Other rows in the pairs' test split, and triplets made from these pairs: the next release."""
    rows = [{"query_id": f"q{i}", "query": f"how much is {i}", "positive_id": f"p{i}", "positive": f"{i} is {i}",
             "negatives": [], "label": None, "label_score": None, "task": "NQ"} for i in range(3)]
    write_split(artifacts / "pairs", "NQ", "test", rows, PAIRS)
    old = json.loads((artifacts / "pairs/manifest.json").read_text())["content"]
    describe(artifacts / "pairs")
    manifest = artifacts / "triplets/manifest.json"
    manifest.write_text(manifest.read_text().replace(old, digest(artifacts / "pairs")))


def describe(folder):
    """Makes the manifest describe the files that are there now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "content": digest(folder)}))


def finish(stage, rows, dropped, **more):
    manifest = stage.manifest(rows, dropped, files=data_files(rows), tasks={"NQ": TASK}, **more)
    render(stage.work, manifest)
    stage.finish(manifest)
