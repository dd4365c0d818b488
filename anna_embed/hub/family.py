"""What the manifests that an artifact descends from say together: its base, its results, its test sets."""

from pathlib import Path
from typing import Any

from anna_embed.artifacts import read_manifest


def results_of(folder: str | Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the results beside a model; empty if there are none, or those of another model."""
    results = read_manifest(Path(folder).parent / "results")
    scored = results.get("parents", {}).get("model", {}).get("digest")
    return results if manifest["artifact"] == "model" and scored == manifest["content"] else {}


def base_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The base model as the manifest names it: `{name, commit, licence}`, what is unknown left out."""
    parent = manifest["parents"].get("base_model", {})
    return manifest.get("base_model") or ({"name": parent["reference"], "commit": parent["commit"]} if parent else {})


def goes_on(manifest: dict[str, Any]) -> bool:
    """Whether the weights of an adapter or a model saw rows of other runs: of the steps before, or by an average."""
    return bool(manifest.get("training", {}).get("goes_on_from")) or any(
        key.startswith("average") for key in manifest["parents"])


def test_sets_of(pairs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the training rows were compared with: the held-out rows of the tasks, and the test sets that the recipe
    names."""
    held_out = {name: pairs["parents"].get(f"{name} (test)") or pairs["parents"].get(name)
                for name, splits in pairs["rows"].items() if "test" in splits}
    named = {key.partition(": ")[2]: parent for key, parent in pairs["parents"].items() if key.startswith("test set ")}
    return {name: parent for name, parent in (held_out | named).items() if parent}


def overlaps_of(pairs: dict[str, Any]) -> list[dict[str, Any]]:
    """What was found in the test sets: `task`, `what` and `rows`; dropped or, without decontamination, counted."""
    dropped = [{"task": drop["task"], "what": f"dropped: {drop['reason']}", "rows": drop["rows"]}
               for drop in pairs.get("dropped", []) if "occurs in the test set" in drop["reason"]]
    told = {(drop["task"], drop["reason"].partition("in the test set ")[2], drop["rows"])
            for drop in pairs.get("dropped", [])}  # a step that counts the same is no news
    return dropped + [{"task": task, "what": step, "rows": rows} for task, steps in pairs.get("steps", {}).items()
                      for step, rows in steps.items() if "test set" in step and rows
                      and (task, step.partition("with the test set ")[2], rows) not in told]
