"""Ranks and means of models over tasks, by mteb's rules."""

import pandas as pd

from anna_embed.parsing import RecipeError

MEAN_TASK, MEAN_TYPE = "Mean (Task)", "Mean (TaskType)"


def scores_by_task(results: pd.DataFrame) -> pd.DataFrame:
    """(models, tasks), NaN where a model was not scored.

    Args:
        results (`pd.DataFrame`): Columns `model`, `task` and `main_score`.

    Raises:
        [`RecipeError`]: a model has two scores on one task: which one counts is nobody's guess.
    """
    twice = results[results.duplicated(["model", "task"])]
    if len(twice):
        row = twice.iloc[0]
        raise RecipeError(f"results: '{row['model']}' has two scores on {row['task']}; leave one of them out.")
    return results.pivot(index="model", columns="task", values="main_score")


def borda(results: pd.DataFrame) -> pd.DataFrame:
    """Models by Borda count: on each task a model earns a point for every model it beats, and half for every tie.

    That is `n - average rank` with n the models of the whole table; a task on which a model was not scored gives it
    nothing. Equal totals share the lower rank number. So ranks mteb (`_get_borda_rank`), and so does the "tournament"
    variant of Colombo et al. (2022). The order of two models depends on which others are there.

    Args:
        results (`pd.DataFrame`): Columns `model`, `task` and `main_score`, one row each.

    Returns:
        `pd.DataFrame`: `model`, `points` and `rank`, best first.
    """
    scores = scores_by_task(results)
    points = (len(scores) - scores.rank(ascending=False, method="average")).sum(axis=1)
    table = pd.DataFrame({"model": points.index, "points": points.to_numpy(),
                          "rank": points.rank(ascending=False, method="min").astype(int).to_numpy()})
    return table.sort_values(["rank", "model"], ignore_index=True)


def lead(results: pd.DataFrame, first: str, second: str) -> pd.Series:
    """By how many Borda points `first` is before `second`, as what each model of the table adds to the difference.

    A model adds the tasks on which `first` beats it less those on which `second` does; the entry of `second` is the
    duel itself: tasks won less tasks lost. The sum is the difference in points, and the sum over any selection of the
    models is the difference among these. Both models must have been scored on every task.
    """
    scores = scores_by_task(results).fillna(float("-inf"))  # not scored: beaten by whoever was
    beaten = {model: (scores.gt(scores.loc[model]).sum(axis=1) + scores.eq(scores.loc[model]).sum(axis=1) / 2)
              for model in scores.index if model != first}
    parts = {model: won[first] - won[second] for model, won in beaten.items() if model != second}
    duel = scores.loc[first].gt(scores.loc[second]).sum() - scores.loc[second].gt(scores.loc[first]).sum()
    return pd.Series({second: float(duel), **parts}, name="points")


def averages(results: pd.DataFrame) -> pd.DataFrame:
    """Means by category, over all tasks, and over the categories: one row a model; NaN where a task is missing.

    Args:
        results (`pd.DataFrame`): Columns `model`, `task`, `type` and `main_score`.
    """
    scores, types = scores_by_task(results), results.drop_duplicates("task").set_index("task")["type"]
    means = pd.DataFrame({name: scores[list(tasks)].mean(axis=1, skipna=False)
                          for name, tasks in types.groupby(types).groups.items()})
    return means.assign(**{MEAN_TASK: scores.mean(axis=1, skipna=False),
                           MEAN_TYPE: means.mean(axis=1, skipna=False)})
