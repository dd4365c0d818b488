"""The report of a release as one HTML page that loads nothing: sections, pictures and tables into a template."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from anna_embed.artifacts import ARTIFACTS, OWN
from anna_embed.evaluation.report_plots import Section

TEMPLATE = Path(__file__).parent / "report.html"


def page(manifests: dict[str, dict[str, Any]], sections: list[Section], name: str) -> str:
    """The page's text.

    Args:
        manifests (`dict[str, dict]`): Of the artifacts that are there, by name.
        sections (`list[Section]`): In order.
        name (`str`): Of a release that is not published.
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True)
    published = manifests.get("model", {}).get("published_as")
    return environment.get_template(TEMPLATE.name).render(
        title=f"Report: {published or name}", summary=_summary(manifests), sections=sections, own=OWN,
        missing=[artifact for artifact in ARTIFACTS if artifact not in manifests])


def _summary(manifests) -> str:
    """What was made from what, in a sentence or two."""
    model, adapter, pairs = (manifests.get(key, {}) for key in ("model", "adapter", "pairs"))
    said = []
    if model:
        said.append(f"A text embedder of {model['dimension']} dimensions for texts of up to "
                    f"{model['max_seq_length']:,} tokens, made from {model['base_model']['name']}.")
    if adapter:
        rows = sum(splits.get("train", 0) for splits in adapter["rows"].values())
        kinds = ", ".join(dict.fromkeys(task["kind"] for task in adapter["tasks"].values()))
        tasks = "1 task" if len(adapter["tasks"]) == 1 else f"{len(adapter['tasks'])} tasks"
        said.append(f"Trained for {adapter['training']['steps']:,} steps on {rows:,} rows of {tasks} ({kinds}).")
    dropped = sum(row["rows"] for row in pairs.get("dropped", []) if "test set" in row["reason"])
    if dropped:
        said.append(f"{dropped:,} rows were kept out of training because their text occurs in a test set.")
    return " ".join(said)
