"""Scores on MTEB(eng, v2) of public models, shipped as facts, and of whatever else was scored, side by side."""

import warnings
from pathlib import Path

import pandas as pd

from anna_embed.artifacts import OWN, read_manifest
from anna_embed.evaluation.borda import MEAN_TASK, averages, borda
from anna_embed.evaluation.panel import BENCHMARK
from anna_embed.parsing import RecipeError

FACTS = Path(__file__).parent / "facts"
SNAPSHOT = "mteb's results repository, commit f4cc6c8b of 20 August 2026"
NAMED = 3  # scores that are left out, in a message
CATEGORIES = ["Retrieval", "Reranking", "Clustering", "PairClassification", "Classification", "STS", "Summarization"]


def public_models() -> pd.DataFrame:
    """Main scores (0 to 1) of the eleven models of the report's Table 2 on all 41 tasks, from `SNAPSHOT`.

    Returns:
        `pd.DataFrame`: `model`, `hub_name`, `task`, `type` and `main_score`.
    """
    table = pd.read_csv(FACTS / "mteb_eng_v2_results.csv")
    return table.assign(model=table["model"].str.removesuffix("(Ours)"))  # theirs: the report's own words


def task_types() -> dict[str, str]:
    """The benchmark's 41 tasks and their categories."""
    tasks = pd.read_csv(FACTS / "mteb_eng_v2_tasks.csv")
    return dict(zip(tasks["task"], tasks["type"]))


def read_scores(folder: str) -> pd.DataFrame:
    """Scores of the benchmark's tasks in a results artifact, or in a folder of mteb's results (`results/<org>__<name>/
    <revision>/<task>.json`: a cache, a submission, a clone of the results repository).

    Scores on data that is not mteb's, or was not checked (those with a `note`), and on parts of tasks are left out:
    they compare with no other.

    Returns:
        `pd.DataFrame`: `model`, `task`, `type` and `main_score`.

    Raises:
        [`RecipeError`]: the folder holds no scores of these tasks, none that compares with others, or those of two
        revisions of a model that mteb does not know: it would take either of them.
    """
    if not Path(folder).is_dir():
        raise RecipeError(f"results: there is no folder '{folder}'; give a results artifact, or a folder of mteb's "
                          "results.")
    manifest, types = read_manifest(folder), task_types()
    if manifest.get("stage") == "benchmark":
        of_tasks = [row for row in manifest["table"] if row["task"] in types]
        rows, left_out = [row for row in of_tasks if not row.get("note")], [row for row in of_tasks if row.get("note")]
        of_it = manifest["parents"]["model"]["reference"] if "model" in manifest["parents"] else OWN
        rows = [row | {"model": of_it if row["model"] == OWN else row["model"]} for row in rows]
        found = pd.DataFrame(rows).rename(columns={"value": "main_score"})
    else:
        left_out = [row for row in _alone(folder) if row["mteb_task"] in types]
        found = _read_mteb(folder, {row["revision"] for row in left_out})
    if not len(found) and left_out:
        why = [f"{row['task']} ({row['note'] or 'a part of the task'})" for row in left_out]
        more = f" and {len(why) - NAMED} more" if len(why) > NAMED else ""
        raise RecipeError(f"results: no score in '{folder}' compares with those of others: {'; '.join(why[:NAMED])}"
                          f"{more}; score these tasks on mteb's own data.")
    if not len(found):
        raise RecipeError(f"results: '{folder}' has no score on a task of {BENCHMARK}; give a results artifact with "
                          "such tasks, or a folder that holds results/<org>__<name>/<revision>/<task>.json.")
    return found.assign(type=found["task"].map(types))[["model", "task", "type", "main_score"]].reset_index(drop=True)


def _alone(folder):
    """Records of our own beside mteb's results whose scores compare with no other."""
    from anna_embed.evaluation.mteb_tasks import finished

    records = filter(None, map(finished, sorted(Path(folder, "records").glob("*.json"))))
    return [row for row in records if row["note"] or row["task"] != row["mteb_task"]]


def _read_mteb(folder, left_out):
    import mteb

    loaded = mteb.ResultCache(folder).load_results(tasks=mteb.get_benchmark(BENCHMARK), require_model_meta=False,
                                                   validate_and_filter=True)
    loaded = loaded.model_copy(update={"model_results": [
        result for result in loaded.model_results if result.model_revision not in left_out]})
    if not loaded.model_results:
        return pd.DataFrame()
    with warnings.catch_warnings(action="ignore"):  # that there is nothing is said by the caller
        revisions = loaded.to_dataframe(format="long", include_model_revision=True)
        table = loaded.to_dataframe(format="long")
    if not len(table):
        return table
    table = table.dropna(subset="score")
    unknown = revisions[~revisions["model_name"].isin([meta.name for meta in mteb.get_model_metas()])]
    twice = unknown[unknown.duplicated(["model_name", "task_name"])]
    if len(twice):
        name, task = twice.iloc[0][["model_name", "task_name"]]
        raise RecipeError(f"results: '{folder}' holds several revisions of '{name}' with {task}; give the results "
                          "artifact of one of them, or a folder that `python -m anna_embed submission` made.")
    return table.rename(columns={"model_name": "model", "task_name": "task", "score": "main_score"})


def beside_public(scores: pd.DataFrame) -> pd.DataFrame:
    """The given models and the public ones on the tasks that all the given ones have.

    A public model that is among the given ones (by its name on the Hub) is taken from there.

    Args:
        scores (`pd.DataFrame`): From `read_scores`.

    Returns:
        `pd.DataFrame`: `model`, `task`, `type` and `main_score`; empty if the given models share no task.
    """
    shared = set.intersection(*(set(rows["task"]) for _, rows in scores.groupby("model")))
    public = public_models()
    public = public[~public["hub_name"].isin(scores["model"])]
    both = pd.concat([scores, public[scores.columns]], ignore_index=True)
    return both[both["task"].isin(shared)]


def others_in(folder: str) -> pd.DataFrame:
    """The models of a folder of mteb's results that are not among the public ones shipped here."""
    found = read_scores(folder)
    return found[~found["model"].isin(public_models()["hub_name"])]


def show(folders: list[str]) -> str:
    """Models of these folders beside the public ones, on the tasks that all of the former have, as text."""
    scores = beside_public(pd.concat([read_scores(folder) for folder in folders], ignore_index=True))
    if not len(scores):
        raise RecipeError(f"results: the models of {', '.join(folders)} share no task of {BENCHMARK}; compare them "
                          "one at a time.")
    counts = scores.drop_duplicates("task")["type"].value_counts()
    tasks = ", ".join(f"{name} {counts[name]}" for name in CATEGORIES if name in counts)
    return (f"{BENCHMARK}: {counts.sum()} of {len(task_types())} tasks ({tasks}); means in percent, and Borda over "
            f"the models shown.\nPublic models: {SNAPSHOT}.\n\n{as_text(overview(scores))}")


def overview(scores: pd.DataFrame) -> pd.DataFrame:
    """Borda rank and points, then means in percent: categories in the report's order, and over tasks; best first."""
    means = averages(scores).mul(100).drop(columns="Mean (TaskType)")
    table = borda(scores).set_index("model").join(means[[c for c in CATEGORIES if c in means] + [MEAN_TASK]])
    return table[["rank", "points", *table.columns[2:]]]


def as_text(table: pd.DataFrame) -> str:
    """An overview as people read it."""
    short = {"PairClassification": "Pair cls.", "Classification": "Class.", "Summarization": "Summ.",
             "Clustering": "Cluster.", "Reranking": "Rerank.", MEAN_TASK: "Mean"}
    width = max(map(len, table.index))
    lines = [" " * width + "  rank  points" + "".join(f"{short.get(c, c):>10}" for c in table.columns[2:])]
    for model, row in table.iterrows():
        cells = "".join(f"{value:>10.2f}" for value in row.iloc[2:])
        lines.append(f"{model:<{width}}  {row['rank']:>4.0f}  {row['points']:>6g}{cells}")
    return "\n".join(lines)
