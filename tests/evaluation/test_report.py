"""The report of a release: figures against oracles, and the page through the real script."""

import base64
import json
import re
import shutil
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from recipes import report
from scipy.stats import binomtest, spearmanr
from small_run import RULE, make, teacher_and_miner

from anna_embed.artifacts import MANIFEST
from anna_embed.evaluation.heldout import HeldOut
from anna_embed.evaluation.report_costs import duration
from anna_embed.evaluation.report_plots import Table
from anna_embed.evaluation.report_scores import interval, scores
from anna_embed.evaluation.report_teacher import read_candidates
from anna_embed.evaluation.report_training import _evaluations, _summary, training
from anna_embed.evaluation.report_vectors import alignment, geometry, pairs_of, uniformity
from anna_embed.parsing import RecipeError
from anna_embed.schema import SCORES, TRIPLETS
from anna_embed.tables import read_split
from anna_embed.teacher.mine import threshold


# ---- figures --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", [{}, {"score_source": "reranker"}, {"margin": 0.7}, {"threshold_from": "own"}])
def test_groups_are_those_of_the_miner(tmp_path, rule):
    """If this fails, the pictures show other negatives than were trained on. The miner's own sums are the oracle."""
    counts = teacher_and_miner(tmp_path, **rule)
    found = read_candidates(tmp_path / "scores", tmp_path / "triplets", "questions", threshold)
    groups = found.table["group"].value_counts()
    assert found.queries == found.of == 40 and len(found.table) == 480 and groups["positive"] == 48
    assert found.negatives.sum() == counts["negatives"]
    if "threshold_from" in rule:  # the rows of a query with two positives have a limit each
        return
    single = found.table[~found.table["query"].isin([f"q{n}" for n in range(0, 40, 5)])]
    dropped = found.table[found.table["group"].str.startswith("dropped")]
    twice = dropped["query"].isin([f"q{n}" for n in range(0, 40, 5)]).sum()  # counted for each of its two rows
    assert len(dropped) + twice == counts["dropped as likely false negatives"]
    chosen = single[single["group"] == "chosen negative"]
    assert (chosen.groupby("query").size() <= RULE["num_negatives"]).all()
    assert (chosen["rank"] >= 1).all() and chosen["rank"].max() <= RULE["top_k"]
    source = found.rule["score_source"]
    assert (chosen[source] <= chosen["limit"]).all() and (dropped[source] > dropped["limit"]).all()


def test_places_are_among_the_candidates_left(made):
    """The hardest candidate that was not dropped has place 1; equal scores share the better place."""
    table = read_candidates(made / "scores", made / "triplets", "questions", threshold).table
    scores, triplets = (read_split(name, str(made / name), "questions", "train", features)
                        for name, features in (("scores", SCORES), ("triplets", TRIPLETS)))
    scored = {row["query_id"]: row for row in scores}
    for row in triplets:
        of_query = table[table["query"] == row["query_id"]].reset_index(drop=True)
        ids = scored[row["query_id"]]["candidate_ids"]
        allowed = sorted((s for s, limit, group in zip(of_query["dense"], of_query["limit"], of_query["group"])
                          if s <= limit and group != "positive"), reverse=True)
        for negative in row["negative_ids"]:
            place = ids.index(negative)
            assert allowed.index(of_query["dense"][place]) + 1 == of_query["rank"][place]


def test_alignment_and_uniformity_by_hand():
    """One vector for all is aligned and useless; opposite ones are as far as can be."""
    same, axes = np.tile([1.0, 0.0], (4, 1)), np.eye(3)
    assert alignment(same, same) == 0 and uniformity(same) == 0
    assert alignment(axes[:1], axes[1:2]) == pytest.approx(2) and uniformity(axes) == pytest.approx(-4)


@pytest.mark.parametrize("right, n", [(0, 5), (7, 20), (56, 56), (480, 1000)])
def test_intervals_of_shares(right, n):
    """Wilson's interval, against scipy's."""
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    assert interval("accuracy", right / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_intervals_of_correlations():
    """They hold the true correlation about as often as they say; other metrics get none."""
    draw, held, rounds = np.random.default_rng(1), 0, 400
    for _ in range(rounds):
        x = draw.normal(size=60)
        y = 0.6 * x + 0.8 * draw.normal(size=60)
        low, high = interval("spearman", spearmanr(x, y).statistic, 60)
        held += low <= 6 / np.pi * np.arcsin(0.3) <= high  # Spearman's of a normal pair with Pearson's 0.6
    assert 0.92 <= held / rounds <= 0.98
    assert interval("ndcg_at_10", 0.5, 100) is None and interval("spearman", 1.0, 100) is None


def test_pairs_that_are_encoded():
    """No text twice, no pair that is hardly similar: its cosine would count as one of different pairs as well."""
    rows = [{"query": q, "positive": p, "positive_id": p, "label_score": s} for q, p, s in
            (("a", "b", 1.0), ("a", "c", 1.0), ("d", "b", None), ("e", "f", 0.2), ("g", "g", None), ("h", "i", 0.9),
             ("j", "k", None), ("l", "m", None), ("n", "o", None))]
    (found,) = pairs_of([HeldOut("t", "sts", "", rows, ["k"], ["text of k"])], 4)
    assert (found.left, found.right) == (["a", "h", "j", "l"], ["b", "i", "text of k", "m"])


def test_prompts_stand_where_they_belong():
    """Documents of a classification carry none; those of a symmetric task do."""
    asked = []

    def encode(texts, prompt):
        asked.append(prompt)
        return np.eye(8)[: len(texts)]

    rows = [{"query": f"q{n}", "positive": f"p{n}", "positive_id": "", "label_score": None} for n in range(4)]
    pairs = pairs_of([HeldOut(kind, kind, "", rows, [], []) for kind in ("classification", "clustering")], 99)
    (first, second) = geometry("m", encode, pairs, {"classification": "one ", "clustering": "two "})
    assert asked == ["one ", "", "two ", "two "] and first.apart.shape == (12,) and (second.together == 1).all()


def test_numbers_go_to_the_right():
    """A column of ids must not look like a sum."""
    table = Table(["name", "n", "time"], [["a 1", "1,200", "3 s"], ["b", "", "1.2 min"]])
    assert [table.is_number(n) for n in range(3)] == [False, True, True]
    assert [duration(s) for s in (2.2, 125, 7300)] == ["2 s", "2.1 min", "2.0 h"]


def test_a_run_without_a_log(tmp_path):
    """A trained adapter from elsewhere; the rest of the report is made."""
    assert training(tmp_path) is None


# ---- the page -------------------------------------------------------------------------------------------------------
class Page(HTMLParser):
    """Everything that a browser would load, the text, and the pictures."""

    def __init__(self, text: str):
        super().__init__()
        self.loads, self.pictures, self.alts, self.words = [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key in ("src", "href", "action", "srcset", "data", "poster"):
                self.loads.append(value)
            if tag == "img" and key == "src":
                self.pictures.append(base64.b64decode(value.partition("base64,")[2]).decode())
            if tag == "img" and key == "alt":
                self.alts.append(value)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("run") / "small"
    make(path, tiny_model)
    return path


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "small")


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the script; what it printed."""
    def command(*words):
        monkeypatch.setattr(sys, "argv", ["recipes.report", *map(str, words)])
        report.main()
        return capsys.readouterr().out
    return command


def page_of(run) -> Page:
    return Page((run / "report" / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_whole_and_loads_nothing(run, command):
    """A report that needs the network is blank in ten years, and tells a stranger who reads it."""
    command(run)
    page = page_of(run)
    assert page.loads and all(value.startswith(("data:image/svg+xml;base64,", "#")) for value in page.loads)
    text = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert "http" not in text and "@import" not in text and "url(" not in text and "<script" not in text
    for picture in page.pictures:
        assert not re.search(r"(href|src)=\"(?!#|data:)", picture)
    anchors = {value for value in page.loads if value.startswith("#")}
    assert anchors == {"#scores", "#training", "#teacher-and-miner", "#vectors", "#costs-and-origins"}
    assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)
    assert len(page.pictures) == 8 and all(len(alt) > 20 for alt in page.alts) and len(page.alts) == 8


def test_a_resumed_run_does_not_boast():
    """The time that is logged is that of the steps since the kill: hours would be shown as minutes."""
    log = [{"loss": 2.0, "step": 5}, {"loss": 1.0, "step": 10}]
    how = {"steps": 10, "processes": 2, "resumed_at": 6, "final": {"train_runtime": 90.0}}
    said = _summary(log, {"training": how, "base_model": {"name": "base"}})
    assert said.startswith("10 steps on 2 processes, the last 4 of them in 1.5 minutes, from base.")
    assert said.endswith("The loss went from 2.00 (mean of steps 1 to 5) to 1.00 (steps 6 to 10).")


def test_one_logged_point_has_no_course():
    """If this fails, a short run's loss "went from 2.00 to 2.00"."""
    how = {"steps": 5, "processes": 1, "final": {}}
    said = _summary([{"loss": 2.0, "step": 5}], {"training": how, "base_model": {"name": "base"}})
    assert said.endswith("from base. The loss was 2.00 (mean of steps 1 to 5).")


@pytest.mark.parametrize("words, said", [
    (["--held_out", -3], "held_out: -3 is not possible; write 3 or more pairs, or 0"),
    (["--held_out", 2], "held_out: 2 is not possible"),
    (["--max_length", 7], "max_length: 7 is not possible; write 8 or more tokens.")])
def test_sizes_that_are_not_possible(run, command, words, said):
    """If this fails, a report silently lacks its section on vectors, or ends in a sentence about prompts."""
    with pytest.raises(RecipeError, match=said):
        command(run, *words)


def test_a_refused_report_leaves_nothing_behind(run, command):
    """If this fails, half a report lies beside the artifacts."""
    next((run / "scores").rglob("*.parquet")).unlink()
    with pytest.raises(RecipeError, match="has no rows of task"):
        command(run)
    assert not (run / "report.partial").exists()


def test_the_figures_are_the_artifacts(run, command):
    """Scores, counts, drops and times as the manifests have them; what people typed is no markup."""
    command(run, "--held_out", 0)
    text = page_of(run).text
    assert "0.8765" in text and "0.1234" in text and "0.9012" in text
    assert "all 40 queries, 480 candidates. Of these 48 are positives" in text
    assert "10 steps on 2 processes in 1.5 minutes" in text
    assert "MTEB(eng, v2): 8 of its 41 tasks" in text and "Scores on data that is not mteb's" in text
    assert "text occurs in the test set <b>X</b> 7" in text
    assert "#vectors" not in page_of(run).loads


@pytest.mark.slow
def test_again_does_nothing_and_new_results_are_taken_in(run, command):
    """Else a report of last week's scores lies beside this week's model."""
    first = command(run, "--held_out", 0)
    assert "report: made" in first and "up to date" in command(run, "--held_out", 0)
    before = (run / "report" / "report.html").read_bytes()
    shutil.rmtree(run / "report")
    command(run, "--held_out", 0)
    assert (run / "report" / "report.html").read_bytes() == before  # the same artifacts are the same page
    manifest = json.loads((run / "results" / MANIFEST).read_text())
    manifest["table"][0]["value"] = 0.4321
    (run / "results" / MANIFEST).write_text(json.dumps(manifest))
    command(run, "--held_out", 0)
    assert "0.4321" in page_of(run).text


def test_what_is_not_there_is_said(run, command):
    """A run without a teacher, or one that is not trained yet, has a report as well."""
    for name in ("scores", "adapter", "results", "model"):
        shutil.rmtree(run / name)
    command(run)
    page = page_of(run)
    assert "no such artifact: reranker, scores, adapter, model, results." in page.text
    assert [value for value in page.loads if value.startswith("#")] == ["#costs-and-origins"]


def test_no_run_at_all(tmp_path, command):
    """One sentence, and no empty page."""
    with pytest.raises(RecipeError, match="holds none of pairs, .*; name a run's folder"):
        command(tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_results_beside(run, made, command):
    """--results: another model on the tasks that both have."""
    other = shutil.copytree(made / "results", run / "other")
    manifest = json.loads((other / MANIFEST).read_text())
    manifest["table"] = [row | {"model": "org/other"} for row in manifest["table"] if row["task"] == "STS13"]
    (other / MANIFEST).write_text(json.dumps(manifest))
    command(run, "--held_out", 0, "--results", other)
    text = page_of(run).text
    assert "1 of its 41 tasks" in text and "org/other" in text


def test_results_that_stand_beside_nothing(run, command):
    """If this fails, `--results` is ignored without a word."""
    shutil.move(run / "results", run / "other")
    with pytest.raises(RecipeError, match="results: '.*' has no results to set '.*other' beside; run the benchmark"):
        command(run, "--results", run / "other")


def test_tasks_of_mteb_are_no_held_out_rows():
    """If this fails, SciFact on a shortened copy, or a mean of 41 tasks, stands among the rows held out from
    training, and what it was scored on is not said."""
    row = {"model": "trained model", "metric": "ndcg_at_10", "n": 300, "note": None}
    table = [row | {"task": "questions", "value": 0.1},
             row | {"task": "SciFact", "value": 0.2, "note": "a part of it"},
             row | {"task": "MTEB(eng, v2), all tasks", "metric": "mean", "value": 0.3}]
    section = scores(table, {"SciFact"})
    first, *_, last = [part for part in section.parts if isinstance(part, Table)]
    assert [line[0] for line in first.rows] == ["questions"]
    assert [line[0] for line in last.rows] == ["SciFact", "MTEB(eng, v2), all tasks"]
    assert last.header[-1] == "note" and last.rows[0][-1] == "a part of it"


def test_tasks_that_not_every_model_has():
    """If this fails, a release's own scores vanish from the page because a model beside it has others."""
    row = {"model": "trained model", "metric": "m", "n": 300, "note": None}
    table = [row | {"task": task, "value": 0.1} for task in ("STSBenchmark", "STS12")]
    other = {"model": "org/other", "type": "STS", "main_score": 0.2}
    for tasks, alone in ((["SICK-R"], ["STSBenchmark", "STS12"]), (["SICK-R", "STS12"], ["STSBenchmark"])):
        section = scores([dict(line) for line in table], more=pd.DataFrame([other | {"task": t} for t in tasks]))
        text = " ".join(part for part in section.parts if isinstance(part, str))
        assert "not every model has" in text and "No task of" not in text
        assert [line[0] for line in section.parts[-1].rows] == alone


def test_curves_that_are_left_out_are_said(tmp_path):
    """If this fails, a recipe of 22 tasks seems to have scored six."""
    log = [{"loss": 2.0 / step, "step": step} for step in (5, 10)]
    log += [{f"eval_task{n}_spearman": 0.5 for n in range(9)} | {"eval_mean": 0.5, "step": step} for step in (5, 10)]
    assert [name for name, *_ in _evaluations(log)[0]][0] == "eval_mean" and _evaluations(log)[1] == 4
