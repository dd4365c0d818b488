"""The manifests that an artifact descends from, as far as they lie beside it."""

from pathlib import Path
from typing import Any

from anna_embed.artifacts import ARTIFACTS, read_manifest

TOLD = ("licence", "mteb_tasks", "notes")  # of a task, and part of no key


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
