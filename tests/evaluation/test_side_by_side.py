"""Runs side by side, and the scores of all-MiniLM-L6-v2 that this repository shows beside the published ones."""

import json
from pathlib import Path

import pytest

from anna_embed.__main__ import main
from anna_embed.parsing import RecipeError

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def results(folder, model, table, **more):
    folder.mkdir()
    rows = [{"model": m, "task": task, "metric": "accuracy", "value": value, "n": 5, "note": None}
            for m, task, value in table]
    manifest = {"stage": "benchmark", "parents": {"model": {"reference": model, "digest": f"content of {model}"}},
                "table": rows, "command": f"python -m recipes.benchmark --model {model}", "code": "c", **more}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def test_models_and_not_their_teachers(tmp_path, capsys):
    """If this fails, a teacher's score stands under a model's name, or nobody can tell how a number was made."""
    made = {"task": "A", "split": "test", "subsets": ["default"], "prompt": {"query": "q"}, "data": {}, "differs": []}
    folders = [results(tmp_path / "1", "artifacts/x/model", [("trained model", "A", 0.5), ("BM25", "A", 0.9)],
                       mteb=[made]),
               results(tmp_path / "2", "org/other", [("org/other", "A", 0.25), ("org/other", "B", 0.75)])]
    main(["scores", *folders, "--output", str(tmp_path / "new" / "scores.json")])
    found = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert [(row["model"], row["task"], row["value"]) for row in found["scores"]] == [
        ("artifacts/x/model", "A", 0.5), ("org/other", "A", 0.25), ("org/other", "B", 0.75)]
    assert found["scores"][0]["prompt"] == {"query": "q"} and "prompt" not in found["scores"][1]
    assert found["runs"]["org/other"]["command"] == "python -m recipes.benchmark --model org/other"
    assert found["runs"]["org/other"]["content"] == "content of org/other"
    assert capsys.readouterr().out.splitlines()[:3] == [
        "A: accuracy, n = 5", "  artifacts/x/model  0.500", "  org/other          0.250"]


def test_folders_that_hold_no_results(tmp_path):
    """If this fails, a typo in a folder's name gives a table without that model."""
    one = results(tmp_path / "1", "org/one", [])
    with pytest.raises(RecipeError, match="is no results artifact"):
        main(["scores", one, str(tmp_path / "2")])
    with pytest.raises(RecipeError, match="is a second run of 'org/one'"):
        main(["scores", one, one])


def test_published_scores_are_met():
    """If this fails, the harness is not mteb's, and nothing in this repository compares with the leaderboard.

    All scores on whole copies of the data agree to four digits; where the copy differs, the record says how.
    """
    ours = json.loads((RESULTS / "all-MiniLM-L6-v2.json").read_text())["scores"]
    published = json.loads((RESULTS / "all-MiniLM-L6-v2-published.json").read_text())["scores"]
    compared = {row["task"]: (row["value"], published[row["task"]]["main_score"], row["note"], row["differs"])
                for row in ours if row["task"] in published}
    assert len(compared) >= 7
    off = {task: row for task, row in compared.items() if abs(row[0] - row[1]) >= 5e-5}
    assert all(note and differs for _, _, note, differs in off.values()), off
    assert {"STSBenchmark", "SICK-R", "Banking77Classification", "EmotionClassification"} <= set(compared) - set(off)
