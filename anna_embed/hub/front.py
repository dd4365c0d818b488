"""The front matter of a card: what the Hub reads, in `huggingface_hub`'s own classes."""

from typing import Any

import yaml
from huggingface_hub import CardData, DatasetCardData, ModelCardData

from anna_embed.hub.family import base_of
from anna_embed.hub.names import hub_id, repo_type, spdx
from anna_embed.hub.scores import model_index

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
         (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))
TASK_CATEGORIES = {"pairs": ["sentence-similarity", "text-retrieval"], "scores": ["text-ranking", "text-retrieval"],
                   "triplets": ["sentence-similarity", "text-retrieval"]}
PIPELINES = {"adapter": ("peft", "feature-extraction", "adapter"),
             "reranker": ("sentence-transformers", "text-ranking", "finetune"),
             "model": ("sentence-transformers", "sentence-similarity", "finetune")}
# What a card of ours may have; anything else on the card of a repository was put there by people.
OURS = {"language", "license", "license_name", "task_categories", "tags", "size_categories", "source_datasets",
        "configs", "dataset_info", "library_name", "pipeline_tag", "base_model", "base_model_relation", "datasets",
        "model-index"}


def dataset_data(manifest: dict[str, Any]) -> CardData:
    first, files = default_config(manifest), manifest.get("files", {})
    configs = [{"config_name": name, **({"default": True} if name == first else {}),
                "data_files": [{"split": split, "path": files[name][split]}
                               for split in sorted(files[name], key=lambda split: split != "train")]}
               for name in sorted(files, key=lambda name: name != first)]
    # datasets caches a local folder by its name and this metadata alone: without the content in it, a folder that was
    # made anew would be read as it was before.
    infos = [{"config_name": c["config_name"], "description": f"content {manifest['content'][:12]}"} for c in configs]
    counted = [sum(splits.values()) for splits in manifest["rows"].values() if isinstance(splits, dict)]
    return DatasetCardData(
        **_licence([t.get("licence", "unknown") for t in manifest.get("tasks", {}).values()]),
        task_categories=TASK_CATEGORIES.get(manifest["artifact"]), tags=["anna-embed", manifest["artifact"]],
        size_categories=_size(sum(counted)) if counted else None, source_datasets=_sources(manifest) or None,
        configs=configs or None, dataset_info=infos or None)


def model_data(manifest: dict[str, Any], results: dict[str, Any]) -> CardData:
    library, pipeline, relation = PIPELINES[manifest["artifact"]]
    base = base_of(manifest)
    parents = [parent["published_as"].partition("@")[0] for key, parent in manifest["parents"].items()
               if "published_as" in parent and repo_type(key) == "dataset"]
    scores = model_index(results)
    name = manifest.get("published_as", manifest["artifact"]).partition("@")[0].rpartition("/")[2]
    licences = [base.get("licence") or f"that of {base.get('name', 'the base model')}"]
    licences += [t.get("licence", "unknown") for t in manifest.get("tasks", {}).values()]
    first = manifest.get("training", {}).get("goes_on_from", {})
    licences += [first["licence"] or "unknown"] if "licence" in first else []
    return ModelCardData(
        **_licence(licences), library_name=library, pipeline_tag=pipeline,
        base_model=hub_id(base.get("name")), base_model_relation=relation if hub_id(base.get("name")) else None,
        datasets=parents + _sources(manifest) or None, model_name=name if scores else None,
        eval_results=scores or None,
        tags=["anna-embed", manifest["artifact"], *(["sentence-transformers"] if library != "peft" else ["lora"])])


def added_by_others(text: str) -> dict[str, Any]:
    """The keys of a published card's front matter that no card of ours has: gating texts, a thumbnail, a DOI."""
    _, mark, rest = text.partition("---\n")
    try:
        front = yaml.safe_load(rest.partition("\n---")[0]) if mark else {}
    except yaml.YAMLError:
        return {}
    return {key: value for key, value in front.items() if key not in OURS} if isinstance(front, dict) else {}


def default_config(manifest: dict[str, Any]) -> str:
    """The config that opens first: of rows, not a corpus, where there is one."""
    names = [*manifest.get("files", {}), *manifest["rows"]]
    return next((name for name in names if not name.endswith("-corpus")), names[0] if names else "default")


def _licence(named) -> dict[str, str]:
    ids = {spdx(licence) for licence in named} or {"unknown"}
    if len(ids) == 1 and None not in ids:
        return {"license": ids.pop()}
    return {"license": "other", "license_name": "see-licences-in-this-card"}


def _sources(manifest) -> list[str]:
    return sorted({hub_id(task.get("path")) for task in manifest.get("tasks", {}).values()} - {None})


def _size(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "n>1B")
