"""The card of an artifact: its manifest through a template of `dataset_cards/` or `model_card/`; nothing is typed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import CardData, DatasetCardData, EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader

from anna_embed.artifacts import CARD, read_manifest
from anna_embed.hub.names import ARTIFACTS, hub_id, repo_type, spdx
from anna_embed.parsing import RecipeError

ROOT = Path(__file__).parents[2]
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
         (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))
TASK_CATEGORIES = {"pairs": ["sentence-similarity", "text-retrieval"], "scores": ["text-ranking", "text-retrieval"],
                   "triplets": ["sentence-similarity", "text-retrieval"]}
OWN = "trained model"  # what the benchmark's table calls the model of the card
PIPELINES = {"adapter": ("peft", "feature-extraction", "adapter"),
             "reranker": ("sentence-transformers", "text-ranking", "finetune"),
             "model": ("sentence-transformers", "sentence-similarity", "finetune")}


def render(folder: str | Path, manifest: dict[str, Any]) -> None:
    """Writes `README.md` into the folder of an artifact.

    The card of a model shows the results beside it, if they were made from exactly this model: call it again when
    there are new ones.

    Raises:
        [`RecipeError`]: no template for such an artifact.
    """
    text = card(manifest, results_of(folder, manifest))
    Path(folder, CARD).write_text(text, encoding="utf-8")


def results_of(folder: str | Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the results beside a model; empty if there are none, or those of another model."""
    results = read_manifest(Path(folder).parent / "results")
    scored = results.get("parents", {}).get("model", {}).get("digest")
    return results if manifest["artifact"] == "model" and scored == manifest["content"] else {}


def card(manifest: dict[str, Any], results: dict[str, Any] | None = None) -> str:
    """The text of the card: no more than the manifests say."""
    name = manifest["artifact"]
    if name not in ARTIFACTS:
        raise RecipeError(f"output: there is no card for '{name}'; name the folder {', '.join(ARTIFACTS)}.")
    of_dataset = repo_type(name) == "dataset"
    data = _dataset_data(manifest) if of_dataset else _model_data(manifest, results or {})
    environment = Environment(loader=FileSystemLoader(ROOT), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "score": _score, "cell": _cell, "json": _json}
    template = environment.get_template(f"{'dataset_cards' if of_dataset else 'model_card'}/{name}.md")
    published, _, tag = manifest.get("published_as", "").partition("@")
    place = [json.dumps(published or f"./{name}")]
    place += [json.dumps(_default_config(manifest))] if of_dataset else []
    body = template.render(
        manifest=manifest, results=results or {}, base=base_of(manifest), columns=_columns(manifest),
        title=published.rpartition("/")[2] or name,
        load_arguments=", ".join(place + ([f'revision="{tag}"'] if tag else [])))
    lines = "\n".join(line.rstrip() for line in body.splitlines())
    while "\n\n\n" in lines:
        lines = lines.replace("\n\n\n", "\n\n")
    text = f"---\n{data.to_yaml()}\n---\n\n{lines.strip()}\n"
    return f"{text}\n{_mark(text)}\n"


def is_as_rendered(text: str) -> bool:
    """Whether nobody has edited the card since it was rendered, be it with older templates."""
    body, _, mark = text.rstrip("\n").rpartition("\n")
    return mark == _mark(body)


def _mark(text):
    return f"<!-- rendered from manifest.json, {hashlib.sha256(text.strip().encode()).hexdigest()[:16]} -->"


def base_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The base model as the manifest names it: `{name, commit, licence}`, what is unknown left out."""
    parent = manifest["parents"].get("base_model", {})
    return manifest.get("base_model") or ({"name": parent["reference"], "commit": parent["commit"]} if parent else {})


def _dataset_data(manifest) -> CardData:
    first, files = _default_config(manifest), manifest.get("files", {})
    configs = [{"config_name": name, **({"default": True} if name == first else {}),
                "data_files": [{"split": split, "path": files[name][split]}
                               for split in sorted(files[name], key=lambda split: split != "train")]}
               for name in sorted(files, key=lambda name: name != first)]
    # datasets caches a local folder by its name and this metadata alone: without the content in it, a folder that was
    # made anew would be read as it was before.
    infos = [{"config_name": c["config_name"], "description": f"content {manifest['content'][:12]}"} for c in configs]
    counted = [sum(splits.values()) for splits in manifest["rows"].values() if isinstance(splits, dict)]
    return DatasetCardData(
        language="en", **_licence([t.get("licence", "unknown") for t in manifest.get("tasks", {}).values()]),
        task_categories=TASK_CATEGORIES.get(manifest["artifact"]), tags=["anna-embed", manifest["artifact"]],
        size_categories=_size(sum(counted)) if counted else None, source_datasets=_sources(manifest) or None,
        configs=configs or None, dataset_info=infos or None)


def _model_data(manifest, results) -> CardData:
    library, pipeline, relation = PIPELINES[manifest["artifact"]]
    base = base_of(manifest)
    parents = [parent["published_as"].partition("@")[0] for key, parent in manifest["parents"].items()
               if "published_as" in parent and repo_type(key) == "dataset"]
    scores = [EvalResult(task_type="sentence-similarity", dataset_type=row["task"], dataset_name=row["task"],
                         metric_type=row["metric"], metric_value=row["value"])
              for row in results.get("table", []) if row["model"] == OWN]
    name = manifest.get("published_as", manifest["artifact"]).partition("@")[0].rpartition("/")[2]
    licences = [base.get("licence") or f"that of {base.get('name', 'the base model')}"]
    licences += [t.get("licence", "unknown") for t in manifest.get("tasks", {}).values()]
    return ModelCardData(
        language="en", **_licence(licences), library_name=library, pipeline_tag=pipeline,
        base_model=hub_id(base.get("name")), base_model_relation=relation if hub_id(base.get("name")) else None,
        datasets=parents + _sources(manifest) or None, model_name=name if scores else None,
        eval_results=scores or None,
        tags=["anna-embed", manifest["artifact"], *(["sentence-transformers"] if library != "peft" else ["lora"])])


def _licence(named) -> dict[str, str]:
    ids = {spdx(licence) for licence in named} or {"unknown"}
    if len(ids) == 1 and None not in ids:
        return {"license": ids.pop()}
    return {"license": "other", "license_name": "see-licences-in-this-card"}


def _sources(manifest) -> list[str]:
    return sorted({hub_id(task.get("path")) for task in manifest.get("tasks", {}).values()} - {None})


def _default_config(manifest) -> str:
    """The config that opens first: of rows, not a corpus, where there is one."""
    names = [*manifest.get("files", {}), *manifest["rows"]]
    return next((name for name in names if not name.endswith("-corpus")), names[0] if names else "default")


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


def _size(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "n>1B")


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _json(value) if isinstance(value, (list, dict)) else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if abs(value) <= 1 else f"{value:.2f}"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1 if isinstance(value, dict) else None, ensure_ascii=False)
