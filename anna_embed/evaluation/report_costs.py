"""What a release cost, and what went in and out of each stage: from the manifests alone."""

from pathlib import Path
from typing import Any

from anna_embed.artifacts import ARTIFACTS
from anna_embed.evaluation.report_plots import BLUE, Picture, Section, Table, number, panels, picture


def costs(folders: dict[str, Path], manifests: dict[str, dict[str, Any]]) -> Section:
    """Time, rows and bytes of each artifact, what was dropped, and what everything was made from.

    Args:
        folders (`dict[str, Path]`), manifests (`dict[str, dict]`): The artifacts that are there, by name.
    """
    names = [name for name in ARTIFACTS if name in manifests]
    section = Section("Costs and origins", [_times(names, manifests), _stages(names, folders, manifests)])
    dropped = _dropped(names, manifests)
    section.parts += [dropped] if dropped.rows else []
    section.parts += [_parents(names, manifests), "Packages: " + _packages(names, manifests) + "."]
    return section


def _times(names, manifests) -> Picture:
    seconds = [manifests[name]["seconds"] for name in names]
    with panels(1, 1, 0.7 + 0.3 * len(names)) as (figure, axes):
        axis = axes[0, 0]
        places = range(len(names))[::-1]
        axis.barh(places, [s / 60 for s in seconds], color=BLUE, height=0.6)
        for place, value in zip(places, seconds):
            axis.annotate(duration(value), (value / 60, place), xytext=(4, 0), textcoords="offset points", va="center",
                          fontsize=8.5)
        axis.set_yticks(places, [f"{manifests[name]['stage']} → {name}" for name in names])
        axis.set(xlabel="minutes", title=f"Time of each stage: {duration(sum(seconds))} in all")
        axis.margins(x=0.08)
        axis.set_xlim(left=0)
        axis.grid(axis="y", visible=False)
        said = ", ".join(f"{manifests[name]['stage']} {duration(value)}" for name, value in zip(names, seconds))
        return picture(figure, f"Time of each stage: {said}.",
                       "Time on the clock of the run that made each artifact; a run that was interrupted and taken up "
                       "again counts from when it was taken up.")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _stages(names, folders, manifests) -> Table:
    rows = []
    for name in names:
        manifest = manifests[name]
        counted = sum(sum(n.values()) if isinstance(n, dict) else n for n in manifest["rows"].values())
        size = sum(file.stat().st_size for file in folders[name].rglob("*") if file.is_file())
        size = f"{size / 1e6:,.1f}" if size > 1e5 else f"{size / 1e6:.3f}"
        rows.append([name, manifest["stage"], number(counted) if counted else "", size,
                     duration(manifest["seconds"]), manifest["content"][:12], manifest["code"][:12]])
    return Table(["artifact", "stage", "rows", "MB", "time", "content", "code"], rows)


def _dropped(names, manifests) -> Table:
    rows = [[name, item["task"], item["reason"], number(item["rows"])]
            for name in names for item in manifests[name]["dropped"]]
    return Table(["artifact", "task", "reason", "rows"], rows, "Rows that were left out, and why.")


def _parents(names, manifests) -> Table:
    own = {manifests[name]["content"] for name in names}
    rows = [[name, key, parent["reference"], parent["commit"] or parent["digest"][:12]]
            for name in names for key, parent in manifests[name]["parents"].items() if parent["digest"] not in own]
    return Table(["artifact", "input", "from", "commit or content"], rows, "What came from outside.")


def _packages(names, manifests) -> str:
    used: dict[str, dict[str, list[str]]] = {}
    for name in names:
        for package, version in manifests[name]["packages"].items():
            used.setdefault(package, {}).setdefault(version, []).append(name)
    return ", ".join(f"{package} {version}" + (f" ({', '.join(by)})" if len(versions) > 1 else "")
                     for package, versions in sorted(used.items()) for version, by in versions.items())
