"""The manifests that an artifact descends from, as far as they lie beside it, and what they say together."""

from pathlib import Path
from typing import Any

from anna_embed.artifacts import ARTIFACTS, read_manifest

TOLD = ("licence", "mteb_tasks", "notes")


def family_of(run: str | Path, manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The artifact and those in its run's folder that it was made from, oldest first, by name.

    They are found by content: what has been made anew since then is not among them.
    """
    beside = {found.get("content"): found for name in ARTIFACTS if (found := read_manifest(Path(run, name)))}
    found, to_visit = {manifest["artifact"]: manifest}, [manifest]
    while to_visit:
        for parent in to_visit.pop()["parents"].values():
            ancestor = beside.get(parent["digest"])
            if ancestor and ancestor["artifact"] not in found:
                found[ancestor["artifact"]] = ancestor
                to_visit.append(ancestor)
    return {name: found[name] for name in ARTIFACTS if name in found}


def told_now(folder: str | Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an artifact with what the pairs beside it say now of its tasks' licences, their notes, and what
    they cover of mteb: a recipe may correct these, and as no row changes nothing is made again."""
    now = family_of(Path(folder).parent, manifest).get("pairs", {}).get("tasks", {})
    tasks = {name: task | {key: now[name][key] for key in TOLD if key in now.get(name, {})}
             for name, task in manifest.get("tasks", {}).items()}
    return manifest | {"tasks": tasks} if tasks else manifest


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
