"""mteb's own files of a score: `results/<model>/<revision>/<task>.json`, `model_meta.json`, `run_settings.jsonl`."""

import json
import shutil
from pathlib import Path

META, SETTINGS = "model_meta.json", "run_settings.jsonl"


def drop_broken(results: Path, revision: str) -> None:
    """
    Removes what a kill or a full disk left half-written of a score's files.

    mteb would stumble over them in every later run, and take a result without its settings, which it writes last, for
    a whole one.

    Args:
        results (`Path`): mteb's folder of results.
        revision (`str`): Names the folder of the score, whatever the model is called.
    """
    for folder in results.glob(f"*/{revision}"):
        try:
            for file in folder.glob("*.json"):
                json.loads(file.read_text(encoding="utf-8"))
            for line in (folder / SETTINGS).read_text(encoding="utf-8").splitlines():
                json.loads(line)
        except (ValueError, FileNotFoundError):
            shutil.rmtree(folder)
