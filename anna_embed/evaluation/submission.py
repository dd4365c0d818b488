"""The folder that mteb's results repository accepts, from a run's results and mteb's own files of them.

A leaderboard entry is two pull requests: the `ModelMeta` into mteb (`models/model_implementations`), where the model
becomes known, and `results/<org>__<name>/<revision>/` into the results repository, whose checks ask for a
`model_meta.json` that names this very folder, files named as their tasks, mteb 2 or later, and a line of
`run_settings.jsonl` for every score.
"""

import json
import shutil
from pathlib import Path

from anna_embed.artifacts import read_manifest
from anna_embed.config import BenchmarkConfig
from anna_embed.evaluation.model_meta import as_code, model_meta
from anna_embed.evaluation.mteb_files import META, SETTINGS
from anna_embed.lineage import told_now
from anna_embed.parsing import RecipeError

CODE = "model_meta.py"


def write_submission(artifacts: str, name: str, revision: str, output: Path, licence: str | None = None,
                     release_date: str | None = None) -> list[str]:
    """Writes `results/<org>__<name>/<revision>/` and `model_meta.py` from a run's model, results and mteb's cache.

    Args:
        artifacts (`str`): The run's folder; it holds `model`, `results` and `.cache/mteb`.
        name, revision, licence, release_date (`str`): As for `model_meta`.
        output (`Path`): Gets the files; nothing may be there yet.

    Returns:
        `list[str]`: what was left out, and why.

    Raises:
        [`RecipeError`]: the results are not those of this model, or there is nothing to submit.
    """
    model, results = f"{artifacts}/model", read_manifest(f"{artifacts}/results")
    if not results.get("mteb"):
        raise RecipeError(f"results: '{artifacts}/results' has no mteb tasks; score some: --tasks, --benchmark or "
                          "--panel of the benchmark stage.")
    if results["parents"]["model"]["digest"] != read_manifest(model).get("content"):
        raise RecipeError(f"results: '{artifacts}/results' are those of another model than '{model}'; run the "
                          "benchmark stage again.")
    if output.exists():
        raise RecipeError(f"output: '{output}' exists already; name a folder that does not.")
    good = [row for row in results["mteb"] if row["task"] == row["mteb_task"] and not row["note"]]
    if not good:
        raise RecipeError(f"results: every mteb score in '{artifacts}/results' is on a part of the data, or on a copy "
                          "that is not mteb's; a leaderboard takes none of them.")
    scored_with = {key: results["config"].get(key, getattr(BenchmarkConfig, key)) for key in ("dtype", "max_length")}
    meta = model_meta(model, name, revision, {row["task"]: row["prompt"]["query"] for row in good},
                      scored_with["dtype"], licence, release_date)
    files = {row["task"]: _result_file(Path(artifacts), row) for row in good}
    folder = output / "results" / meta.model_name_as_path() / revision
    folder.mkdir(parents=True)
    for task, file in files.items():
        shutil.copyfile(file, folder / f"{task}.json")
    lines = [line for task, file in sorted(files.items())
             for line in file.with_name(SETTINGS).read_text(encoding="utf-8").splitlines()
             if json.loads(line)["task"] == task]
    (folder / SETTINGS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    described = meta.to_dict() | {"training_datasets": sorted(meta.training_datasets)}
    (folder / META).write_text(json.dumps(described, default=str, indent=4) + "\n", encoding="utf-8")
    code = as_code(meta, told_now(model, read_manifest(model))["tasks"], scored_with["max_length"])
    (output / CODE).write_text(code, encoding="utf-8")
    return [f"{row['task']}: {row['note'] or 'a part of a task'}" for row in results["mteb"] if row not in good]


def _result_file(artifacts, row):
    """mteb's file of a score, from the cache; it says what the results say."""
    from mteb.results import TaskResult

    found = sorted((artifacts / ".cache" / "mteb" / "results").glob(f"*/{row['revision']}/{row['mteb_task']}.json"))
    if not found:
        raise RecipeError(f"results: mteb's own file of {row['task']} is no longer in '{artifacts}/.cache/mteb'; "
                          "delete that folder and the results, and run the benchmark stage again.")
    score = round(float(TaskResult.from_disk(found[0]).get_score()), 6)
    if score != row["value"]:
        raise RecipeError(f"results: '{found[0]}' says {score}, the results {row['value']}; run the benchmark stage "
                          "again.")
    return found[0]
