"""What a run of training was, in one file: for `model_card/results`, so that a stranger can repeat and believe it."""

import json
from pathlib import Path

from anna_embed.artifacts import LOG, read_manifest
from anna_embed.parsing import RecipeError

KEPT = ("key", "content", "commit", "config", "parents", "packages", "code", "hardware", "seconds", "rows",
        "base_model", "training")


def training_record(folder: str) -> dict:
    """
    What the manifest of an adapter says of its making, and the lines that were logged.

    Args:
        folder (`str`): an adapter that `recipes.train` made.

    Returns:
        `dict`: `KEPT` of the manifest, and the `curve`: all logged lines but the last.

    Raises:
        [`RecipeError`]: the folder holds no such adapter.
    """
    manifest, log = read_manifest(Path(folder)), Path(folder, LOG)
    if manifest.get("stage") != "train" or not log.is_file():
        raise RecipeError(f"adapter: '{folder}' is no adapter that recipes.train made; name one, for example "
                          "artifacts/quickstart/adapter.")
    *curve, _ = json.loads(log.read_text(encoding="utf-8"))  # the last line is `final` of `training`
    return {key: manifest[key] for key in KEPT} | {"curve": curve}
