"""The recipe for real public data: what it holds out, and its convert stage on a mirror of the real datasets."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from anna_embed.config import ConvertConfig
from anna_embed.data.tasks import read_tasks
from anna_embed.kinds import KINDS
from anna_embed.parsing import parse
from recipes import convert

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "recipes" / "smollm2_135m"
RECIPE = yaml.safe_load((FOLDER / "convert.yaml").read_text(encoding="utf-8"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")
MIRRORS = [ROOT.parent / "shared" / "mirror", ROOT / "artifacts" / "mirror"]
# Neither rows nor texts of these may be trained on: they tell how the model does on what it has never seen.
HELD_OUT = ["mteb/sts13-sts", "mteb/sts14-sts", "mteb/sickr-sts", "mteb/scifact", "mteb/cqadupstack-gaming",
            "mteb/amazon_massive_intent", "mteb/amazon_massive_scenario"]
needs_mirror = pytest.mark.skipif(
    not all((mirror / "datasets" / path).is_dir()
            for mirror, path in zip(MIRRORS, ("mteb/sts13-sts", "google/boolq"))),
    reason="no mirror of the real datasets beside the checkout")


# ---- what the recipe says ------------------------------------------------------------------------------------------


def test_no_task_is_of_a_held_out_set():
    """A single task too many, and the scores on unseen tasks are no such scores."""
    trained = {source.path for source in read_tasks(RECIPE["tasks"])}
    copies = {"local/sick", "stackexchange/cqadupstack-titles", "mteb/cqadupstack-unix"}  # the same under other names
    assert len(trained) >= 18 and not trained & {*HELD_OUT, *copies}


def test_held_out_sets_and_test_splits_are_audited():
    """What the audit is not told of it cannot find."""
    named = {test_set["path"] for test_set in RECIPE["test_sets"]}
    assert named >= {*HELD_OUT, "mteb/stsbenchmark-sts", "mteb/sts12-sts", "mteb/banking77"}
    for source in read_tasks(RECIPE["tasks"]):
        assert "test" not in source.split or (source.name == "FiQA2018" and "LLukas22/fiqa" in named)


def test_the_second_step_holds_out_the_same():
    """If this fails, the second step trains on what the first one's scores call unseen."""
    second = yaml.safe_load((ROOT / "recipes/smollm2_135m_step2/convert.yaml").read_text(encoding="utf-8"))
    first, after = ({source.name: replace(source, limit=None) for source in read_tasks(recipe["tasks"])}
                    for recipe in (RECIPE, second))
    assert second["test_sets"] == RECIPE["test_sets"]
    assert after.pop("NearTitles").path == "artifacts/smollm2_135m_step2/titles.jsonl"
    assert after == {name: first[name] for name in after}


@pytest.mark.slow
def test_every_task_of_the_panel_is_audited():
    """The panel and the recipe are written in two places; a task that is added to one only goes unaudited."""
    from anna_embed.evaluation.panel import PANEL, load_task

    named = {test_set["path"] for test_set in RECIPE["test_sets"]}
    assert len(PANEL) >= 12 and {load_task(part).metadata.dataset["path"] for part in PANEL} <= named


# ---- the convert stage on all of it --------------------------------------------------------------------------------


def run(folder, *more):
    argv = [word for mirror in MIRRORS for word in ("--mirror", str(mirror))]
    convert.main(*parse(ConvertConfig, ["--config", str(FOLDER / "convert.yaml"), "--artifacts", str(folder), *argv,
                                        *more]))
    return folder / "pairs"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The recipe's own artifact: half a minute."""
    return run(tmp_path_factory.mktemp("real"))


def manifest_of(made):
    return json.loads((made / "manifest.json").read_text(encoding="utf-8"))


def rows_of(made, config, split="train"):
    files = sorted(made.glob(f"{config}/{split}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def real(path, pattern="*"):
    """The rows of a mirrored dataset, read without a line of ours."""
    folder = next(mirror / "datasets" / path for mirror in MIRRORS if (mirror / "datasets" / path).is_dir())
    return [row for file in sorted(folder.rglob(f"{pattern}.parquet")) for row in pq.read_table(file).to_pylist()]


def plain(text):
    return " ".join(text.lower().split())


def texts_of_test_sets():
    """Every text that may not be trained on, from the files themselves."""
    graded = [r[c] for name in ("sickr-sts", "sts12-sts", "sts13-sts", "sts14-sts", "stsbenchmark-sts")
              for r in real(f"mteb/{name}", "test*") for c in ("sentence1", "sentence2")]
    labelled = [r["text"] for name in ("banking77", "emotion", "tweet_sentiment_extraction", "imdb", "mtop_intent")
                for r in real(f"mteb/{name}", "test*")]
    massive = [r["text"] for r in real("mteb/amazon_massive_intent") + real("mteb/amazon_massive_scenario")]
    searched = [r[c] for name in ("scifact", "cqadupstack-gaming") for pattern in ("corpus*", "queries*")
                for r in real(f"mteb/{name}", pattern) for c in ("title", "text") if r.get(c)]
    asked = {r["query-id"] for r in real("mteb/hotpotqa", "test*")}
    hotpot = [r["text"] for r in real("mteb/hotpotqa", "queries*") if r["_id"] in asked]
    fiqa = [text for r in real("LLukas22/fiqa") for text in r.values()]
    posts = [r["text"] for r in real("SetFit/20_newsgroups", "test*") if r["text"].strip()]
    return {plain(text) for text in [*graded, *labelled, *massive, *searched, *hotpot, *fiqa, *posts]}


@pytest.mark.slow
@needs_mirror
def test_no_text_of_a_test_set_is_trained_on(made):
    """The one promise of the recipe, checked on its files: any such text makes the scores on that set worthless."""
    tested, seen = texts_of_test_sets(), 0
    assert len(tested) > 100_000
    for name, task in manifest_of(made)["tasks"].items():
        for row in rows_of(made, name):
            texts = [row["query"]]
            texts += [row["positive"], *row["negatives"]] if task["kind"] != "classification" else []
            assert not {plain(text) for text in texts} & tested, (name, texts)
            seen += len(texts)
        for passage in rows_of(made, f"{name}-corpus"):
            assert plain(passage["text"]) not in tested, (name, passage)
    assert seen > 30_000


@pytest.mark.slow
@needs_mirror
def test_audit_counts_are_those_of_the_files(made):
    """The overlap of SemEval's sets is the known trap of this data; the card must not understate it."""
    sets = {name: {plain(r[c]) for r in real(f"mteb/{name}", "test*") for c in ("sentence1", "sentence2")}
            for name in ("sickr-sts", "sts12-sts", "sts13-sts", "sts14-sts", "stsbenchmark-sts")}
    for task, path in (("STSBenchmark", "mteb/stsbenchmark-sts"), ("STS12", "mteb/sts12-sts")):
        scores = defaultdict(set)
        for row in real(path, "train*"):
            if row.get("year") not in ("2015", "2016"):
                scores[row["sentence1"].strip(), row["sentence2"].strip()].add(row["score"])
        pairs = [{plain(text) for text in pair} for pair, given in scores.items() if len(given) == 1]
        steps = manifest_of(made)["steps"][task]
        for name, texts in sets.items():
            shared = sum(bool(pair & texts) for pair in pairs)
            assert steps.get(f"pairs that share a text with the test set mteb/{name}", 0) == shared, (task, name)
        left = [pair for pair in pairs if not any(pair & texts for texts in sets.values())]
        assert manifest_of(made)["rows"][task]["train"] == len(left) == len(rows_of(made, task))


@pytest.mark.slow
@needs_mirror
def test_nli_to_sts_counts_are_those_of_the_files(made):
    """The report's Figure 1: were an arrow wrong, the counts at the next one would be, too."""
    files = {"SNLI": real("stanfordnlp/snli", "validation*"), "MultiNLI": real("nyu-mll/multi_nli", "validation*")}
    for task, rows in files.items():
        steps, labels = manifest_of(made)["steps"][task], Counter(row["label"] for row in rows)
        assert [steps[f"labelled {name}"] for name in ("entailment", "neutral", "contradiction")] == [
            labels[0], labels[1], labels[2]]
        groups = defaultdict(lambda: (set(), set(), set()))
        for row in rows:
            if row["premise"].strip() != row["hypothesis"].strip():
                groups[row["premise"].strip()][row["label"]].add(row["hypothesis"].strip())
        kept = [(e - c, c - e) for e, _, c in groups.values() if e - c and c - e]
        assert steps["premises kept"] == len(kept)
        assert steps["pairs"] == sum(len(entailed) for entailed, _ in kept)
        assert steps["contradictions kept as hard negatives"] == sum(len(contradicted) for _, contradicted in kept)


@pytest.mark.slow
@needs_mirror
def test_every_row_is_accounted_for(made):
    """If rows vanished between source and artifact, the table of the README would hide what was left out."""
    manifest = manifest_of(made)
    for label, steps in manifest["steps"].items():
        name, of_test, _ = label.partition(" (test)")
        dropped = sum(d["rows"] for d in manifest["dropped"] if d["task"] == label)
        kept = steps.get("contradictions kept as hard negatives", 0)
        assert steps["rows"] == manifest["rows"][name]["test" if of_test else "train"] + dropped + kept, label


@pytest.mark.slow
@needs_mirror
def test_the_card_counts_what_a_literal_mixture_would_train_on(tmp_path):
    """With decontamination off the rows stay; if the card were silent about them, its scores would look honest."""
    steps = manifest_of(run(tmp_path, "--decontaminate", "false"))["steps"]["STSBenchmark"]
    assert steps["kept although the text occurs in the test set mteb/sts13-sts"] > 500


# ---- the tables of the README --------------------------------------------------------------------------------------


def number(value):
    return f"{value:,}" if value else ""


def table(head, rows, texts):
    """Markdown; the first `texts` columns are no numbers."""
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def counts_table(manifest):
    """What became of every row of every task."""
    rows = []
    for name, task in manifest["tasks"].items():
        steps, by_reason = manifest["steps"][name], Counter()
        for drop in manifest["dropped"]:
            if drop["task"] == name:
                reason = drop["reason"]
                column = "test" if "test set" in reason or reason.startswith("year") else reason
                by_reason[column if column in ("test", "over limit") else "other"] += drop["rows"]
        written = manifest["rows"][name]
        passages = manifest["rows"].get(f"{name}-corpus", {}) if KINDS[task["kind"]].scored else {}
        rows.append([name, task["kind"], *map(number, (
            steps["rows"], by_reason["test"], by_reason["other"],
            steps.get("contradictions kept as hard negatives", 0), by_reason["over limit"], written["train"],
            passages.get("train", 0), written.get("test", 0)))])
    total = [sum(int(row[n].replace(",", "") or 0) for row in rows) for n in range(2, len(rows[0]))]
    rows.append(["**all**", "", *(f"**{number(n)}**" for n in total)])
    return table(["task", "kind", "rows read", "occur in a test set", "dropped for other reasons", "kept as negatives",
                  "over the limit", "trained on", "passages", "held out"], rows, 2)


def audit_table(manifest):
    """Of the pairs before any are dropped, those that share a text with each test set."""
    begins, rows = "pairs that share a text with the test set ", []
    for name in manifest["tasks"]:
        found = {key.removeprefix(begins): n for key, n in manifest["steps"][name].items() if key.startswith(begins)}
        rows += [[f"{name}, {number(manifest['steps'][name]['pairs'])} pairs", f"`{path}`", number(n)]
                 for path, n in found.items() if "/" in path]
    return table(["task", "test set", "pairs that share a text"], rows, 2)


def nli_table(manifest):
    """The counts at each arrow of the report's Figure 1."""
    steps = [manifest["steps"][name] for name in ("SNLI", "MultiNLI")]
    names = [key for key in ("rows", "labelled entailment", "labelled neutral", "labelled contradiction",
                             "premises kept", "contradictions kept as hard negatives", "pairs")]
    return table(["step", "SNLI", "MultiNLI"], [[name, *(number(s[name]) for s in steps)] for name in names], 1)


@pytest.mark.slow
@needs_mirror
@pytest.mark.parametrize("render", [counts_table, audit_table, nli_table])
def test_tables_of_the_readme_are_what_was_made(made, render):
    """A table that was right when it was typed misleads as soon as a converter changes: replace it by this one."""
    assert render(manifest_of(made)) in README, render(manifest_of(made))


@pytest.mark.slow
@needs_mirror
def test_tasks_that_the_readme_offers_convert(tmp_path):
    """Two sets of the mirror are no Hub datasets, so the recipe leaves them out; whoever has them adds these lines."""
    offered = yaml.safe_load(re.search(r"```yaml\n(.*?)```", README, re.S).group(1))
    recipe = tmp_path / "convert.yaml"
    recipe.write_text(yaml.safe_dump({"artifacts": str(tmp_path), "tasks": offered, "test_sets": RECIPE["test_sets"]}))
    convert.main(*parse(ConvertConfig, ["--config", str(recipe), "--mirror", str(MIRRORS[0])]))
    rows = manifest_of(tmp_path / "pairs")["rows"]
    assert set(rows) == {task["name"] for task in offered} and all(r["train"] >= 300 for r in rows.values())
    assert not {"gaming", "unix"} & {row["label"] for row in rows_of(tmp_path / "pairs", offered[0]["name"])}
