"""Borda ranks and means, against mteb's own code and slow counting."""

import mteb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mteb.benchmarks._create_table import _borda_rank_from_long, _get_borda_rank

from anna_embed.evaluation.borda import MEAN_TASK, MEAN_TYPE, averages, borda, lead, scores_by_task
from anna_embed.evaluation.compare import BENCHMARK, public_models
from anna_embed.parsing import RecipeError

SCORES = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.5, 0.50000001, 0.9]))
GRIDS = st.integers(1, 6).flatmap(lambda models: st.lists(
    st.lists(SCORES, min_size=models, max_size=models), min_size=1, max_size=6))


def long(grid: list[list[float | None]]) -> pd.DataFrame:
    """Tasks by models to one row a score; the first model is scored on the first task, so that no table is empty."""
    rows = [{"model": f"m{m}", "task": f"t{t}", "main_score": score} for t, scores in enumerate(grid)
            for m, score in enumerate(scores)]
    rows[0]["main_score"] = 0.3
    return pd.DataFrame(rows)


@settings(max_examples=30, deadline=None)
@given(GRIDS)
def test_ranks_are_those_of_mteb(grid):
    """With ties and missing scores; if this fails, our table is in another order than the leaderboard."""
    results, wide = long(grid), scores_by_task(long(grid))
    ours = borda(results).set_index("model")["rank"]
    frame = pl.from_pandas(results.dropna())
    frame = frame.rename({"model": "model_name", "task": "task_name", "main_score": "score"})
    theirs = _borda_rank_from_long(frame, n_models=len(wide)).to_pandas().set_index("model_name")["Rank (Borda)"]
    for model, rank in theirs.items():  # a model without any score is in mteb's wide form only
        others = [m for m in wide.index if m not in theirs.index]
        assert ours[model] == rank or (others and ours[model] > rank)
    columns = pl.from_pandas(wide.reset_index()).with_columns(
        _get_borda_rank(list(wide.columns)).alias("rank")).to_pandas().set_index("model")["rank"]
    assert ours.to_dict() == columns.to_dict()


@settings(max_examples=30, deadline=None)
@given(GRIDS)
def test_points_by_slow_counting(grid):
    """A point for every model beaten, half for every tie, none for a task not run; who did not run it is beaten."""
    results = long(grid)
    wide = scores_by_task(results)
    points = borda(results).set_index("model")["points"]
    for model, scores in wide.iterrows():
        expected = sum(1.0 if np.isnan(other) or score > other else 0.5 if score == other else 0.0
                       for task, score in scores.items() if not np.isnan(score)
                       for other in wide[task].drop(model))
        assert points[model] == pytest.approx(expected)


def test_by_hand():
    """Two tasks, three models: b ties with c on the first and is best on the second."""
    results = long([[0.9, 0.5, 0.5], [0.1, 0.8, 0.2]])
    results.loc[0, "main_score"] = 0.9
    assert borda(results).to_dict("list") == {"model": ["m1", "m0", "m2"], "points": [2.5, 2.0, 1.5],
                                              "rank": [1, 2, 3]}


def test_equal_points_share_a_rank():
    """Else the order of rows in a file would decide who is first."""
    assert borda(long([[0.3, 0.2, 0.1], [0.2, 0.3, 0.1]]))["rank"].tolist() == [1, 1, 3]


def test_two_scores_on_one_task():
    """A results folder with two revisions of a model; the mean of them is nobody's score."""
    results = pd.concat([long([[0.3, 0.2]]), long([[0.4, 0.2]])])
    with pytest.raises(RecipeError, match="'m0' has two scores on t0; leave one"):
        borda(results)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.1, 0.2, 0.5]), min_size=4, max_size=4), min_size=1, max_size=6))
def test_parts_of_a_lead_add_up(grid):
    """If this fails, what the text of Table 2 says of the other models is wrong."""
    results = long(grid)
    points = borda(results).set_index("model")["points"]
    assert lead(results, "m0", "m1").sum() == pytest.approx(points["m0"] - points["m1"])


def test_means_are_those_of_mteb():
    """On all eleven public models: categories by task, and a mean over categories beside that over tasks."""
    results = public_models()
    ours, types = averages(results), {t.metadata.name: t.metadata.type for t in mteb.get_benchmark(BENCHMARK).tasks}
    assert dict(zip(results["task"], results["type"])) == types
    for model, rows in results.groupby("model"):
        by_type = {}
        for _, row in rows.iterrows():
            by_type.setdefault(row["type"], []).append(row["main_score"])
        assert ours.loc[model, MEAN_TYPE] == pytest.approx(np.mean([np.mean(v) for v in by_type.values()]))
        assert ours.loc[model, MEAN_TASK] == pytest.approx(rows["main_score"].mean())
        assert all(ours.loc[model, name] == pytest.approx(np.mean(values)) for name, values in by_type.items())


def test_a_missing_task_leaves_no_mean():
    """A mean over the easy half of a category would look like a better model."""
    results = pd.DataFrame([{"model": m, "task": t, "type": "STS", "main_score": 0.5} for m in "ab" for t in "xy"][:3])
    assert np.isnan(averages(results).loc["b", "STS"]) and averages(results).loc["a", "STS"] == 0.5
