"""Results of several runs in one table, and as one JSON file that says how each was made."""

from typing import Any

from anna_embed.artifacts import OWN, read_manifest
from anna_embed.parsing import RecipeError

OF_A_TASK = ("split", "subsets", "prompt", "data", "differs")


def side_by_side(folders: list[str]) -> dict[str, Any]:
    """What results artifacts say of their models: not of the teachers beside them.

    Returns:
        `dict`: `runs` (by model: what it is, its content, the command, versions and the digest of the code), and
        `scores` (a row for each model and task, with everything that the score depends on).

    Raises:
        [`RecipeError`]: a folder holds no results, or two runs are of one model.
    """
    runs, scores = {}, []
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest.get("stage") != "benchmark":
            raise RecipeError(f"results: '{folder}' is no results artifact; give one that recipes.benchmark made.")
        model = manifest["parents"]["model"]
        own = {OWN, model["reference"]}
        if model["reference"] in runs:
            raise RecipeError(f"results: '{folder}' is a second run of '{model['reference']}'; give one of them.")
        runs[model["reference"]] = {"content": model["digest"], **{key: manifest.get(key) for key in (
            "command", "config", "packages", "code", "seconds", "absent")}}
        made = {record["task"]: record for record in manifest.get("mteb", [])}
        for row in (row for row in manifest["table"] if row["model"] in own):
            how = made.get(row["task"], {})
            scores.append({**row, "model": model["reference"], **{key: how[key] for key in OF_A_TASK if key in how}})
    return {"runs": runs, "scores": scores}
