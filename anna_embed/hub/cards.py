"""The card of an artifact: its manifest through a template of `dataset_cards/` or `model_card/`; nothing is typed."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader

from anna_embed.artifacts import ARTIFACTS, CARD
from anna_embed.hub.family import base_of, goes_on, overlaps_of, results_of, test_sets_of
from anna_embed.hub.front import dataset_data, default_config, model_data
from anna_embed.hub.names import repo_type
from anna_embed.lineage import family_of, told_now
from anna_embed.parsing import RecipeError

ROOT = Path(__file__).parents[2]


def render(folder: str | Path, manifest: dict[str, Any]) -> None:
    """Writes `README.md` into the folder of an artifact.

    The card of a model shows the results beside it, if they were made from exactly this model: call it again when
    there are new ones.

    Raises:
        [`RecipeError`]: no template for such an artifact.
    """
    text = card(told_now(folder, manifest), results_of(folder, manifest), family_of(Path(folder).parent, manifest))
    Path(folder, CARD).write_text(text, encoding="utf-8")


def card(manifest: dict[str, Any], results: dict[str, Any] | None = None,
         family: dict[str, dict[str, Any]] | None = None, others: dict[str, Any] | None = None) -> str:
    """The text of the card: no more than the manifests say.

    Args:
        results (`dict`): The manifest of the results of a model.
        family (`dict`): The manifests that it descends from, by artifact: see [`lineage.family_of`].
        others (`dict`): What else the front matter shall hold: see [`front.added_by_others`].
    """
    name = manifest["artifact"]
    if name not in ARTIFACTS:
        raise RecipeError(f"output: there is no card for '{name}'; name the folder {', '.join(ARTIFACTS)}.")
    of_dataset = repo_type(name) == "dataset"
    data = dataset_data(manifest) if of_dataset else model_data(manifest, results or {})
    template = _templates().get_template(f"{'dataset_cards' if of_dataset else 'model_card'}/{name}.md")
    published, _, tag = manifest.get("published_as", "").partition("@")
    place = [json.dumps(published or f"./{name}")]
    place += [json.dumps(default_config(manifest))] if of_dataset else []
    body = template.render(
        manifest=manifest, results=results or {}, family=family or {name: manifest}, base=base_of(manifest),
        columns=_columns(manifest), title=published.rpartition("/")[2] or name,
        load_arguments=", ".join(place + ([f'revision="{tag}"'] if tag else [])))
    lines = "\n".join(line.rstrip() for line in body.splitlines())
    while "\n\n\n" in lines:
        lines = lines.replace("\n\n\n", "\n\n")
    more = f"\n{yaml.safe_dump(others, sort_keys=False, allow_unicode=True).strip()}" if others else ""
    text = f"---\n{data.to_yaml()}{more}\n---\n\n{lines.strip()}\n"
    return f"{text}\n{_mark(text)}\n"


def is_as_rendered(folder: str | Path) -> bool:
    """Whether nobody has edited the card of an artifact since it was rendered, be it with older templates; a card that
    is gone may be rendered anew."""
    path = Path(folder, CARD)
    if not path.exists():
        return True
    body, _, mark = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").rpartition("\n")
    return mark == _mark(body)


@cache
def _templates() -> Environment:
    environment = Environment(loader=FileSystemLoader(ROOT), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "score": _score, "cell": _cell, "json": _json,
                            "test_sets": test_sets_of, "overlaps": overlaps_of,
                            "goes_on": goes_on}
    return environment


def _mark(text):
    return f"<!-- rendered from manifest.json, {hashlib.sha256(text.strip().encode()).hexdigest()[:16]} -->"


def _columns(manifest) -> list[tuple[list[str], dict[str, str]]]:
    """Configs that share their columns, and these with their types."""
    columns = manifest.get("columns") or _schema_columns(manifest)
    groups: dict[tuple, list[str]] = {}
    for config, types in columns.items():
        groups.setdefault(tuple(types.items()), []).append(config)
    return [(configs, dict(types)) for types, configs in groups.items()]


def _schema_columns(manifest):
    from anna_embed.schema import CORPUS, PAIRS, SCORES, TRIPLETS
    from anna_embed.tables import columns_of

    features = {"pairs": PAIRS, "scores": SCORES, "triplets": TRIPLETS}.get(manifest["artifact"])
    return {config: columns_of(CORPUS if config.endswith("-corpus") else features)
            for config in manifest.get("files", {}) if features}


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _json(value) if isinstance(value, (list, dict)) else str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"
    return f"{value:.7g}" if value != 1 and f"{value:.4g}" == "1" else f"{value:.4g}"  # nearly 1 is not 1


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if abs(value) <= 1 else f"{value:.2f}"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1 if isinstance(value, dict) else None, ensure_ascii=False)
