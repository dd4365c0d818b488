"""Scores of mteb's folders and of results artifacts beside the public models."""

import json

import mteb
import pandas as pd
import pytest
from small_results import benchmark_tasks, change, file_result, make_run, record

from anna_embed.__main__ import main
from anna_embed.artifacts import MANIFEST
from anna_embed.evaluation.borda import MEAN_TASK, MEAN_TYPE, averages, borda
from anna_embed.evaluation.compare import BENCHMARK, beside_public, others_in, overview, public_models, read_scores
from anna_embed.parsing import RecipeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models on all 41 tasks, in mteb's layout."""
    path = tmp_path_factory.mktemp("mteb")
    for number, (name, task) in enumerate(benchmark_tasks().items()):
        file_result(path, "org/one", "a" * 40, task, 0.2 + number / 100)
        file_result(path, "org/two", "b" * 40, task, 0.7 - number / 100)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("run")
    make_run(path, tiny_model)
    return path


def test_a_folder_of_mteb_is_read_as_mteb_reads_it(folder):
    """Means and ranks of mteb's own table; else our comparison and the leaderboard say different things."""
    ours = read_scores(str(folder))
    benchmark = mteb.get_benchmark(BENCHMARK)
    theirs = benchmark.get_score(mteb.ResultCache(folder).load_results(
        tasks=benchmark, require_model_meta=False, validate_and_filter=True))
    means, ranks = averages(ours), borda(ours).set_index("model")["rank"]
    assert set(means.index) == set(theirs) == {"org/one", "org/two"} and ours["task"].nunique() == 41
    for model, scores in theirs.items():
        assert means.loc[model, MEAN_TASK] == pytest.approx(scores["Mean(Task)"])
        assert means.loc[model, MEAN_TYPE] == pytest.approx(scores["Mean(TaskType)"])
        assert ranks[model] == scores["Rank"]


def test_a_results_artifact(run):
    """Scores on data that is not mteb's, and on parts of tasks, are set beside nobody's.

    Each run's model goes by its folder: two that are both called "trained model" could not be compared.
    """
    scores = read_scores(f"{run}/results")
    assert scores.to_dict("records") == [
        {"model": f"{run}/model", "task": task, "type": "STS", "main_score": value}
        for task, value in (("STSBenchmark", 0.7), ("STS12", 0.5))]
    both = beside_public(scores)
    assert set(both["task"]) == {"STS12", "STSBenchmark"} and both["model"].nunique() == 12
    assert overview(both).loc[f"{run}/model", "rank"] == 12
    assert overview(both).columns.tolist() == ["rank", "points", "STS", MEAN_TASK]


def test_two_revisions_of_a_local_model(run):
    """mteb would take the newer of them, whichever model that was."""
    with pytest.raises(RecipeError, match="several revisions of 'local/run-model' with .*results artifact of one"):
        read_scores(f"{run}/.cache/mteb")


def test_our_own_cache_has_notes_beside_the_scores(tmp_path):
    """If this fails, a score on forty rows of a task, or NaN, is ranked beside public models: mteb's files say nothing
    of the data."""
    (tmp_path / "records").mkdir()
    rows = [record("STS12", 0.9, "a part of it"), record("ArguAna, 50 queries", 0.4) | {"mteb_task": "ArguAna"},
            record("STS13", 0.5), record("STS14", float("nan"))]
    for row in rows:
        if row["task"] == "STS13":
            with pytest.raises(RecipeError, match="compares with those of others: .*STS12 [(]a part of it[)]"):
                read_scores(str(tmp_path))
        file_result(tmp_path, "local/a", row["revision"], benchmark_tasks()[row["mteb_task"]], row["value"])
        (tmp_path / "records" / f"{row['revision']}.json").write_text(json.dumps(row))
    assert read_scores(str(tmp_path))["task"].tolist() == ["STS13"]


def test_nothing_to_compare(tmp_path, run):
    """An empty table would look like a model without scores; mteb would make the folder of a mistyped name."""
    with pytest.raises(RecipeError, match="results: there is no folder '.*none'"):
        read_scores(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(RecipeError, match="has no score on a task of MTEB"):
        read_scores(str(tmp_path))
    noted = [{"model": "m", "task": f"STS{n}", "metric": "s", "value": 1, "note": "cut"} for n in (12, 13, 14, 15)]
    change(run / "results" / MANIFEST, table=noted)
    with pytest.raises(RecipeError, match="others: STS12 [(]cut[)]; STS13 [(]cut[)]; STS14 [(]cut[)] and 1 more"):
        read_scores(f"{run}/results")
    change(run / "results" / MANIFEST, table=[{"model": "m", "task": "own", "metric": "accuracy", "value": 1, "n": 2}])
    with pytest.raises(RecipeError, match="has no score on a task of MTEB"):
        read_scores(f"{run}/results")


def test_a_public_model_scored_again():
    """It takes the place of its row, so that Borda does not count it twice."""
    again = pd.DataFrame([{"model": "nvidia/NV-Embed-v2", "task": "STS12", "type": "STS", "main_score": 0.5}])
    assert "NV-Embed-v2" not in set(beside_public(again)["model"]) and beside_public(again)["model"].nunique() == 11


def test_models_without_a_task_in_common():
    """Means over different tasks compare nothing."""
    rows = [{"model": m, "task": t, "type": "STS", "main_score": 0.5} for m, t in (("a", "STS12"), ("b", "STS13"))]
    assert not len(beside_public(pd.DataFrame(rows)))


def test_the_commands(folder, capsys):
    """`compare FOLDER`, and `table2 --results FOLDER` with a larger population."""
    main(["compare", str(folder)])
    said = capsys.readouterr().out
    assert "41 of 41 tasks (Retrieval 10, Reranking 2" in said and "org/two" in said and "LG-ANNA-Embedding  " in said
    main(["table2", "--results", str(folder)])
    assert "over the 13 models here" in capsys.readouterr().out
    assert set(others_in(str(folder))["model"]) == {"org/one", "org/two"}
    assert not set(others_in(str(folder))["model"]) & set(public_models()["model"])
